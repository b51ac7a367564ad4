//! A step whose gradients are there already: what is measured are the kernels.

use dimer::{
    Config, Correction, Dimer, Displacement, Evaluation, Gpu, GpuSlice, LearningRate, Objective,
    Projection, Rotation, RotationRate, Schedule, Translation,
};

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
