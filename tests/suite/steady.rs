//! A step makes no object on the device and takes no memory there that it does not give back; what could
//! not be allocated leaves nothing behind.

use crate::common::*;
use dimer::{
    Config, Dimer, Displacement, Error, Gpu, Layout, OnPlateau, Optimizer, Projection, Rotation,
    RotationRate, Schedule, Scope, Storage, Translation,
};

/// A device that no other test uses.
fn own_gpu() -> Gpu {
    Gpu::new().unwrap_or_else(|error| panic!("{error}"))
}

fn configs() -> Vec<Config> {
    let gradient = Rotation::gradient(RotationRate::Automatic);
    let events = Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
    let plateau = Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() };
    let scoped = Dimer { rotation: gradient, scope: Scope::PerTensor, ..events.clone() };
    let dimers = [None, Some(events), Some(plateau), Some(scoped)];
    let configs = dimers.map(|dimer| Config { dimer, ..fixed_rate() });
    let bf16 = Config { storage: Storage::Bf16, ..configs[1].clone() };
    configs.into_iter().chain([bf16]).collect()
}

#[test]
fn steps_leave_nothing_on_the_device() {
    for config in configs() {
        println!("{config:?}");
        let gpu = own_gpu();
        let layout = Layout::flat(1000).unwrap();
        let mut optimizer = Optimizer::new(&gpu, layout, config, &[0.5; 1000]).unwrap();
        let mut objective = quadratic((0..1000).map(|i| i as f32 / 100.0 - 1.0).collect());
        let mut run = |steps: u32| {
            for _ in 0..steps {
                optimizer.step(&mut objective).unwrap();
            }
            counted(&gpu)
        };
        // The pools of wgpu fill first.
        let before = run(20);
        assert!(before.iter().take(6).all(|count| *count > 0), "{before:?}");
        assert_eq!(run(300), before);
    }
}

#[test]
fn an_optimizer_gives_everything_back() {
    let gpu = own_gpu();
    let make = |config: Config| {
        let layout = Layout::flat(1000).unwrap();
        let mut optimizer = Optimizer::new(&gpu, layout, config, &[0.5; 1000]).unwrap();
        optimizer.step(&mut quadratic(vec![1.0; 1000])).unwrap();
    };
    configs().into_iter().for_each(make);
    let before = counted(&gpu);
    for _ in 0..3 {
        configs().into_iter().for_each(make);
    }
    assert_eq!(counted(&gpu), before);
}

/// A vector that no buffer can hold is refused before anything is made, and a smaller layout works.
#[test]
fn what_does_not_fit_leaves_nothing() {
    let gpu = own_gpu();
    let small = || {
        let layout = Layout::flat(1000).unwrap();
        let mut optimizer = Optimizer::new(&gpu, layout, fixed_rate(), &[0.5; 1000]).unwrap();
        optimizer.step(&mut quadratic(vec![1.0; 1000])).unwrap();
    };
    small();
    let before = counted(&gpu);
    let largest = gpu.device().limits().max_buffer_size;
    println!("the largest buffer has {largest} bytes");
    let alone = Config { dimer: None, ..fixed_rate() };
    for config in [fixed_rate(), alone] {
        let layout = Layout::flat(largest as usize / 4 + 64).unwrap();
        let made = Optimizer::with_buffers(&gpu, layout, config, Default::default());
        match made.map(drop).unwrap_err() {
            Error::LimitTooSmall { limit: "max_buffer_size", needed, found, .. } => {
                assert!(needed > found && found == largest);
            }
            error => panic!("{error}"),
        }
    }
    // A submission frees what was dropped.
    gpu.queue().submit([]);
    small();
    assert_eq!(counted(&gpu), before);
}

/// Live shader modules and pipelines.
fn compiled(gpu: &Gpu) -> [isize; 2] {
    let [_, _, _, _, pipelines, modules, ..] = counted(gpu);
    [modules, pipelines]
}

/// Pipelines belong to the device: another optimizer of the same configuration compiles none, on a clone
/// of the `Gpu` or with its tuning set again, and a rotation only those that no step had.
#[test]
fn optimizers_of_one_device_share_their_kernels() {
    for config in configs() {
        let gpu = own_gpu();
        let make = |gpu: &Gpu, len: usize| {
            let layout = Layout::flat(len).unwrap();
            let began = std::time::Instant::now();
            let optimizer = Optimizer::new(gpu, layout, config.clone(), &vec![0.5; len]).unwrap();
            (optimizer, began.elapsed())
        };
        let (mut first, time) = make(&gpu, 1000);
        let once = compiled(&gpu);
        let (_second, again) = make(&gpu.clone(), 1000);
        // Nothing in a kernel depends on a length.
        let (_third, longer) = make(&gpu.with_tuning(*gpu.tuning()).unwrap(), 70_001);
        println!("{once:?} in {time:?}, then {again:?} and {longer:?}");
        assert_eq!(compiled(&gpu), once);
        assert!(once[0] > 0 && once[0] <= once[1], "{once:?}");
        first.step(&mut quadratic(vec![1.0; 1000])).unwrap();
        assert_eq!(compiled(&gpu), once);
        if config.dimer.is_some() {
            first.rotate(&mut quadratic(vec![1.0; 1000])).unwrap();
            let [modules, pipelines] = compiled(&gpu);
            // Those that leave the parameters alone, and were not asked for before.
            assert!(modules > once[0] && pipelines - once[1] < once[1], "{pipelines}");
        }
        drop(first);
        assert!(compiled(&gpu) >= once, "they are kept for the next");
    }
}

/// Kernels that a configuration never reaches are not compiled.
#[test]
fn only_what_is_reached_is_compiled() {
    let compiled_for = |config: Config| {
        let gpu = own_gpu();
        // wgpu has kernels of its own.
        let before = compiled(&gpu);
        let layout = Layout::flat(100).unwrap();
        let _optimizer = Optimizer::new(&gpu, layout, config, &[0.5; 100]).unwrap();
        let after = compiled(&gpu);
        [after[0] - before[0], after[1] - before[1]]
    };
    // gram and translate.
    assert_eq!(compiled_for(Config { dimer: None, ..fixed_rate() }), [2, 2]);
    let paper = |schedule| {
        let rotation = Rotation::gradient(RotationRate::Automatic);
        let displacement = Displacement::Absolute(0.1);
        let translation = Translation::Project(Projection::default());
        let dimer = Dimer { rotation, displacement, schedule, translation, ..Dimer::default() };
        Config { dimer: Some(dimer), ..fixed_rate() }
    };
    // Where every step is an event: displace, gram and rotate_translate.
    assert_eq!(compiled_for(paper(Schedule::Every(1))), [3, 3]);
    // Otherwise also the base and the corrected step.
    assert_eq!(compiled_for(paper(Schedule::Every(2))), [4, 7]);
}
