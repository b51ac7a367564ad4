//! The saddle-free translation: bit for bit the base optimizer while the gate is closed, the
//! reference's step while it is open, and what it gains on a plateau.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::Reference;
use dimer::{
    Config, Correction, Dimer, HostObjective, Layout, LearningRate, Optimizer, Regime, Rotation,
    SaddleFree, Schedule, Translation,
};

fn saddle_free(correction: Correction) -> Dimer {
    Dimer {
        translation: Translation::SaddleFree(SaddleFree::default()),
        correction,
        schedule: Schedule::Every(2),
        ..fixed_dimer(0.02, 1.0, 1.0)
    }
}

fn run(config: Config, matrix: &Matrix, len: usize, steps: u32) -> Optimizer {
    let mut optimizer = flat(config, &vector(&mut rng(6), len, Kind::Plain));
    let mut objective = matrix.objective(1.0);
    for _ in 0..steps {
        optimizer.step(&mut objective).unwrap();
    }
    optimizer
}

#[test]
fn a_closed_gate_is_the_base_optimizer() {
    let convex = Matrix::new(&mut rng(1), (0..130).map(|i| 0.1 + f64::from(i) / 13.0).collect());
    for base in BASES {
        let theta = |dimer: Option<Dimer>| {
            let config = Config { base, dimer, ..fixed_rate() };
            bits(&run(config, &convex, 130, 20).read_params().unwrap())
        };
        let expected = theta(None);
        for correction in [Correction::EventsOnly, Correction::EveryStep] {
            assert_eq!(theta(Some(saddle_free(correction))), expected, "{base:?} {correction:?}");
            let rotation = Rotation::locally_optimal(Regime::Stochastic);
            let dimer = Dimer { rotation, ..saddle_free(correction) };
            assert_eq!(theta(Some(dimer)), expected, "{base:?} {correction:?}");
        }
    }
}

/// Twenty steps on a quadratic with negative curvature. The step along N is at most R = lr √n. Its
/// length and N follow from dots good to 1e-6 of |g||N| over products good to 64 units of 10, so
/// both are off by less than 1e-3 of themselves even where c is a hundredth of |g|. Each element
/// moves by its share of N.
#[test]
fn matches_reference() {
    let len = 130;
    let matrix = Matrix::new(&mut rng(2), (0..len).map(|i| f64::from(i) / 13.0 - 5.0).collect());
    for base in BASES {
        for correction in [Correction::EventsOnly, Correction::EveryStep] {
            let rate = 1e-3;
            let translation = Translation::SaddleFree(SaddleFree {
                trust: 1.0,
                damping: 1e-2,
                kick: 0.1,
                significance: 2.0,
            });
            let dimer = Dimer { translation, ..saddle_free(correction) };
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(rate),
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let start = vector(&mut rng(6), len as usize, Kind::Plain);
            let mut optimizer = flat(config.clone(), &start);
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            let layout = Layout::flat(len as usize).unwrap();
            let mut reference =
                Reference::new(&layout, config.clone(), &wide(&start), &orientation);
            let mut objective = matrix.objective(1.0);
            for _ in 0..20 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| matrix.product_wide(params));
            }
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let close = |what, found: f32, expected: f64| {
                assert_within(what, found.into(), expected, 1e-4 * expected.abs() + 1e-5);
            };
            close("mean", record.curvature_mean, reference.curvature_mean);
            close("error", record.curvature_error, reference.curvature_error);
            assert!(reference.curvature_mean + 2.0 * reference.curvature_error < 0.0, "it is open");
            let longest = rate * f64::from(len).sqrt();
            let share = reference.orientation.iter().fold(0.0_f64, |most, n| most.max(n.abs()));
            let bound = 20.0 * (2e-3 * longest * share + 4.0 * UNIT);
            let found = optimizer.read_params().unwrap();
            assert_all_within("θ", &found, &reference.params, |_| bound);
            // Without the steps along N it ends elsewhere, by far more than the bound.
            let base_alone = run(Config { dimer: None, ..config }, &matrix, len as usize, 20);
            let moved: f64 = wide(&base_alone.read_params().unwrap())
                .iter()
                .zip(&reference.params)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(moved > 5.0 * bound, "{moved:e}, {bound:e}");
        }
    }
}

/// At an exact saddle the gradient vanishes: the base optimizer stays for ever, the kick leaves.
#[test]
fn leaves_an_exact_saddle() {
    let saddle = || {
        HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            let (x, y) = (theta[0], theta[1]);
            gradient.copy_from_slice(&[x, y * (y * y - 1.0)]);
            0.5 * x * x - 0.5 * y * y + 0.25 * y.powi(4)
        })
    };
    let rotation = Rotation::locally_optimal(Regime::rotations(1));
    let dimer = Dimer { rotation, ..saddle_free(Correction::EventsOnly) };
    let dimer = Dimer { displacement: dimer::Displacement::Absolute(1e-2), ..dimer };
    let end = |dimer: Option<Dimer>| {
        let config = Config {
            base: SGD,
            learning_rate: LearningRate::Fixed(0.1),
            weight_decay: 0.0,
            dimer,
            ..fixed_rate()
        };
        let mut optimizer = flat(config, &[0.0, 0.0]);
        let mut objective = saddle();
        for _ in 0..100 {
            optimizer.step(&mut objective).unwrap();
        }
        optimizer.read_params().unwrap()
    };
    // A rotation alone moves nothing, and says so.
    let alone = Config { dimer: Some(dimer.clone()), ..fixed_rate() };
    let mut optimizer = flat(alone, &[0.0, 0.0]);
    for _ in 0..3 {
        optimizer.rotate(&mut saddle()).unwrap();
    }
    let record = *optimizer.telemetry().unwrap().last().unwrap();
    assert!(record.curvature < 0.0 && record.shift == 0.0, "{record:?}");
    assert_eq!(end(None), [0.0, 0.0]);
    let [x, y] = end(Some(dimer))[..] else { panic!("two parameters") };
    assert!(
        approx::abs_diff_eq!(x, 0.0, epsilon = 0.05)
            && approx::abs_diff_eq!(y.abs(), 1.0, epsilon = 0.05),
        "({x}, {y})"
    );
}

/// The gate closes with the first event that finds positive curvature, while the mean of the last four
/// is still significantly negative: C = h for one parameter.
#[test]
fn the_gate_closes_at_once() {
    let mut h = -2.0;
    let dimer = Dimer { schedule: Schedule::Every(1), ..saddle_free(Correction::EveryStep) };
    let config = Config {
        base: SGD,
        learning_rate: LearningRate::Fixed(1e-3),
        dimer: Some(dimer),
        ..fixed_rate()
    };
    let mut optimizer = flat(config, &[0.5]);
    for step in 0..4 {
        if step == 3 {
            h = 0.1;
        }
        optimizer.step(&mut quadratic(vec![h])).unwrap();
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        println!("{record:?}");
        assert!(record.curvature_mean + 2.0 * record.curvature_error < 0.0);
        assert_eq!(record.shift != 0.0, step < 3, "step {step}");
    }
}
