//! [`ManualStep`]: a step without callbacks, for training loops that own the control flow.

use super::{Optimizer, Recorded};
use crate::config::{Difference, Storage};
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
///     let mut step = optimizer.begin_step()?;
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
    /// Probes of the step, fewer once it has stopped early.
    probes: u32,
}

impl Optimizer {
    /// Begins a step without callbacks.
    ///
    /// Work that reads `params` and writes `gradient` of a point is the user's, on
    /// [`Gpu::queue`](crate::Gpu::queue).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with [`Difference::Exact`], which needs an objective;
    /// [`Error::DeviceLost`].
    pub fn begin_step(&mut self) -> Result<ManualStep<'_>> {
        if self.plan.difference == Difference::Exact {
            return Err(Error::InvalidConfig {
                field: "dimer.difference",
                value: "Exact".into(),
                expected: "Forward or Central in a step without an objective",
            });
        }
        let mode = self.next_mode()?;
        self.prepare()?;
        let probes = self.plan.probes(mode);
        Ok(ManualStep { optimizer: self, mode, placed: 0, probes })
    }
}

impl ManualStep<'_> {
    /// θ and g₁; every step needs this gradient, before the second probe is placed, but for the
    /// events of [`Difference::Central`].
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
        if self.placed == self.probes {
            return Ok(None);
        }
        let parts = optimizer.parts();
        let mut encoder = optimizer.gpu.encoder("probe");
        parts.place_probe(&mut encoder, optimizer.index, self.placed);
        if parts.has_stopped(&mut encoder, self.placed)? {
            self.probes = self.placed;
            return Ok(None);
        }
        optimizer.gpu.submit("a probe", encoder)?;
        let gradient = parts.gradient_of(self.placed);
        self.placed += 1;
        Ok(Some(PointBuffers { params: &optimizer.state.probe, gradient }))
    }

    /// Writes a gradient from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn write_gradient(&self, point: Point, gradient: &[f32]) -> Result<()> {
        let optimizer = &self.optimizer;
        let padded = optimizer.layout.pad("gradient", gradient)?;
        match point {
            Point::Centre => optimizer.write(&optimizer.state.gradient, Storage::F32, &padded),
            Point::Probe if self.placed > 0 => {
                optimizer.write(
                    optimizer.parts().gradient_of(self.placed - 1),
                    Storage::F32,
                    &padded,
                );
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
        let Self { optimizer, mode, placed, probes } = self;
        if placed < probes {
            return Err(Error::UnfinishedStep { placed, probes });
        }
        let mut encoder = optimizer.gpu.encoder("step");
        optimizer.parts().update(&mut encoder, optimizer.index, mode);
        optimizer.finish(&mut encoder);
        optimizer.supplies_loss = false;
        optimizer.gpu.submit("a step", encoder)?;
        let evaluations = u32::from(optimizer.plan.has_centre(mode)) + probes;
        optimizer.advance(Recorded { mode, evaluations });
        Ok(())
    }
}
