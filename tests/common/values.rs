//! What checks need that run on any device, in a browser too: seeded random vectors, comparisons in which NaN fails, or
//! which a report collects, and configurations whose every number is known.
#![allow(dead_code, reason = "each program uses its own part")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use dimer::{
    Adam, Base, Config, Correction, Difference, Dimer, Displacement, LearningRate, Lion, Metric,
    Mode, Optimizer, Projection, Rotation, RotationRate, Schedule, Scope, Sgd, Sophia, Translation,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Unit roundoff of f32.
pub const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// The lengths that kernels are tested at: one, odd, prime, around a block and a tile.
pub const LENGTHS: [usize; 9] = [1, 3, 63, 64, 65, 255, 1023, 4099, 1_000_003];

/// Prints what a failing test should show, unless a report is being made.
macro_rules! say {
    ($($argument:tt)*) => {
        if !$crate::common::is_reported() {
            println!($($argument)*);
        }
    };
}
#[allow(unused_imports, reason = "each program uses its own part")]
pub(crate) use say;

/// A generator whose seed is printed, so that a failure can be run again.
pub fn rng(seed: u64) -> StdRng {
    say!("seed {seed}");
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

/// The comparison of a quantity that came nearest to its bound, or went farthest beyond it.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    pub found: f64,
    pub expected: f64,
    pub bound: f64,
    /// How many there were of this quantity.
    pub count: u64,
}

impl Comparison {
    pub fn error(&self) -> f64 {
        (self.found - self.expected).abs()
    }

    /// As a share of the bound; infinite for what is not a number.
    pub fn share(&self) -> f64 {
        let share = self.error() / self.bound;
        match self.found == self.expected {
            true => 0.0,
            false if share.is_nan() => f64::INFINITY,
            false => share,
        }
    }

    /// NaN fails, as in every comparison of `approx`; and so does a bound that allows anything.
    pub fn holds(&self) -> bool {
        self.bound.is_finite()
            && approx::abs_diff_eq!(self.found, self.expected, epsilon = self.bound)
    }
}

/// What a report collects where a test would fail at the first comparison that does not hold.
#[derive(Debug, Default)]
pub struct Report {
    /// By quantity.
    pub comparisons: BTreeMap<String, Comparison>,
    /// Those that ran, where the device can time them.
    pub kernels: BTreeSet<&'static str>,
}

thread_local! {
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// From here on comparisons of this thread are collected.
pub fn begin_report() {
    REPORT.set(Some(Report::default()));
}

/// What was collected; from here on a comparison that does not hold fails.
pub fn end_report() -> Report {
    REPORT.take().expect("a report was begun")
}

pub fn is_reported() -> bool {
    REPORT.with_borrow(Option::is_some)
}

/// For a report, asks for the names of the kernels that run from here on.
pub fn watch_kernels(optimizer: &mut Optimizer) {
    if is_reported() {
        // A device that cannot time them does not tell their names.
        let _ = optimizer.time_kernels(true);
    }
}

/// Notes which kernels ran.
pub async fn note_kernels(optimizer: &mut Optimizer) {
    if is_reported() {
        let times = optimizer.kernel_times_async().await.expect("kernel times");
        let kernels = times.iter().map(|time| time.kernel);
        REPORT.with_borrow_mut(|report| report.as_mut().expect("a report").kernels.extend(kernels));
    }
}

/// Fails unless |found − expected| ≤ bound, or is collected in a report.
#[track_caller]
pub fn assert_within(what: &str, found: f64, expected: f64, bound: f64) {
    compare(what, None, Comparison { found, expected, bound, count: 1 });
}

#[track_caller]
fn compare(what: &str, index: Option<usize>, comparison: Comparison) {
    let is_collected = REPORT.with_borrow_mut(|report| {
        let Some(report) = report else { return false };
        let Some(nearest) = report.comparisons.get_mut(what) else {
            report.comparisons.insert(what.to_owned(), comparison);
            return true;
        };
        let count = nearest.count + 1;
        if comparison.share() > nearest.share() {
            *nearest = comparison;
        }
        nearest.count = count;
        true
    });
    if !is_collected && !comparison.holds() {
        let Comparison { found, expected, bound, .. } = comparison;
        let index = index.map_or(String::new(), |index| format!("[{index}]"));
        panic!("{what}{index}: found {found:e}, expected {expected:e}, bound {bound:e}");
    }
}

/// Fails unless `holds`, or is collected in a report.
#[track_caller]
pub fn assert_that(what: &str, holds: bool) {
    assert_within(what, f64::from(u8::from(holds)), 1.0, 0.0);
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
        let found = f64::from(found);
        compare(what, Some(i), Comparison { found, expected, bound: bound(i), count: 1 });
    }
}

/// What a product with a matrix of this norm can be off by at a θ of this norm: both gradients are rounded, each by half
/// a unit in the last place, and a few operations after that.
pub fn product_error(scale: f64, theta: f64, distance: f64) -> f64 {
    UNIT * scale * ((theta + distance) / distance + 10.0)
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
