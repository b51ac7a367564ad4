//! Geometry in which something vanishes: no gradient, no Hessian, N an eigenvector already, all
//! eigenvalues equal, one parameter. Every rotation, difference, displacement and scope has a defined
//! result there, and N stays a unit vector.

use crate::common::*;
use dimer::{
    Base, Config, Correction, Difference, Dimer, Displacement, EarlyExit, FullBatch, HostObjective,
    Layout, LearningRate, Objective, Optimizer, Regime, Rotation, RotationRate, RotationStop,
    Schedule, Scope, Translation,
};

/// Lengths, each with another base optimizer.
const CASES: [(usize, Base); 3] = [(1, SGD), (2, SOPHIA), (70, ADAM)];

/// f with ∇f = slope + h θ, the same for all elements.
fn even(slope: f32, h: f32) -> impl Objective {
    HostObjective::new(move |theta: &[f32], gradient: &mut [f32]| {
        gradient.iter_mut().zip(theta).for_each(|(g, x)| *g = slope + h * x);
        0.0
    })
    .with_hessian_product(move |_: &[f32], direction: &[f32], product: &mut [f32]| {
        product.iter_mut().zip(direction).for_each(|(p, d)| *p = h * d);
    })
}

fn dimers() -> Vec<Dimer> {
    let stop = RotationStop::new(1e-3, 1e-3).with_early_exit(EarlyExit::Gradients);
    let stopping = Regime::FullBatch(FullBatch { max_rotations: 4, stop: Some(stop) });
    let rotations = [
        Rotation::gradient(RotationRate::Automatic),
        Rotation::gradient(RotationRate::Fixed(0.1)),
        Rotation::optimal_angle(Regime::Stochastic),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(Regime::rotations(4)),
        Rotation::locally_optimal(stopping),
    ];
    let base = Dimer {
        schedule: Schedule::Every(1),
        displacement: Displacement::Absolute(1.0),
        ..Dimer::default()
    };
    let mut dimers = Vec::new();
    for rotation in rotations {
        for difference in [Difference::Forward, Difference::Central, Difference::Exact] {
            dimers.push(Dimer { rotation, difference, ..base.clone() });
        }
        dimers.push(Dimer { rotation, displacement: Displacement::Automatic, ..base.clone() });
        let climb = Translation::Climb;
        dimers.push(Dimer { rotation, translation: climb, ..base.clone() });
    }
    let rotation = Rotation::gradient(RotationRate::Automatic);
    for scope in [Scope::PerGroup, Scope::PerTensor] {
        dimers.push(Dimer { rotation, scope, ..base.clone() });
    }
    dimers
}

fn run(dimer: &Dimer, len: usize, slope: f32, h: f32, base: Base) -> Optimizer {
    let config = Config {
        base,
        learning_rate: LearningRate::Fixed(1e-3),
        weight_decay: 0.0,
        dimer: Some(Dimer { correction: Correction::EveryStep, ..dimer.clone() }),
        ..fixed_rate()
    };
    let config = for_translation(config);
    let layout = Layout::flat(len).unwrap();
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &vec![0.5; len]).unwrap();
    let mut objective = even(slope, h);
    for _ in 0..4 {
        optimizer.step(&mut objective).unwrap();
    }
    optimizer
}

fn check(dimer: &Dimer, slope: f32, h: f32) {
    for (len, base) in CASES {
        let mut optimizer = run(dimer, len, slope, h, base);
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        let context = format!("{dimer:?}, {base:?}, length {len}: {record:?}");
        assert_eq!((record.updates, record.skipped_steps), (4, 0), "{context}");
        // At the automatic distances, from 3·10⁻⁵ up, rounding of θ + ΔR·N by half a unit of 0.5 to 1
        // is up to 10⁻³ of ΔR; at 1 it is gone.
        // A rotation by Rayleigh–Ritz divides F, here 2 units of |HN| in size, by a residual that is a
        // difference of squares and so at most √8 units^½ of |HN|: the probe along it is 1.7·10⁻⁴
        // away, over which the gradient's rounding, 2 units, is 7·10⁻⁴ of it.
        let share = match (dimer.displacement, dimer.rotation) {
            (Displacement::Automatic, _) => 4e-3,
            (_, Rotation::Gradient { .. }) => 1e-5,
            _ => 1e-3,
        };
        let bound = share * (f64::from(h.abs()) + f64::from(slope.abs()));
        assert_within(&context, record.curvature.into(), h.into(), bound);
        let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
        assert_within(&context, dimer::reference::norm(&n), 1.0, 1e-5);
        let theta = optimizer.read_params().unwrap();
        assert!(theta.iter().all(|x| x.is_finite()), "{context}");
    }
}

/// Identical gradients at every point, the case in which the paper's own code turns NaN.
#[test]
fn no_hessian() {
    for dimer in dimers() {
        check(&dimer, 0.5, 0.0);
    }
}

#[test]
fn no_gradient_at_all() {
    for dimer in dimers() {
        check(&dimer, 0.0, 0.0);
    }
}

/// Every N is an eigenvector, and F = 0.
#[test]
fn all_eigenvalues_equal() {
    for dimer in dimers() {
        for h in [2.0, -2.0] {
            check(&dimer, 0.25, h);
        }
    }
}

/// ½ Σ hᵢ θᵢ² + slope Σ θᵢ, with powers of two so that differences of gradients are exact.
fn diagonal(h: Vec<f32>, slope: f32) -> impl Objective {
    let products = h.clone();
    HostObjective::new(move |theta: &[f32], gradient: &mut [f32]| {
        gradient.iter_mut().zip(theta).zip(&h).for_each(|((g, x), h)| *g = slope + h * x);
        0.0
    })
    .with_hessian_product(move |_: &[f32], direction: &[f32], product: &mut [f32]| {
        let parts = product.iter_mut().zip(direction).zip(&products);
        parts.for_each(|((p, d), h)| *p = h * d);
    })
}

/// N exactly an eigenvector, though not the softest: F = 0, and a rotation along F alone leaves it where
/// it is, to the bit. One that also looks along the gradient leaves for something softer.
#[test]
fn an_exact_eigenvector() {
    let h = [4.0, 2.0, 1.0, 0.5, 0.25];
    for dimer in dimers() {
        // Its distance is not a power of two, so the difference is not exact.
        if dimer.displacement == Displacement::Automatic {
            continue;
        }
        let config = for_translation(Config { dimer: Some(dimer.clone()), ..fixed_rate() });
        let mut optimizer = flat(config, &[0.5; 5]);
        optimizer.write_orientation(&[0.0, 1.0, 0.0, 0.0, 0.0]).unwrap();
        optimizer.step(&mut diagonal(h.to_vec(), 0.25)).unwrap();
        let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        let context = format!("{dimer:?}: {n:?}, {record:?}");
        assert_within(&context, dimer::reference::norm(&n), 1.0, 1e-5);
        assert!(!record.skipped && record.curvature.is_finite(), "{context}");
        if matches!(dimer.rotation, Rotation::Gradient { .. }) {
            assert_eq!((n.as_slice(), record.curvature), (&[0.0, 1.0, 0.0, 0.0, 0.0][..], 2.0));
            assert_eq!((record.residual, record.angle), (0.0, 0.0), "{context}");
        } else {
            assert!(record.curvature <= 2.0, "{context}");
        }
    }
}

/// Directions without curvature next to curved ones: N finds them, and C goes to zero.
#[test]
fn flat_directions() {
    let h: Vec<f32> = (0..70).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
    for dimer in dimers() {
        let config = Config {
            learning_rate: LearningRate::Fixed(1e-3),
            dimer: Some(dimer.clone()),
            ..fixed_rate()
        };
        let config = for_translation(config);
        let mut optimizer = flat(config, &[0.5; 70]);
        let mut objective = diagonal(h.clone(), 0.25);
        for _ in 0..40 {
            optimizer.step(&mut objective).unwrap();
        }
        let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        let context = format!("{dimer:?}: {record:?}");
        assert_within(&context, dimer::reference::norm(&n), 1.0, 1e-5);
        // Two gradients of 70 elements, at most 1.25 each and half a unit off.
        let rounding = 70_f64.sqrt() * 1.25 * UNIT / f64::from(record.displacement);
        // With a fixed rate of 0.1 each rotation shrinks the curved part of N to 0.9, relative to the flat
        // part, and twice as many directions are curved; the other rotations get there.
        let left = match dimer.rotation {
            Rotation::Gradient { rate: RotationRate::Fixed(_), .. } => 0.9_f64.powi(2 * 39) * 4.0,
            _ => 0.0,
        };
        assert_within(&context, record.curvature.into(), 0.0, rounding + left);
    }
}
