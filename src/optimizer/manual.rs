//! [`ManualStep`]: a step without callbacks, for training loops that own the control flow.

use super::Optimizer;
use crate::error::Result;
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

/// One step in the hands of the user: write the gradients, then [`finish`](Self::finish).
///
/// ```
/// use dimer::{Config, Gpu, Layout, Optimizer, Point};
///
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(3)?, Config::default(), &[1.0; 3])?;
/// for _ in 0..3 {
///     let step = optimizer.begin_step()?;
///     step.write_gradient(Point::Centre, &[1.0, 2.0, 3.0])?;
///     if step.probe().is_some() {
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
}

impl Optimizer {
    /// Begins a step without callbacks; in an event, the probe is submitted at once.
    ///
    /// Work that reads `params` and writes `gradient` of both points is the user's, on
    /// [`Gpu::queue`](crate::Gpu::queue), in any order.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn begin_step(&mut self) -> Result<ManualStep<'_>> {
        let mode = self.schedule.mode(self.index);
        self.write_hyperparameters();
        if mode == Mode::Event {
            let mut encoder = self.gpu.encoder("probe");
            self.parts().displace(&mut encoder, self.index);
            self.gpu.submit("the probe", encoder)?;
        }
        Ok(ManualStep { optimizer: self, mode })
    }
}

impl ManualStep<'_> {
    /// θ and g₁; every step needs this gradient.
    pub fn centre(&self) -> PointBuffers<'_> {
        let state = &self.optimizer.state;
        PointBuffers { params: &state.params, gradient: &state.gradient }
    }

    /// The probe and g₂ in an event, which needs this gradient, too.
    pub fn probe(&self) -> Option<PointBuffers<'_>> {
        let state = &self.optimizer.state;
        (self.mode == Mode::Event)
            .then_some(PointBuffers { params: &state.probe, gradient: &state.probe_gradient })
    }

    /// Writes a gradient from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub fn write_gradient(&self, point: Point, gradient: &[f32]) -> Result<()> {
        let optimizer = &self.optimizer;
        let padded = optimizer.layout.pad("gradient", gradient)?;
        match (point, self.probe()) {
            (Point::Centre, _) => optimizer.write(&optimizer.state.gradient, &padded),
            (Point::Probe, Some(probe)) => optimizer.write(probe.gradient, &padded),
            // A step without a probe has no use for its gradient.
            (Point::Probe, None) => {}
        }
        Ok(())
    }

    /// Submits the step.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn finish(self) -> Result<()> {
        let Self { optimizer, mode } = self;
        let mut encoder = optimizer.gpu.encoder("step");
        optimizer.parts().update(&mut encoder, optimizer.index, mode);
        optimizer.supplies_loss = false;
        optimizer.gpu.submit("a step", encoder)?;
        optimizer.advance(mode);
        Ok(())
    }
}
