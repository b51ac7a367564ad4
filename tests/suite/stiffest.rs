//! Events that seek the stiffest direction: the same bits as the softest direction of −L, the highest eigenvalue,
//! and, where they only watch, steps of the base optimizer alone.

use crate::common::*;
use crate::matrix::{Matrix, Signed};
use dimer::reference::{self, Reference};
use dimer::{
    Config, CurvatureRate, Difference, Dimer, Displacement, EarlyExit, Error, Evaluation,
    FullBatch, Layout, LearningRate, Mode, Objective, OnPlateau, Optimizer, Point, Projection,
    RateProbe, Regime, RelativeDisplacement, Rotation, RotationRate, RotationStop, Schedule, Scope,
    Storage, Telemetry, Translation,
};
use rand::RngExt;

pub const WATCHES: Translation =
    Translation::Project(Projection { alpha: 0.0, only_negative_curvature: false });

pub fn rotations() -> [Rotation; 8] {
    let stop = RotationStop::new(0.05, 1e-3);
    let deterministic = |stop| Regime::FullBatch(FullBatch { max_rotations: 4, stop });
    [
        Rotation::gradient(RotationRate::Fixed(0.05)),
        Rotation::gradient(RotationRate::Automatic),
        Rotation::optimal_angle(Regime::Stochastic),
        Rotation::optimal_angle(deterministic(None)),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(deterministic(None)),
        Rotation::locally_optimal(deterministic(Some(stop))),
        Rotation::locally_optimal(deterministic(Some(stop.with_early_exit(EarlyExit::Gradients)))),
    ]
}

/// Every rotation with every difference, displacement, scope and storage that goes with it.
fn dimers() -> Vec<(Dimer, Storage)> {
    let displacements = [
        Displacement::Absolute(0.1),
        Displacement::Relative(RelativeDisplacement { factor: 1e-2, minimum: 1e-3 }),
        Displacement::Automatic,
    ];
    let mut all = Vec::new();
    for rotation in rotations() {
        for difference in [Difference::Forward, Difference::Central, Difference::Exact] {
            for displacement in displacements {
                for scope in [Scope::Global, Scope::PerTensor] {
                    for storage in [Storage::F32, Storage::Bf16] {
                        let dimer = Dimer {
                            seeks: Mode::Stiffest,
                            rotation,
                            difference,
                            displacement,
                            scope,
                            schedule: Schedule::Every(2),
                            translation: WATCHES,
                            ..Dimer::default()
                        };
                        let config = Config { storage, dimer: Some(dimer.clone()), ..fixed_rate() };
                        if config.validate().is_ok() {
                            all.push((dimer, storage));
                        }
                    }
                }
            }
        }
    }
    all
}

fn layout() -> Layout {
    let mut builder = Layout::builder();
    builder.tensor("a", &[5, 5]).tensor("b", &[41]);
    builder.build().unwrap()
}

const LEN: usize = 66;

fn matrix(seed: u64) -> Matrix {
    let mut rng = rng(seed);
    let eigenvalues = (0..LEN).map(|_| rng.random_range(-2.0..5.0)).collect();
    Matrix::new(&mut rng, eigenvalues)
}

/// The stiffest direction of L is the softest of −L, to the bit: whatever the rotation, nothing but the sign of the
/// curvature tells them apart. At a learning rate of 0, since −L is not trained as L is. The directions of a
/// Rayleigh-Ritz rotation, the gradient or the force, change their sign with L, and a difference at θ + ΔR d meets
/// other third derivatives than one at θ − ΔR d: of those rotations only the ones with exact products are compared.
#[test]
fn is_the_softest_of_the_negative_loss() {
    let matrix = matrix(1);
    let params = vector(&mut rng(2), LEN, Kind::Plain);
    let dimers = dimers();
    println!("{} configurations", dimers.len());
    let mut compared = 0;
    for (dimer, storage) in dimers {
        let by_gradient = matches!(dimer.rotation, Rotation::Gradient { .. });
        if !by_gradient && dimer.difference != Difference::Exact {
            continue;
        }
        compared += 1;
        println!("{dimer:?} {storage:?}");
        let run = |seeks, sign| {
            let dimer = Dimer { seeks, ..dimer.clone() };
            let config = Config {
                base: SGD,
                learning_rate: LearningRate::Fixed(0.0),
                weight_decay: 0.0,
                storage,
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let mut optimizer = Optimizer::new(&quick_gpu(), layout(), config, &params).unwrap();
            let mut objective = Signed { matrix: &matrix, sign };
            for _ in 0..8 {
                optimizer.step(&mut objective).unwrap();
            }
            (state(&optimizer), optimizer.telemetry().unwrap())
        };
        let (stiffest, records) = run(Mode::Stiffest, 1.0);
        let (softest, mirrored) = run(Mode::Softest, -1.0);
        assert_eq!(stiffest, softest);
        let found = |record: &Telemetry, sign: f32| {
            let Telemetry { curvature, curvature_mean, residual, angle, stop, .. } = *record;
            (sign * curvature, sign * curvature_mean, residual, angle, stop)
        };
        for (record, mirrored) in records.iter().zip(&mirrored) {
            assert!(record.step < 1 || record.curvature != 0.0);
            assert_eq!(found(record, 1.0), found(mirrored, -1.0), "{record:?}\n{mirrored:?}");
        }
    }
    println!("{compared} configurations");
    assert!(compared > 40);
}

/// Against the reference, which turns by −HN with explicit vectors, for steps of the optimizer that watches and of one
/// that projects. Bounds as for the softest mode in `locally_optimal.rs` and `scope.rs`: 64 units of |g| and N turns by
/// at most the rate times that in each of 4 events.
#[test]
fn matches_the_reference() {
    let matrix = matrix(3);
    let params = vector(&mut rng(4), LEN, Kind::Plain);
    let project = Translation::Project(Projection::default());
    let mut compared = 0;
    for (dimer, storage) in dimers() {
        // The reference has no stop on the GPU, and no rounding.
        if storage == Storage::Bf16 || dimer.displacement == Displacement::Automatic {
            continue;
        }
        for translation in [Translation::None, project] {
            let dimer = Dimer { translation, ..dimer.clone() };
            let config = Config {
                base: MOMENTUM,
                learning_rate: LearningRate::Fixed(1e-2),
                dimer: Some(dimer),
                ..fixed_rate()
            };
            if config.validate().is_err() {
                continue;
            }
            println!("{config:?}");
            let mut optimizer =
                Optimizer::new(&quick_gpu(), layout(), config.clone(), &params).unwrap();
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
            let mut reference = Reference::new(&layout(), config, &wide(&params), &orientation);
            let mut objective = Signed { matrix: &matrix, sign: 1.0 };
            for _ in 0..6 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|theta| {
                    let product = matrix.product_wide(theta);
                    product.iter().zip(theta).map(|(h, x)| h + 0.1 * x * x).collect()
                });
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                assert_within("C", record.curvature.into(), reference.curvature, 2e-3);
                assert_within("‖F‖", record.residual.into(), reference.residual, 1e-2);
            }
            let n = optimizer.read_orientation().unwrap().unwrap();
            assert_all_within("N", &n, &reference.orientation, |_| 1e-2);
            let theta = optimizer.read_params().unwrap();
            assert_all_within("θ", &theta, &reference.params, |_| 1e-3);
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

/// The highest eigenvalue of a spectrum like a trained network's, by every rotation; the sign test of −η F and +η F.
#[test]
fn reaches_the_highest_eigenvalue() {
    let mut rng = rng(5);
    let mut eigenvalues: Vec<f64> = (0..300).map(|_| rng.random_range(-0.3..0.3)).collect();
    eigenvalues[..4].copy_from_slice(&[20.0, 12.0, 5.0, -1.0]);
    let matrix = Matrix::new(&mut rng, eigenvalues);
    for (rotation, events) in rotations().into_iter().zip([60, 100, 30, 10, 20, 8, 8, 8]) {
        let dimer = Dimer {
            seeks: Mode::Stiffest,
            rotation,
            displacement: Displacement::Absolute(1.0),
            translation: Translation::None,
            ..Dimer::default()
        };
        let mut optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &[0.0; 300]);
        let mut objective = matrix.objective(1.0);
        for _ in 0..events {
            optimizer.rotate(&mut objective).unwrap();
        }
        let curvature = f64::from(optimizer.read_curvature().unwrap());
        let gradients = optimizer.gradient_evaluations();
        println!("{rotation:?}: {curvature} after {gradients} gradients");
        assert_within("C", curvature, 20.0, 0.1);
        let n = optimizer.read_orientation().unwrap().unwrap();
        assert_within("N·HN", reference::dot(&wide(&n), &matrix.product(&n)), 20.0, 0.1);
    }
}

/// The first events aim along the gradient until C is positive, as those for the softest mode do until it is negative.
#[test]
fn the_gradient_stands_in_for_the_direction_first() {
    let mut rng = rng(6);
    let mut eigenvalues = vec![0.01; 2000];
    eigenvalues[0] = 10.0;
    let matrix = Matrix::new(&mut rng, eigenvalues);
    let params = vector(&mut rng, 2000, Kind::Plain);
    let dimer = Dimer {
        seeks: Mode::Stiffest,
        displacement: Displacement::Absolute(0.1),
        translation: Translation::None,
        ..Dimer::default()
    };
    let mut optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &params);
    optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
    optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
    // A random N has 10/2000 of it; the gradient, Hθ, nearly all.
    assert_within("C", optimizer.read_curvature().unwrap().into(), 10.0, 0.1);
}

/// A dimer that only watches changes no bit of θ in 20 steps, and so none of the moments before, whatever the base,
/// the rotation and the rate.
#[test]
fn watching_changes_no_bit() {
    let matrix = matrix(7);
    let params = vector(&mut rng(8), LEN, Kind::Plain);
    let probes = [None, Some(RateProbe::SeparateGradient), Some(RateProbe::RepeatedMinibatch)];
    let mut seen = 0;
    for (index, base) in BASES.into_iter().enumerate() {
        for seeks in [Mode::Softest, Mode::Stiffest] {
            for (j, rotation) in rotations().into_iter().enumerate() {
                let probe = probes[(index + j) % 3];
                let learning_rate = match probe {
                    None => LearningRate::Fixed(1e-2),
                    Some(probe) => LearningRate::Curvature(CurvatureRate {
                        probe,
                        interval: 5,
                        burn_in: 4,
                        ..CurvatureRate::default()
                    }),
                };
                let schedule = if j == 0 {
                    Schedule::OnPlateau(OnPlateau { shortest: 2, longest: 8, share: 0.9 })
                } else {
                    Schedule::Every(3)
                };
                let scope = if j == 1 { Scope::PerTensor } else { Scope::Global };
                let dimer = Dimer {
                    seeks,
                    rotation,
                    schedule,
                    scope,
                    translation: Translation::None,
                    ..Dimer::default()
                };
                let storage = if j % 2 == 0 || j > 4 { Storage::F32 } else { Storage::Bf16 };
                let watched = Config {
                    base,
                    learning_rate,
                    max_gradient_norm: (index % 2 == 0).then_some(3.0),
                    dimer: Some(dimer),
                    ..fixed_rate()
                };
                let watched = match (Config { storage, ..watched.clone() }).validate() {
                    Ok(()) => Config { storage, ..watched },
                    Err(_) => watched,
                };
                let run = |config: Config| {
                    let mut optimizer =
                        Optimizer::new(&quick_gpu(), layout(), config, &params).unwrap();
                    let mut objective = Signed { matrix: &matrix, sign: 1.0 };
                    for _ in 0..20 {
                        optimizer.step(&mut objective).unwrap();
                    }
                    let events =
                        optimizer.telemetry().unwrap().iter().filter(|it| it.event).count();
                    (bits(&optimizer.read_params().unwrap()), events)
                };
                let alone = run(Config { dimer: None, ..watched.clone() });
                let watching = run(watched.clone());
                assert_eq!(alone.0, watching.0, "{watched:?}");
                assert_eq!(alone.1, 0);
                assert!(watching.1 > if j == 0 { 0 } else { 2 }, "{watched:?}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 7 * 2 * 8);
}

/// Probes that are not finite do not hold up a training that is only watched, nor change what is known of N.
#[test]
fn a_probe_that_is_not_finite_changes_nothing() {
    struct Bad<'a>(Signed<'a>, Option<f32>);
    impl Objective for Bad<'_> {
        fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
            match self.1 {
                Some(bad) if at.point == Point::Probe => {
                    // In one element of each tensor, since each may have a dimer of its own.
                    let mut gradient = vec![1.0; LEN];
                    (gradient[3], gradient[LEN / 2]) = (bad, bad);
                    at.write_gradient(&gradient)
                }
                _ => self.0.gradient(at),
            }
        }
    }
    let matrix = matrix(9);
    let params = vector(&mut rng(10), LEN, Kind::Plain);
    let mut seen = 0;
    for (dimer, storage) in dimers() {
        if dimer.difference != Difference::Forward {
            continue;
        }
        let dimer = Dimer { translation: Translation::None, ..dimer };
        let config = Config {
            base: ADAMW,
            learning_rate: LearningRate::Fixed(1e-2),
            storage,
            dimer: Some(dimer.clone()),
            ..fixed_rate()
        };
        println!("{config:?}");
        let alone = Config { dimer: None, ..config.clone() };
        let [mut watching, mut alone] = [config, alone]
            .map(|config| Optimizer::new(&quick_gpu(), layout(), config, &params).unwrap());
        let mut objective = Bad(Signed { matrix: &matrix, sign: 1.0 }, None);
        let step = |watching: &mut Optimizer, alone: &mut Optimizer, objective: &mut Bad<'_>| {
            watching.step(objective).unwrap();
            alone.step(objective).unwrap();
            let params = [&*watching, &*alone].map(|it| bits(&it.read_params().unwrap()));
            assert_eq!(params[0], params[1]);
        };
        for bad in [None, Some(f32::NAN), Some(GPU_NAN), Some(f32::INFINITY), None] {
            step(&mut watching, &mut alone, &mut objective);
            let before = watching.read_orientation().unwrap().unwrap();
            let known = watching.telemetry().unwrap().pop().unwrap();
            objective.1 = bad;
            step(&mut watching, &mut alone, &mut objective);
            let record = watching.telemetry().unwrap().pop().unwrap();
            assert!(record.event && !record.skipped);
            assert_eq!(u64::from(record.updates), record.step + 1);
            let found = |record: &Telemetry| {
                let Telemetry { curvature, curvature_mean, initial_curvature, residual, .. } =
                    *record;
                [curvature, curvature_mean, initial_curvature, residual].map(f32::to_bits)
            };
            if bad.is_some() {
                let after = watching.read_orientation().unwrap().unwrap();
                assert_eq!(bits(&before), bits(&after));
                assert_eq!(found(&known), found(&record));
            } else {
                assert_ne!(found(&known), found(&record));
            }
            objective.1 = None;
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

/// On a plateau, events that find the loss curving up come as often as they may.
#[test]
fn plateaus_are_watched_at_the_shortest_interval() {
    let dimer = Dimer {
        seeks: Mode::Stiffest,
        schedule: Schedule::OnPlateau(OnPlateau { shortest: 10, longest: 80, share: 0.1 }),
        translation: Translation::None,
        ..fixed_dimer(0.1, 1e-2, 0.0)
    };
    let events = |seeks| {
        let dimer = Dimer { seeks, ..dimer.clone() };
        let config = Config {
            base: SGD,
            learning_rate: LearningRate::Fixed(0.1),
            weight_decay: 0.0,
            dimer: Some(dimer),
            ..fixed_rate()
        };
        let mut optimizer = flat(config, &[10.0, 1.0]);
        let mut objective = quadratic(vec![1.0, 0.5]);
        for _ in 0..600 {
            optimizer.step(&mut objective).unwrap();
        }
        let records = optimizer.telemetry().unwrap();
        let events = records.iter().filter(|record| record.event).map(|record| record.step);
        events.filter(|&step| step > 300).collect::<Vec<_>>()
    };
    let (stiffest, softest) = (events(Mode::Stiffest), events(Mode::Softest));
    println!("{stiffest:?}\n{softest:?}");
    assert!(stiffest.windows(2).all(|pair| pair[1] - pair[0] == 10), "{stiffest:?}");
    assert!(stiffest.len() > 25 && softest.len() < 6);
}

/// What does not go together is refused, with what to do.
#[test]
fn settings_are_checked() {
    let watching =
        Dimer { seeks: Mode::Stiffest, translation: Translation::None, ..Dimer::default() };
    let validate = |dimer: Dimer| Config { dimer: Some(dimer), ..fixed_rate() }.validate();
    assert!(validate(watching.clone()).is_ok());
    let negative = Projection { only_negative_curvature: true, ..Projection::default() };
    let along = [
        Translation::SaddleFree(Default::default()),
        Translation::Climb,
        Translation::Project(negative),
    ];
    for translation in along {
        let error = validate(Dimer { translation, ..watching.clone() }).unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "Mode::Stiffest", .. }), "{error}");
    }
    for seeks in [Mode::Softest, Mode::Stiffest] {
        let central = Dimer { seeks, difference: Difference::Central, ..watching.clone() };
        let error = validate(central).unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "Translation::None", .. }), "{error}");
    }
}
