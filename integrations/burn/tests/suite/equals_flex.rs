//! Training on Burn's wgpu device, in place, equals training of the same module through host slices
//! on the CPU backend.

use crate::common::{Network, batch, config, elements, flex, scalar, shared};
use burn::module::Module;
use burn::tensor::Device;
use dimer::{
    Base, Config, Difference, Dimer, Displacement, LearningRate, Project, Rotation, Schedule, Sgd,
    Translation,
};
use dimer_burn::{DimerDevice, DimerOptimizer};

const STEPS: u64 = 100;

/// At the default distance, 3e-5 of the norm, the difference of two gradients keeps 3 digits of f32:
/// enough for a direction, not to compare two sets of kernels by. This far apart it keeps 6.
const WIDE: Displacement = Displacement::Absolute(1e-2);

fn train(module: Network, device: &DimerDevice, config: Config) -> (Vec<f32>, Network) {
    let burn = device.burn();
    let module = module.fork(&burn);
    let mut optimizer = DimerOptimizer::new(module, device, config).unwrap();
    let losses = (0..STEPS).map(|step| {
        let batch = batch(step, &burn);
        scalar(optimizer.step(|module| module.loss(&batch)).unwrap())
    });
    (losses.collect(), optimizer.into_module().unwrap())
}

fn assert_equal_training(config: Config) {
    let start = Network::new(64, &Device::flex().autodiff());
    let (on_gpu, gpu_module) = train(start.clone(), &shared(), config.clone());
    let (on_cpu, cpu_module) = train(start, &flex(), config.clone());
    assert!(on_cpu[0] > 2.0 * on_cpu[STEPS as usize - 1], "it has learned: {on_cpu:?}");
    for (step, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
        let same = approx::abs_diff_eq!(gpu, cpu, epsilon = 1e-5);
        assert!(same, "step {step}: {gpu} and {cpu} with {config:?}");
    }
    let gpu = elements(gpu_module.hidden.weight.val());
    let cpu = elements(cpu_module.hidden.weight.val());
    let worst = gpu.iter().zip(&cpu).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("worst difference of a weight {worst:e}");
    assert!(worst <= 1e-4, "weights differ by {worst}");
}

#[test]
fn adamw_with_the_default_dimer() {
    let dimer = config().dimer.map(|dimer| Dimer { displacement: WIDE, ..dimer });
    assert_equal_training(Config { dimer, ..config() });
}

#[test]
fn momentum_with_projection_along_a_turned_gradient() {
    let dimer = Dimer {
        rotation: Rotation::Gradient { rate: dimer::Rate::Automatic },
        schedule: Schedule::Every(5),
        translation: Translation::Project(Project { alpha: 1.0, only_negative_curvature: false }),
        ..Dimer::default()
    };
    let base = Base::Sgd(Sgd { momentum: 0.9, nesterov: false });
    assert_equal_training(Config {
        base,
        learning_rate: LearningRate::Fixed(2e-2),
        dimer: Some(dimer),
        ..Config::default()
    });
}

#[test]
fn central_differences() {
    let dimer = config().dimer.map(|dimer| Dimer {
        difference: Difference::Central,
        displacement: WIDE,
        ..dimer
    });
    assert_equal_training(Config { dimer, ..config() });
}

#[test]
fn without_a_dimer() {
    assert_equal_training(Config { dimer: None, ..config() });
}
