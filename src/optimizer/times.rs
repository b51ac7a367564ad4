//! How long the GPU takes for each kernel.

use super::Optimizer;
use crate::error::{Error, Result};
use crate::kernels::{KernelTime, Timer};

impl Optimizer {
    /// Whether the next steps are timed, kernel by kernel, by timestamps of the GPU; they are not at
    /// first. Timestamps keep kernels from overlapping, so a timed step may be slower.
    ///
    /// ```no_run
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// # let gpu = Gpu::new()?;
    /// let mut optimizer = Optimizer::new(&gpu, Layout::flat(1 << 20)?, Config::default(), &[1.0; 1 << 20])?;
    /// optimizer.time_kernels(true)?;
    /// optimizer.step(&mut objective)?;
    /// for time in optimizer.kernel_times_blocking()? {
    ///     println!("{}: {} ns", time.kernel, time.nanoseconds);
    /// }
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] where the device was requested without
    /// [`wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES`], or cannot do it; [`Error::OutOfMemory`].
    pub fn time_kernels(&mut self, on: bool) -> Result<()> {
        self.kernels.timer = if on { Timer::new(&self.gpu)? } else { None };
        if on && self.kernels.timer.is_none() {
            return Err(Error::InvalidConfig {
                field: "time_kernels",
                value: "true".into(),
                expected: "false on a device without Features::TIMESTAMP_QUERY_INSIDE_PASSES",
            });
        }
        Ok(())
    }

    /// The times of the kernels of the last steps, at most 256 of them, that were not read yet, in the
    /// order in which they ran; empty unless [`Optimizer::time_kernels`] is on. Waits for the GPU.
    ///
    /// Of a step, the first 64 kernels are timed. Steps that are recorded but not submitted have no
    /// meaningful times.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn kernel_times_blocking(&mut self) -> Result<Vec<KernelTime>> {
        match &mut self.kernels.timer {
            Some(timer) => timer.read_blocking(&self.gpu),
            None => Ok(Vec::new()),
        }
    }
}
