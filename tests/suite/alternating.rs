//! Alternating evaluations: what they say is true of the loss at θ, and they need a loss that stays the same.

use std::cell::Cell;

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{Reference, dot, norm};
use dimer::{
    Alternating, Base, Config, Correction, CurvatureRate, Difference, Dimer, Displacement, Error,
    Evaluation, Group, HostObjective, Layout, LearningRate, Metric, Objective, Optimizer, Point,
    Rotation, SaddleFree, Schedule, Scope, ShardedOptimizer, Storage, Translation,
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
fn wells() -> impl Objective {
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
    let error = new().check_objective(&mut HostObjective::new(gradient)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    new().check_objective(&mut wells()).unwrap();
    // A loss at θ alone is none of these steps.
    let error = new().check_objective(&mut OnlyAtCentre).unwrap_err();
    assert!(error.to_string().contains("wants_loss"), "{error}");

    let mut ranks = dimer::Threads::group(1).unwrap();
    let layout = layout.clone();
    let config = config(MOMENTUM, 0.1);
    let mut sharded =
        ShardedOptimizer::new(&gpu(), layout, config, &[1.0; 3], ranks.remove(0)).unwrap();
    assert!(sharded.step(&mut HostObjective::new(gradient)).is_err());
    sharded.step(&mut wells()).unwrap();
}

/// Writes its loss at θ, and forgets it at the probe.
struct OnlyAtCentre;

impl Objective for OnlyAtCentre {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let params = at.read_params()?;
        if at.point == Point::Centre {
            at.write_loss(1.0);
        }
        at.write_gradient(&params)
    }

    fn supplies_loss(&self) -> bool {
        true
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

/// By hand, a step has one probe and no gradient at θ.
#[test]
fn by_hand_there_is_one_probe() {
    let layout = Layout::flat(3).unwrap();
    let mut optimizer = Optimizer::new(&gpu(), layout, config(MOMENTUM, 0.1), &[1.0; 3]).unwrap();
    for _ in 0..4 {
        let mut step = optimizer.begin_step().unwrap();
        assert!(step.write_gradient(Point::Centre, &[1.0; 3]).is_err());
        assert!(step.next_probe().unwrap().is_some());
        let probe = step.read_params(Point::Probe).unwrap();
        step.write_gradient(Point::Probe, &probe).unwrap();
        assert!(step.next_probe().unwrap().is_none());
        step.write_loss(0.5 * probe.iter().map(|x| x * x).sum::<f32>());
        step.finish().unwrap();
    }
    let records = optimizer.telemetry().unwrap();
    assert_eq!(records.iter().filter(|record| record.event).count(), 2);
    assert!(records.iter().all(|record| record.loss.is_some_and(f32::is_finite)));
}

/// With groups of their own rates and one out of reach, a clip, a scale of the loss, and a step along N that is Newton's or as
/// long as it may be: what the reference does, over the steps of a walk out of a saddle.
#[test]
fn follows_the_reference_out_of_a_saddle() {
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    let alone = builder.group(Group { dimer: false, weight_decay: Some(0.3), ..Group::default() });
    builder.tensor("first", &[5]).tensor_in(slow, "middle", &[67]).tensor_in(alone, "last", &[9]);
    let layout = builder.build().unwrap();
    let len = layout.len();
    let gradient = |theta: &[f64]| -> Vec<f64> {
        let one = |(i, x): (usize, &f64)| {
            if i == 2 { x * x * x - 0.4 * x } else { (0.5 + (i % 7) as f64 / 5.0) * x }
        };
        theta.iter().enumerate().map(one).collect()
    };
    let start: Vec<f32> = (0..len).map(|i| 1e-2 * ((i * 5 % 9) as f32 - 3.7)).collect();
    for (base, rate) in [(MOMENTUM, 0.02), (ADAMW, 0.005)] {
        let mut acts = [0, 0];
        for (trust, clip) in [(0.05, None), (30.0, None), (30.0, Some(0.3))] {
            let saddle_free = SaddleFree { trust, damping: 1e-3, kick: 0.1, significance: 0.5 };
            let translation = Translation::SaddleFree(saddle_free);
            let dimer = Dimer { translation, ..Dimer::alternating() };
            let config = Config {
                max_gradient_norm: clip,
                dimer: Some(dimer),
                weight_decay: 0.02,
                ..config(base, rate)
            };
            let mut optimizer =
                Optimizer::new(&gpu(), layout.clone(), config.clone(), &start).unwrap();
            optimizer.set_loss_scale(64.0).unwrap();
            // Near the way out, so that it is taken soon.
            let mut n = vec![0.05_f32; len];
            n[2] = 1.0;
            optimizer.write_orientation(&n).unwrap();
            let n = wide(&optimizer.read_orientation().unwrap().unwrap());
            let mut reference = Reference::new(&layout, config, &wide(&start), &n);
            let mut objective = HostObjective::new(|theta: &[f32], g: &mut [f32]| {
                let found = gradient(&wide(theta));
                g.iter_mut().zip(found).for_each(|(g, x)| *g = 64.0 * x as f32);
                0.0
            })
            .deterministic();
            for step in 0..40 {
                optimizer.step(&mut objective).unwrap();
                reference.step(gradient);
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                if reference.shift != 0.0 {
                    let longest = trust * 72_f64.sqrt() * rate;
                    acts[usize::from(reference.shift.abs() < 0.99 * longest)] += 1;
                }
                // Rounding of probes, over the distance, grows with the walk.
                let bound = 1e-4 * 1.1_f64.powi(step);
                assert_within("C", record.curvature.into(), reference.curvature, bound);
                assert_within("shift", record.shift.into(), reference.shift, bound);
                assert_within("g·N", record.projection.into(), reference.projection, bound);
            }
            let params = optimizer.read_params().unwrap();
            assert_all_within("θ", &params, &reference.params, |_| 5e-3);
        }
        // Both kinds of steps along N: as long as they may be, and Newton's.
        println!("{base:?}: {acts:?}");
        assert!(acts.iter().all(|&count| count > 1), "{base:?}: {acts:?}");
    }
}

/// After θ or N was written, and in a first step that is skipped, nothing is taken for what it was not.
#[test]
fn begins_anew_where_the_user_writes() {
    let len = 40;
    let layout = Layout::flat(len).unwrap();
    let start = vector(&mut rng(5), len, Kind::Plain);
    for steps in [4, 5] {
        let new =
            || Optimizer::new(&gpu(), layout.clone(), config(MOMENTUM, 0.01), &start).unwrap();
        let mut optimizer = new();
        (0..steps).for_each(|_| optimizer.step(&mut wells()).unwrap());
        let far: Vec<f32> = start.iter().map(|x| x + 5.0).collect();
        optimizer.write_params(&far).unwrap();
        optimizer.telemetry().unwrap();
        (0..6).for_each(|_| optimizer.step(&mut wells()).unwrap());
        let curvatures: Vec<f32> =
            optimizer.telemetry().unwrap().iter().map(|record| record.curvature).collect();
        // The first element's well curves by 3 x² − ω at most.
        assert!(curvatures.iter().all(|c| c.abs() < 120.0), "{curvatures:?}");
        let mut optimizer = new();
        (0..steps).for_each(|_| optimizer.step(&mut wells()).unwrap());
        let mut along = vec![0.0; len];
        along[7] = 1.0;
        optimizer.write_orientation(&along).unwrap();
        optimizer.telemetry().unwrap();
        (0..6).for_each(|_| optimizer.rotate(&mut wells()).unwrap());
        let events: Vec<f32> = optimizer
            .telemetry()
            .unwrap()
            .iter()
            .filter(|record| record.event)
            .map(|record| record.curvature)
            .collect();
        assert_within("C along an axis", events[0].into(), valley(7), 1e-2);
    }
}

/// A group that is frozen later has no part in N or in what is known of HN.
#[test]
fn a_group_can_be_frozen_later() {
    let layout = |scale: f64| {
        let mut builder = Layout::builder();
        let group = builder.group(Group { learning_rate_scale: scale, ..Group::default() });
        builder.tensor("head", &[9]).tensor_in(group, "body", &[70]);
        builder.build().unwrap()
    };
    let make =
        |scale| Optimizer::new(&gpu(), layout(scale), config(ADAMW, 0.01), &[0.5; 79]).unwrap();
    let matrix: Vec<f32> = (0..79).map(|i| i as f32 / 20.0 - 2.0).collect();
    let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        gradient.iter_mut().zip(theta.iter().zip(&matrix)).for_each(|(g, (x, h))| *g = h * x);
        0.0
    })
    .deterministic();
    let mut first = make(1.0);
    (0..10).for_each(|_| first.step(&mut objective).unwrap());
    let before = first.read_params().unwrap();
    let mut second = make(0.0);
    second.load_bytes_with_changes(&first.save_bytes().unwrap()).unwrap();
    (0..40).for_each(|_| second.step(&mut objective).unwrap());
    let after = second.read_params().unwrap();
    assert_eq!(bits(&after[9..]), bits(&before[9..]));
    assert_ne!(bits(&after[..9]), bits(&before[..9]));
    let n = wide(&second.read_orientation().unwrap().unwrap());
    assert!(n[9..].iter().all(|&n| n == 0.0));
    assert_within("‖N‖", norm(&n), 1.0, 1e-6);
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
        let is_of_another = config.dimer.as_ref().is_some_and(|dimer| {
            dimer.translation == Translation::Climb || dimer.metric == Metric::Preconditioner
        });
        let text = error.to_string();
        let is_named = text.contains("Rotation::Alternating") || text.contains("dimer.rotation");
        assert!(is_named || is_of_another, "{error}");
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
