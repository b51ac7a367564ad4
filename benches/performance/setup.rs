//! What every part of the bench works on.

use dimer::{
    Config, Correction, Dimer, Displacement, Error, Evaluation, Gpu, GpuSlice, Layout,
    LearningRate, Objective, Optimizer, Projection, Rotation, RotationRate, Schedule, Translation,
};

use crate::results::Results;
use crate::rounds::{Effort, Timed};

/// An objective whose gradients are there already.
pub struct Prepared;

impl Objective for Prepared {
    fn gradient(&mut self, _at: Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }
}

/// The rotation and the projection of the paper, with one event every `interval` steps.
pub fn paper(interval: u32) -> Config {
    let dimer = Dimer {
        rotation: Rotation::gradient(RotationRate::Fixed(1e-3)),
        displacement: Displacement::Absolute(1e-2),
        schedule: Schedule::Every(interval),
        translation: Translation::Project(Projection {
            alpha: 1.0,
            only_negative_curvature: false,
        }),
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    let learning_rate = LearningRate::Fixed(1e-3);
    Config { learning_rate, dimer: Some(dimer), ..Config::default() }
}

/// Values without structure, in [−0.5, 0.5).
pub fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect()
}

/// Prepares the gradients: those of `values`, and 1 % more at the probe, where there is one.
pub fn write_gradients(
    gpu: &Gpu,
    values: &[f32],
    gradient: &GpuSlice,
    probe_gradient: Option<&GpuSlice>,
) {
    for (slice, factor) in [(Some(gradient), 1.0), (probe_gradient, 1.01)] {
        if let Some(slice) = slice {
            let gradient: Vec<f32> = values.iter().map(|x| factor * x).collect();
            gpu.queue().write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&gradient));
        }
    }
}

/// An optimizer over one tensor, its gradients prepared, its N turned once where it has one.
pub fn optimizer(gpu: &Gpu, config: Config, len: usize) -> dimer::Result<Optimizer> {
    let values = values(len);
    let turns = config.dimer.is_some();
    let mut optimizer = Optimizer::new(gpu, Layout::flat(len)?, config, &values)?;
    write_gradients(gpu, &values, optimizer.gradient(), optimizer.probe_gradient());
    if turns {
        optimizer.rotate(&mut Prepared)?;
    }
    Ok(optimizer)
}

/// The steps of an optimizer, or its rotations.
pub struct Steps {
    pub optimizer: Optimizer,
    pub rotates: bool,
}

impl Timed for Steps {
    fn call(&mut self) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.rotate(&mut Prepared)
        } else {
            self.optimizer.step(&mut Prepared)
        }
    }

    fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.record_rotation(encoder, &mut Prepared)
        } else {
            self.optimizer.record_step(encoder, &mut Prepared)
        }
    }
}

/// What `make` makes; none, and a line in the results, where there is no time or no memory left for it.
pub fn fits<T>(
    effort: &Effort,
    results: &mut Results,
    what: &str,
    make: impl FnOnce() -> dimer::Result<T>,
) -> dimer::Result<Option<T>> {
    if effort.is_over() {
        results.leave_out(what.to_owned(), "no time");
        return Ok(None);
    }
    match make() {
        Ok(made) => Ok(Some(made)),
        Err(error @ (Error::OutOfMemory { .. } | Error::LimitTooSmall { .. })) => {
            results.leave_out(what.to_owned(), &error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
