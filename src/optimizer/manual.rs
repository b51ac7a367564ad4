//! [`ManualStep`]: a step without callbacks, for training loops that own the control flow.

use super::Optimizer;
use crate::error::{Error, Result};
use crate::gpu::GpuSlice;
use crate::kernels::Mode;
use crate::objective::Point;

/// The two vectors of one evaluation, padded.
#[derive(Clone, Copy, Debug)]
pub struct PointBuffers<'a> {
    /// Where to evaluate.
    pub params: &'a GpuSlice,
    /// Where the gradient belongs.
    pub gradient: &'a GpuSlice,
}

/// One step in the hands of the user: write the gradient at the centre, then that of each probe,
/// then [`finish`](Self::finish).
///
/// ```
/// use dimer::{Config, Gpu, Layout, Optimizer, Point};
///
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(3)?, Config::default(), &[1.0; 3])?;
/// for _ in 0..3 {
///     let mut step = optimizer.begin_step();
///     step.write_gradient(Point::Centre, &[1.0, 2.0, 3.0])?;
///     while step.next_probe()?.is_some() {
///         step.write_gradient(Point::Probe, &[1.1, 2.1, 2.9])?;
///     }
///     step.finish()?;
/// }
/// assert_eq!(optimizer.steps(), 3);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a step that is not finished changes nothing"]
pub struct ManualStep<'a> {
    optimizer: &'a mut Optimizer,
    mode: Mode,
    /// Probes placed so far.
    placed: u32,
}

impl Optimizer {
    /// Begins a step without callbacks.
    ///
    /// Work that reads `params` and writes `gradient` of a point is the user's, on
    /// [`Gpu::queue`](crate::Gpu::queue).
    pub fn begin_step(&mut self) -> ManualStep<'_> {
        let mode = self.schedule.mode(self.index);
        self.write_hyperparameters();
        ManualStep { optimizer: self, mode, placed: 0 }
    }
}

impl ManualStep<'_> {
    /// θ and g₁; every step needs this gradient, before the second probe is placed.
    pub fn centre(&self) -> PointBuffers<'_> {
        let state = &self.optimizer.state;
        PointBuffers { params: &state.params, gradient: &state.gradient }
    }

    /// Submits the next probe of an event and says where it lies; `None` after the last one, and
    /// in a step that is no event. The gradient of the probe before must have been written.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn next_probe(&mut self) -> Result<Option<PointBuffers<'_>>> {
        let optimizer = &*self.optimizer;
        if self.placed == optimizer.schedule.probes(self.mode) {
            return Ok(None);
        }
        let mut encoder = optimizer.gpu.encoder("probe");
        optimizer.parts().place_probe(&mut encoder, optimizer.index, self.placed);
        optimizer.gpu.submit("a probe", encoder)?;
        self.placed += 1;
        let state = &optimizer.state;
        Ok(Some(PointBuffers { params: &state.probe, gradient: &state.probe_gradient }))
    }

    /// Writes a gradient from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn write_gradient(&self, point: Point, gradient: &[f32]) -> Result<()> {
        let optimizer = &self.optimizer;
        let padded = optimizer.layout.pad("gradient", gradient)?;
        match point {
            Point::Centre => optimizer.write(&optimizer.state.gradient, &padded),
            Point::Probe if self.placed > 0 => {
                optimizer.write(&optimizer.state.probe_gradient, &padded);
            }
            // A step without a probe has no use for its gradient.
            Point::Probe => {}
        }
        Ok(())
    }

    /// Submits the step.
    ///
    /// # Errors
    /// [`Error::UnfinishedStep`] if a probe of an event was not asked for, so that its gradient
    /// cannot have been written; [`Error::DeviceLost`]. Nothing has changed then.
    pub fn finish(self) -> Result<()> {
        let Self { optimizer, mode, placed } = self;
        let probes = optimizer.schedule.probes(mode);
        if placed < probes {
            return Err(Error::UnfinishedStep { placed, probes });
        }
        let mut encoder = optimizer.gpu.encoder("step");
        optimizer.parts().update(&mut encoder, optimizer.index, mode);
        optimizer.supplies_loss = false;
        optimizer.gpu.submit("a step", encoder)?;
        optimizer.advance(mode);
        Ok(())
    }
}
