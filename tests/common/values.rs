//! What checks need that run on any device, in a browser too: seeded random vectors, comparisons in which NaN fails,
//! configurations whose every number is known.
#![allow(dead_code, reason = "each program uses its own part")]

use dimer::{
    Adam, Base, Config, Correction, Difference, Dimer, Displacement, LearningRate, Lion, Metric,
    Mode, Projection, Rotation, RotationRate, Schedule, Scope, Sgd, Sophia, Translation,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Unit roundoff of f32.
pub const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// The lengths that kernels are tested at: one, odd, prime, around a block and a tile.
pub const LENGTHS: [usize; 9] = [1, 3, 63, 64, 65, 255, 1023, 4099, 1_000_003];

/// A generator whose seed is printed, so that a failure can be run again.
pub fn rng(seed: u64) -> StdRng {
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// The NaN that arithmetic leaves on some GPUs. Its bits, rounded up, would be those of −0.
pub const GPU_NAN: f32 = f32::from_bits(0x7fff_ffff);

/// Values of the kinds that kernels meet.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Uniform in [−1, 1].
    Plain,
    /// The same times 10⁻²⁰: squares are below the smallest f32.
    Tiny,
    /// The same times 10¹⁵: squares of long vectors are near the largest f32.
    Huge,
    /// Signs and magnitudes from 10⁻²⁰ to 10¹⁵.
    Mixed,
}

pub const KINDS: [Kind; 4] = [Kind::Plain, Kind::Tiny, Kind::Huge, Kind::Mixed];

pub fn vector(rng: &mut StdRng, len: usize, kind: Kind) -> Vec<f32> {
    let element = |_| {
        let x: f32 = rng.random_range(-1.0..1.0);
        match kind {
            Kind::Plain => x,
            Kind::Tiny => x * 1e-20,
            Kind::Huge => x * 1e15,
            Kind::Mixed => x * 10_f32.powf(rng.random_range(-20.0..15.0)),
        }
    };
    (0..len).map(element).collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Fails unless |found − expected| ≤ bound; NaN fails, as in every comparison of `approx`.
#[track_caller]
pub fn assert_within(what: &str, found: f64, expected: f64, bound: f64) {
    let within = approx::abs_diff_eq!(found, expected, epsilon = bound);
    assert!(within, "{what}: found {found:e}, expected {expected:e}, bound {bound:e}");
}

/// Element by element, with a bound for each.
#[track_caller]
pub fn assert_all_within(
    what: &str,
    found: &[f32],
    expected: &[f64],
    bound: impl Fn(usize) -> f64,
) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert_within(&format!("{what}[{i}]"), f64::from(found), expected, bound(i));
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

pub const SGD: Base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
pub const MOMENTUM: Base = Base::Sgd(Sgd { momentum: 0.9, nesterov: false });
pub const NESTEROV: Base = Base::Sgd(Sgd { momentum: 0.9, nesterov: true });
pub const ADAM: Base = Base::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
pub const ADAMW: Base = Base::AdamW(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
/// With a ρ that leaves elements of size one unclipped.
pub const SOPHIA: Base =
    Base::Sophia(Sophia { beta1: 0.965, beta2: 0.99, rho: 1.0, epsilon: 1e-8 });
pub const LION: Base = Base::Lion(Lion { beta1: 0.9, beta2: 0.99 });
pub const BASES: [Base; 7] = [SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, SOPHIA, LION];

/// AdamW at a fixed rate, with a dimer by its defaults.
pub fn fixed_rate() -> Config {
    let dimer = Some(Dimer::default());
    Config { learning_rate: LearningRate::Fixed(1e-3), dimer, ..Config::default() }
}

/// These settings with a base and a weight decay that go with the translation: a climb is by plain gradient steps.
pub fn for_translation(config: Config) -> Config {
    match &config.dimer {
        Some(dimer) if dimer.translation == Translation::Climb => {
            Config { base: SGD, weight_decay: 0.0, ..config }
        }
        _ => config,
    }
}

/// A dimer whose every number is fixed: rate, distance, projection.
pub fn fixed_dimer(rate: f64, distance: f64, alpha: f64) -> Dimer {
    Dimer {
        seeks: Mode::Softest,
        rotation: Rotation::gradient(RotationRate::Fixed(rate)),
        schedule: Schedule::Every(1),
        difference: Difference::Forward,
        displacement: Displacement::Absolute(distance),
        scope: Scope::Global,
        metric: Metric::Euclidean,
        translation: Translation::Project(Projection { alpha, only_negative_curvature: false }),
        correction: Correction::EventsOnly,
        seed: 7,
    }
}
