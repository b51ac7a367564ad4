//! A step makes no object on the device and takes no memory there that it does not give back; what could
//! not be allocated leaves nothing behind.

use crate::common::*;
use dimer::{
    Config, Dimer, Error, Gpu, Layout, OnPlateau, Optimizer, Rate, Rotation, Schedule, Scope,
    Storage,
};

/// A device that no other test uses.
fn own_gpu() -> Gpu {
    Gpu::new().unwrap_or_else(|error| panic!("{error}"))
}

fn configs() -> Vec<Config> {
    let gradient = Rotation::Gradient { rate: Rate::Automatic };
    let events = Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
    let plateau = Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() };
    let scoped = Dimer { rotation: gradient, scope: Scope::PerTensor, ..events.clone() };
    let dimers = [None, Some(events), Some(plateau), Some(scoped)];
    let configs = dimers.map(|dimer| Config { dimer, ..Config::default() });
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

/// The first vectors of the layout may fit, the later ones not: those are given back, and a smaller
/// layout works.
#[test]
fn memory_that_is_not_there_leaves_nothing() {
    let gpu = own_gpu();
    let small = || {
        let layout = Layout::flat(1000).unwrap();
        let mut optimizer = Optimizer::new(&gpu, layout, Config::default(), &[0.5; 1000]).unwrap();
        optimizer.step(&mut quadratic(vec![1.0; 1000])).unwrap();
    };
    small();
    let before = counted(&gpu);
    let largest = gpu.device().limits().max_buffer_size;
    println!("the largest buffer has {largest} bytes");
    // Each vector is a fifth of that; the workspace of six is too large, and comes last.
    for (len, what) in [(largest / 20, "workspace"), (largest / 4 + 64, "params")] {
        let layout = Layout::flat(len as usize).unwrap();
        let made = Optimizer::with_buffers(&gpu, layout, Config::default(), Default::default());
        match made.unwrap_err() {
            Error::OutOfMemory { what: found, bytes } => {
                println!("{found}: {bytes} bytes");
                // A machine with less memory refuses a vector before.
                assert!(found == what || bytes < largest, "{found}");
                assert!(bytes >= 4 * len);
            }
            error => panic!("{error}"),
        }
    }
    // An encoder lets go of what was dropped.
    gpu.queue().submit([]);
    small();
    assert_eq!(counted(&gpu), before);
}
