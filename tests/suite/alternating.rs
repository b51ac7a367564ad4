//! Alternating evaluations: what they say is true of the loss at θ, and they need a loss that stays the same.

use std::cell::Cell;

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{dot, norm};
use dimer::{
    Alternating, Base, Config, Correction, CurvatureRate, Difference, Dimer, Displacement, Error,
    HostObjective, Layout, LearningRate, Metric, Optimizer, Rotation, SaddleFree, Schedule, Scope,
    Storage, Translation,
};
use rand::RngExt;

fn config(base: Base, learning_rate: f64) -> Config {
    let learning_rate = LearningRate::Fixed(learning_rate);
    let dimer = Some(Dimer::alternating());
    Config { base, learning_rate, weight_decay: 0.0, dimer, ..fixed_rate() }
}

/// Where θ stays, N turns to the softest direction, C to its eigenvalue and its error to rounding, at every size; N has
/// unit length, and loss and gradient norm are those at θ.
#[test]
fn finds_the_lowest_eigenvalue() {
    for len in (1..=24).chain([97, 500, 5000]) {
        let mut rng = rng(900 + len as u64);
        let mut eigenvalues: Vec<f64> = (0..len).map(|_| rng.random_range(0.5..3.0)).collect();
        eigenvalues[len / 2] = -2.0;
        let matrix = Matrix::new(&mut rng, eigenvalues);
        let start = vector(&mut rng, len, Kind::Plain);
        let layout = Layout::flat(len).unwrap();
        let config = config(MOMENTUM, 0.0);
        let mut optimizer = Optimizer::new(&gpu(), layout, config, &start).unwrap();
        let mut objective = matrix.objective(1.0);
        for _ in 0..300 {
            optimizer.step(&mut objective).unwrap();
        }
        let theta = wide(&optimizer.read_params().unwrap());
        let n = optimizer.read_orientation().unwrap().unwrap();
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        println!("{len}: {record:?}");
        let gradient = matrix.product_wide(&theta);
        // Rounding of gradients and of the probe, over the distance.
        let rounding = 8.0 * UNIT * (norm(&gradient) + 3.0 * norm(&theta)) / 1e-2;
        assert_within("C", record.curvature.into(), -2.0, rounding);
        assert_within("error of C", record.difference_error.into(), 0.0, rounding);
        assert_within("|N|", norm(&wide(&n)), 1.0, 4.0 * UNIT);
        let residual: Vec<f64> =
            matrix.product(&n).iter().zip(&n).map(|(h, n)| h + 2.0 * f64::from(*n)).collect();
        assert_within("HN + 2 N", norm(&residual), 0.0, 4.0 * rounding);
        let loss = 0.5 * dot(&theta, &gradient);
        let distance = f64::from(record.displacement);
        let bound = 16.0 * UNIT * (loss.abs() + distance * norm(&gradient)) + distance * rounding;
        assert_within("loss", record.loss.unwrap().into(), loss, bound);
        let bound = 16.0 * UNIT * norm(&gradient) + distance * rounding;
        assert_within("|g|", record.gradient_norm.unwrap().into(), norm(&gradient), bound);
    }
}

/// A valley with two wells along the first element, ¼ x⁴ − ½ ω x², where the third derivative is 6 x; the others curve
/// from 0.5 to 2.
fn wells() -> impl dimer::Objective {
    HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        for (i, (g, &x)) in gradient.iter_mut().zip(theta).enumerate() {
            *g = if i == 0 { x * x * x - WELL as f32 * x } else { valley(i) as f32 * x };
        }
        loss_of_wells(&wide(theta)) as f32
    })
    .deterministic()
}

/// ω.
const WELL: f64 = 0.2;

fn valley(i: usize) -> f64 {
    0.5 + 1.5 * (i % 10) as f64 / 9.0
}

fn loss_of_wells(theta: &[f64]) -> f64 {
    let along = 0.25 * theta[0].powi(4) - 0.5 * WELL * theta[0] * theta[0];
    let across = theta.iter().enumerate().skip(1).map(|(i, x)| 0.5 * valley(i) * x * x);
    along + across.sum::<f64>()
}

/// On the way out of a saddle and long after, the loss that is told is that at θ, to third order in the distance of the
/// probe and to the error of the product along N; it leaves in fewer steps than the base, and θ stays where it arrives.
#[test]
fn the_loss_is_that_at_the_parameters() {
    let len = 37;
    let start: Vec<f32> = (0..len).map(|i| 1e-5 * ((i * 7 % 11) as f32 - 4.6)).collect();
    let least = -0.25 * WELL * WELL;
    let steps_of = |config: Config| {
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(&gpu(), layout, config, &start).unwrap();
        let mut objective = wells();
        let mut arrived = None;
        for step in 0..3000 {
            let theta = wide(&optimizer.read_params().unwrap());
            let loss = loss_of_wells(&theta);
            if loss < 0.999 * least {
                arrived = arrived.or(Some(step));
            }
            optimizer.step(&mut objective).unwrap();
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let distance = f64::from(record.displacement);
            // N has unit length, so that the third derivative along it is at most 6 |x|.
            let largest = theta[0].abs() + distance;
            let stiffest = 2.0 + 3.0 * largest * largest;
            // What is known of HN may be that of the N before its last turn, and off by the error that showed.
            let error = 2.0 * stiffest + f64::from(record.difference_error);
            let bound = 8.0 * UNIT * (1.0 + loss.abs())
                + distance.powi(3) * 1.1 * largest
                + 0.5 * distance.powi(2) * error;
            assert_within("loss", record.loss.unwrap().into(), loss, bound);
        }
        let loss = loss_of_wells(&wide(&optimizer.read_params().unwrap()));
        assert!(loss < 0.9999 * least, "{loss}");
        assert_eq!(optimizer.gradient_evaluations(), 3000.0);
        arrived.unwrap()
    };
    let base = steps_of(Config { dimer: None, ..config(MOMENTUM, 0.02) });
    let alternating = steps_of(config(MOMENTUM, 0.02));
    println!("{base} steps, {alternating} with alternating evaluations");
    assert!(2 * alternating < base);
}

/// What has no curvature, and what has no slope either, moves nothing that it should not.
#[test]
fn a_loss_without_curvature() {
    for (slope, len) in [(0.0_f32, 1), (0.5, 1), (0.5, 70), (0.0, 70)] {
        let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            gradient.fill(slope);
            theta.iter().map(|x| slope * x).sum()
        })
        .deterministic();
        let layout = Layout::flat(len).unwrap();
        let start = vec![0.25; len];
        let config = config(MOMENTUM, 0.01);
        let plain = Config { dimer: None, ..config.clone() };
        let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config, &start).unwrap();
        let mut base = Optimizer::new(&gpu(), layout, plain, &start).unwrap();
        for _ in 0..40 {
            optimizer.step(&mut objective).unwrap();
            base.step(&mut objective).unwrap();
        }
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert!(!record.skipped && record.curvature.abs() < 1e-4, "{record:?}");
        assert_eq!(bits(&optimizer.read_params().unwrap()), bits(&base.read_params().unwrap()));
        assert!((norm(&wide(&optimizer.read_orientation().unwrap().unwrap())) - 1.0).abs() < 1e-6);
    }
}

/// A gradient of another function in each step is refused, by what the objective says of itself and by a check of it.
#[test]
fn needs_one_function() {
    let layout = Layout::flat(3).unwrap();
    let new = || Optimizer::new(&gpu(), layout.clone(), config(MOMENTUM, 0.1), &[1.0; 3]).unwrap();
    let step = Cell::new(0_u64);
    let gradient = |theta: &[f32], gradient: &mut [f32]| {
        let shift = step.get() as f32;
        gradient.iter_mut().zip(theta).for_each(|(g, x)| *g = x + shift);
        0.0
    };
    let mut objective = HostObjective::new(gradient);
    let mut optimizer = new();
    let error = optimizer.step(&mut objective).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("is_deterministic"), "{error}");
    assert!(optimizer.rotate(&mut objective).is_err());
    assert_eq!((optimizer.steps(), optimizer.gradient_evaluations()), (0, 0.0));
    let mut objective =
        HostObjective::new(gradient).on_step(|info| step.set(info.index)).deterministic();
    let error = new().check_objective(&mut objective).unwrap_err();
    assert!(matches!(error, Error::InconsistentObjective { .. }), "{error}");
    assert!(error.to_string().contains("two steps"), "{error}");
    new().check_objective(&mut wells()).unwrap();
}

/// Whatever else a dimer can do, with what to do in its place.
#[test]
fn refuses_what_does_not_go_with_it() {
    let dimer = Dimer::alternating();
    let at = |rate, momentum| Dimer {
        rotation: Rotation::Alternating(Alternating { rate, momentum }),
        ..dimer.clone()
    };
    let others = [
        Dimer { schedule: Schedule::Every(2), ..dimer.clone() },
        Dimer { difference: Difference::Central, ..dimer.clone() },
        Dimer { difference: Difference::Exact, ..dimer.clone() },
        Dimer { displacement: Displacement::Automatic, ..dimer.clone() },
        Dimer { scope: Scope::PerTensor, ..dimer.clone() },
        Dimer { metric: Metric::Preconditioner, ..dimer.clone() },
        Dimer { correction: Correction::EventsOnly, ..dimer.clone() },
        Dimer { translation: Translation::Climb, ..dimer.clone() },
        dimer.clone().watching(),
        at(0.0, 0.5),
        at(1.5, 0.5),
        at(f64::NAN, 0.5),
        at(0.3, 1.0),
        at(0.3, -0.1),
    ];
    let with = |dimer: Dimer| Config { dimer: Some(dimer), ..config(ADAMW, 1e-3) };
    let mut configs: Vec<Config> = others.into_iter().map(with).collect();
    configs.push(Config { storage: Storage::Bf16, ..with(dimer.clone()) });
    let rate = LearningRate::Curvature(CurvatureRate::default());
    configs.push(Config { learning_rate: rate, ..with(dimer.clone()) });
    for config in configs {
        let error = config.validate().unwrap_err();
        println!("{error}");
        assert!(matches!(error, Error::Unsupported { .. } | Error::InvalidConfig { .. }));
    }
    with(at(1.0, 0.0)).validate().unwrap();
    let saddle_free = Translation::SaddleFree(SaddleFree::default());
    with(Dimer { translation: saddle_free, ..dimer }).validate().unwrap();
}

/// Saved in the middle, and on either side, the next steps are those that would have followed; from a checkpoint of
/// another rotation the dimer begins anew.
#[test]
fn goes_on_from_a_checkpoint() {
    let len = 1000;
    let start = vector(&mut rng(77), len, Kind::Plain);
    let new = |config: Config| {
        Optimizer::new(&gpu(), Layout::flat(len).unwrap(), config, &start).unwrap()
    };
    for steps in [1, 6, 7] {
        let mut optimizer = new(config(ADAMW, 0.01));
        (0..steps).for_each(|_| optimizer.step(&mut wells()).unwrap());
        let bytes = optimizer.save_bytes().unwrap();
        let mut resumed = new(config(ADAMW, 0.01));
        resumed.load_bytes(&bytes).unwrap();
        optimizer.telemetry().unwrap();
        for optimizer in [&mut optimizer, &mut resumed] {
            (0..20).for_each(|_| optimizer.step(&mut wells()).unwrap());
        }
        assert_eq!(bits(&resumed.read_params().unwrap()), bits(&optimizer.read_params().unwrap()));
        let [seen, expected] = [&mut resumed, &mut optimizer].map(|o| o.telemetry().unwrap());
        assert_eq!(format!("{seen:?}"), format!("{expected:?}"));
    }
    let mut other = new(Config { dimer: Some(Dimer::default()), ..config(ADAMW, 0.01) });
    (0..60).for_each(|_| other.step(&mut wells()).unwrap());
    let mut resumed = new(config(ADAMW, 0.01));
    resumed.load_bytes_with_changes(&other.save_bytes().unwrap()).unwrap();
    resumed.step(&mut wells()).unwrap();
    let record = *resumed.telemetry().unwrap().last().unwrap();
    assert_eq!((record.curvature, record.difference_error, record.shift), (0.0, 0.0, 0.0));
}

/// A step with a gradient that is not finite changes nothing, wherever and whenever that comes, and the next goes on.
#[test]
fn a_broken_gradient_changes_nothing() {
    for len in [1, 5, 65, 4099] {
        for (broken, value) in [(0, f32::NAN), (1, f32::INFINITY), (6, f32::NAN), (7, -f32::NAN)] {
            let step = Cell::new(0);
            let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
                gradient.iter_mut().zip(theta).for_each(|(g, x)| *g = x * x * x - x);
                if step.get() == broken {
                    gradient[len / 2] = value;
                }
                0.0
            })
            .on_step(|info| step.set(info.index))
            .deterministic();
            let start = vector(&mut rng(len as u64), len, Kind::Plain);
            let layout = Layout::flat(len).unwrap();
            let config = config(ADAMW, 0.01);
            let mut optimizer = Optimizer::new(&gpu(), layout, config, &start).unwrap();
            (0..broken).for_each(|_| optimizer.step(&mut objective).unwrap());
            let state = |optimizer: &mut Optimizer| {
                let params = bits(&optimizer.read_params().unwrap());
                (params, bits(&optimizer.read_orientation().unwrap().unwrap()))
            };
            let before = state(&mut optimizer);
            optimizer.step(&mut objective).unwrap();
            assert_eq!(state(&mut optimizer), before, "length {len}, step {broken}");
            (0..20).for_each(|_| optimizer.step(&mut objective).unwrap());
            let records = optimizer.telemetry().unwrap();
            let skipped = records.iter().filter(|record| record.skipped);
            assert_eq!(skipped.map(|record| record.step).collect::<Vec<_>>(), [broken]);
            assert!(records.last().unwrap().difference_error.is_finite());
            assert_ne!(state(&mut optimizer).0, before.0);
        }
    }
}
