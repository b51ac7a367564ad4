//! What every part of the bench works on.

use std::time::{Duration, Instant};

use criterion::Bencher;
use dimer::{
    Config, Correction, Dimer, Displacement, Evaluation, Gpu, GpuSlice, Layout, LearningRate,
    Objective, Optimizer, Project, Rate, Rotation, Schedule, Translation,
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
        rotation: Rotation::Gradient { rate: Rate::Fixed(1e-3) },
        displacement: Displacement::Absolute(1e-2),
        schedule: Schedule::Every(interval),
        translation: Translation::Project(Project { alpha: 1.0, only_negative_curvature: false }),
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

/// An optimizer over one tensor, its gradients prepared, its N turned once where it has one. It has
/// taken a step, so that all of its memory is there.
pub fn optimizer(gpu: &Gpu, config: Config, len: usize) -> dimer::Result<Optimizer> {
    let values = values(len);
    let turns = config.dimer.is_some();
    let mut optimizer = Optimizer::new(gpu, Layout::flat(len)?, config, &values)?;
    write_gradients(gpu, &values, optimizer.gradient(), optimizer.probe_gradient());
    if turns {
        optimizer.rotate(&mut Prepared)?;
    }
    optimizer.step(&mut Prepared)?;
    wait(gpu);
    Ok(optimizer)
}

pub fn wait(gpu: &Gpu) {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
}

/// Times batches of `work` with one synchronisation each, and hands nanoseconds per call to `note`.
///
/// criterion enters a bench again for each of its samples, so whatever that works on is made once, before,
/// and not at all where a filter leaves the bench out.
pub fn time(
    gpu: &Gpu,
    bencher: &mut Bencher<'_>,
    mut work: impl FnMut() -> dimer::Result<()>,
    mut note: impl FnMut(f64),
) {
    bencher.iter_custom(|calls| {
        let began = Instant::now();
        for _ in 0..calls {
            work().expect("a step");
        }
        wait(gpu);
        let time = began.elapsed();
        note(time.as_nanos() as f64 / calls as f64);
        time
    });
}

/// The time that the host spends in `work`, with the device idle before and after.
pub fn time_host(
    gpu: &Gpu,
    bencher: &mut Bencher<'_>,
    mut work: impl FnMut() -> dimer::Result<()>,
    mut note: impl FnMut(f64),
) {
    bencher.iter_custom(|calls| {
        let mut spent = Duration::ZERO;
        for _ in 0..calls {
            let began = Instant::now();
            work().expect("a step");
            let time = began.elapsed();
            note(time.as_nanos() as f64);
            spent += time;
            wait(gpu);
        }
        spent
    });
}
