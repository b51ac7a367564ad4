//! Training on Burn's wgpu device, in place, equals training of the same module through host slices
//! on the CPU backend, as far as rounding lets it.

use crate::common::{Network, batch, config, elements, flex, scalar, shared};
use burn::module::Module;
use burn::tensor::Device;
use dimer::{
    Base, Config, CurvatureRate, Difference, Dimer, Displacement, LearningRate, Projection,
    RateProbe, Rotation, Schedule, Sgd, Translation,
};
use dimer_burn::{DimerDevice, DimerOptimizer, RepeatableBatches};

const STEPS: u64 = 100;

/// At the default distance, 3e-5 of the norm, the difference of two gradients keeps 3 digits of f32:
/// enough for a direction, not to compare two sets of kernels by. This far apart it keeps 6.
const WIDE: Displacement = Displacement::Absolute(1e-2);

/// How many times as far as on one device with its samples in another order a training may be on the other. Another order
/// rounds only the sums over a minibatch anew; another device rounds every sum and every tanh. Twice is seen.
const ROUNDINGS: f32 = 4.0;

/// No training here magnifies rounding so far that a wrong kernel could hide in it.
const LARGEST: f32 = 2e-4;

/// The order of the samples of a minibatch: no loss depends on it but for the rounding of sums.
#[derive(Clone, Copy)]
enum Order {
    Given,
    Reversed,
}

fn train(
    module: Network,
    device: &DimerDevice,
    config: Config,
    order: Order,
) -> (Vec<f32>, Vec<f32>) {
    let burn = device.burn();
    let module = module.fork(&burn);
    let mut optimizer = DimerOptimizer::new(module, device, config).unwrap();
    let losses = (0..STEPS).map(|step| {
        let (x, y) = batch(step, &burn);
        let batch = match order {
            Order::Given => (x, y),
            Order::Reversed => (x.flip([0]), y.flip([0])),
        };
        scalar(optimizer.step(|module| module.loss(&batch)).unwrap())
    });
    let losses = losses.collect();
    (losses, elements(optimizer.into_module().unwrap().hidden.weight.val()))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn assert_equal_training(config: Config) {
    let start = Network::new(64, &Device::flex().autodiff());
    let gpu = train(start.clone(), &shared(), config.clone(), Order::Given);
    let cpu = train(start.clone(), &flex(), config.clone(), Order::Given);
    let rounded = train(start, &flex(), config.clone(), Order::Reversed);
    assert!(cpu.0[0] > 2.0 * cpu.0[STEPS as usize - 1], "it has learned: {:?}", cpu.0);
    for (what, gpu, cpu, rounded) in
        [("a loss", &gpu.0, &cpu.0, &rounded.0), ("a weight", &gpu.1, &cpu.1, &rounded.1)]
    {
        let (found, rounding) = (worst(gpu, cpu), worst(cpu, rounded));
        println!("{what}: {found:e}, in another order {rounding:e}");
        let bound = (ROUNDINGS * rounding).max(f32::EPSILON);
        assert!(bound < LARGEST, "{what}: rounding is too large to compare by, with {config:?}");
        assert!(found <= bound, "{what} with {config:?}");
    }
}

#[test]
fn adamw_with_the_default_dimer() {
    let dimer = config().dimer.map(|dimer| Dimer { displacement: WIDE, ..dimer });
    assert_equal_training(Config { dimer, ..config() });
}

/// Without a learning rate to choose: by a gradient of its own, and by minibatches that are used twice.
#[test]
fn a_learning_rate_from_curvature() {
    for probe in [RateProbe::SeparateGradient, RateProbe::RepeatedMinibatch] {
        let rate =
            CurvatureRate { probe, initial: 1e-3, displacement: 1e-2, ..CurvatureRate::default() };
        let config =
            Config { learning_rate: LearningRate::Curvature(rate), dimer: None, ..config() };
        let train = |device: &DimerDevice| {
            let burn = device.burn();
            let module = Network::new(64, &Device::flex().autodiff()).fork(&burn);
            let mut optimizer = DimerOptimizer::new(module, device, config.clone()).unwrap();
            let mut batches = RepeatableBatches::new((0..).map(|step| batch(step, &burn)));
            let mut losses = Vec::new();
            let mut repeated = 0;
            for _ in 0..40 {
                let repeats = optimizer.repeats_minibatch();
                repeated += u32::from(repeats);
                let batch = batches.next(repeats).unwrap();
                losses.push(scalar(optimizer.step(|module| module.loss(&batch)).unwrap()));
            }
            let last = *optimizer.telemetry().unwrap().last().unwrap();
            (losses, f64::from(last.base_learning_rate), repeated)
        };
        let ((gpu, gpu_rate, repeated), (cpu, cpu_rate, _)) = (train(&shared()), train(&flex()));
        println!("{probe:?}: rates {gpu_rate} and {cpu_rate}, losses {gpu:?} and {cpu:?}");
        assert_eq!(repeated > 5, probe == RateProbe::RepeatedMinibatch);
        assert!(cpu[0] > 2.0 * cpu[39], "it has learned: {cpu:?}");
        // The displacement keeps 4 digits of a curvature, and later rates build on the first.
        assert!(approx::relative_eq!(gpu_rate, cpu_rate, max_relative = 1e-2));
        for (step, (gpu, cpu)) in gpu.iter().zip(&cpu).enumerate() {
            assert!(approx::abs_diff_eq!(gpu, cpu, epsilon = 1e-2), "{step}: {gpu} {cpu}");
        }
    }
}

#[test]
fn momentum_with_projection_along_a_turned_gradient() {
    let dimer = Dimer {
        rotation: Rotation::gradient(dimer::RotationRate::Automatic),
        schedule: Schedule::Every(5),
        translation: Translation::Project(Projection {
            alpha: 1.0,
            only_negative_curvature: false,
        }),
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
