//! What a group is allowed holds for everything that moves θ: a frozen group keeps its bits, a scaled one moves by
//! its scale, along N as well.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::Reference;
use dimer::{
    Base, Config, Correction, Difference, Dimer, Displacement, Error, Group, HostObjective, Layout,
    LearningRate, Optimizer, Projection, Regime, RelativeDisplacement, Rotation, RotationRate,
    SaddleFree, Schedule, Scope, Spectrum, Storage, Translation,
};

/// A frozen tensor between others, one of them slow; 110 elements.
fn layout(frozen: f64, slow: f64) -> Layout {
    let mut builder = Layout::builder();
    let frozen = builder.group(Group { learning_rate_scale: frozen, ..Group::default() });
    let slow = builder.group(Group { learning_rate_scale: slow, ..Group::default() });
    builder
        .tensor("head", &[9])
        .tensor_in(frozen, "body", &[5, 13])
        .tensor_in(slow, "slow", &[33])
        .tensor_in(frozen, "bias", &[3]);
    builder.build().unwrap()
}

const LEN: usize = 110;
const FROZEN: [std::ops::Range<usize>; 2] = [9..74, 107..110];

/// Down from a saddle in half of the directions, with curvatures of every sign in the frozen group too.
fn saddle() -> HostObjective<impl FnMut(&[f32], &mut [f32]) -> f32> {
    quadratic((0..LEN).map(|i| if i % 2 == 0 { -1.0 - i as f32 / 50.0 } else { 2.0 }).collect())
}

fn dimers() -> Vec<Dimer> {
    let translations = [
        Translation::Project(Projection::default()),
        Translation::SaddleFree(SaddleFree::default()),
        Translation::Climb,
    ];
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    let mut dimers = Vec::new();
    for translation in translations {
        let dimer = Dimer {
            translation,
            rotation: by_gradient,
            schedule: Schedule::Every(2),
            correction: Correction::EveryStep,
            ..Dimer::default()
        };
        let rotations = [
            by_gradient,
            Rotation::optimal_angle(Regime::Stochastic),
            Rotation::locally_optimal(Regime::rotations(2)),
        ];
        dimers.extend(rotations.map(|rotation| Dimer { rotation, ..dimer.clone() }));
        if translation != Translation::Climb {
            let scopes = [Scope::PerGroup, Scope::PerTensor];
            dimers.extend(scopes.map(|scope| Dimer { scope, ..dimer.clone() }));
        }
    }
    dimers.push(Dimer { difference: Difference::Central, ..dimers[0].clone() });
    dimers
}

/// Values whose bits arithmetic would change: −0, and a number below the normal ones.
fn start(seed: u64) -> Vec<f32> {
    let mut start = vector(&mut rng(seed), LEN, Kind::Plain);
    (start[9], start[10], start[108]) = (-0.0, 1e-41, -0.0);
    start
}

#[test]
fn frozen_groups_keep_their_bits() {
    let gpu = quick_gpu();
    let mut moved_along = 0;
    for (first, base) in BASES.into_iter().enumerate() {
        // Each base with a third of the dimers, and each dimer with two or three bases.
        for (number, dimer) in dimers().into_iter().enumerate().skip(first % 3).step_by(3) {
            let what = format!("{base:?} {dimer:?}");
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(0.05),
                weight_decay: 0.1,
                max_gradient_norm: (number % 2 == 0).then_some(0.5),
                storage: if dimer.rotation == Dimer::default().rotation {
                    Storage::Bf16
                } else {
                    Storage::F32
                },
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let config = for_translation(config);
            let start = start(number as u64);
            let mut optimizer =
                Optimizer::new(&gpu, layout(0.0, 0.01), config, &start).expect(&what);
            let mut objective = saddle();
            for _ in 0..6 {
                optimizer.step(&mut objective).expect(&what);
            }
            let end = optimizer.read_params().unwrap();
            for range in FROZEN {
                assert_eq!(bits(&end[range.clone()]), bits(&start[range]), "{what}");
            }
            assert!((0..9).all(|i| end[i] != start[i]), "the others move: {what}");
            let orientation = optimizer.read_orientation().unwrap().unwrap();
            assert!(FROZEN.into_iter().flatten().all(|i| orientation[i] == 0.0), "{what}");
            let records = optimizer.telemetry().unwrap();
            moved_along += records.iter().filter(|record| record.shift != 0.0).count();
        }
    }
    assert!(moved_along > 20, "steps along N: {moved_along}");
}

/// Without the guard an infinity reaches what moves, and nothing else.
#[test]
fn frozen_groups_keep_their_bits_beside_infinite_gradients() {
    for base in BASES {
        let config = Config {
            base,
            skip_non_finite: false,
            dimer: None,
            weight_decay: f64::from(f32::MAX),
            ..fixed_rate()
        };
        let start = start(1);
        let mut optimizer = Optimizer::new(&gpu(), layout(0.0, 1.0), config, &start).unwrap();
        let mut objective = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(f32::INFINITY);
            0.0
        });
        for _ in 0..3 {
            optimizer.step(&mut objective).unwrap();
        }
        let end = optimizer.read_params().unwrap();
        for range in FROZEN {
            assert_eq!(bits(&end[range.clone()]), bits(&start[range]), "{base:?}");
        }
    }
}

/// The case that was reported: L = (h² − b²)/2 with b frozen.
#[test]
fn the_way_down_is_frozen() {
    let mut builder = Layout::builder();
    let frozen = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
    builder.tensor("head", &[1]).tensor_in(frozen, "body", &[1]);
    let layout = builder.build().unwrap();
    for base in BASES {
        let dimer = Some(Dimer { schedule: Schedule::Every(1), ..Dimer::default() });
        let config = Config { base, dimer, ..fixed_rate() };
        let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config, &[1.0, 0.5]).unwrap();
        let mut objective = quadratic(vec![1.0, -1.0]);
        for _ in 0..20 {
            optimizer.step(&mut objective).unwrap();
        }
        let end = optimizer.read_params().unwrap();
        assert!(end[0] < 1.0 && end[1] == 0.5, "{base:?} {end:?}");
    }
}

#[test]
fn a_dimer_needs_something_that_moves() {
    let mut builder = Layout::builder();
    // Zero in f32.
    let frozen = builder.group(Group { learning_rate_scale: 1e-60, ..Group::default() });
    builder.tensor_in(frozen, "all", &[4]);
    let layout = builder.build().unwrap();
    let error = Optimizer::new(&gpu(), layout.clone(), fixed_rate(), &[1.0; 4]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("frozen"));
    let config = Config { dimer: None, ..fixed_rate() };
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[1.0; 4]).unwrap();
    optimizer.step(&mut quadratic(vec![1.0; 4])).unwrap();
    assert_eq!(optimizer.read_params().unwrap(), [1.0; 4]);
}

fn watched(rotation: Rotation) -> Dimer {
    Dimer {
        rotation,
        schedule: Schedule::Every(4),
        correction: Correction::EveryStep,
        displacement: dimer::Displacement::Absolute(1.0),
        translation: Translation::SaddleFree(SaddleFree {
            trust: 1.0,
            kick: 0.1,
            ..SaddleFree::default()
        }),
        ..Dimer::default()
    }
}

const ROTATIONS: [Rotation; 2] =
    [Rotation::gradient(RotationRate::Fixed(0.02)), Rotation::locally_optimal(Regime::Stochastic)];

fn matrix() -> Matrix {
    Matrix::new(&mut rng(2), (0..LEN).map(|i| i as f64 / 11.0 - 5.0).collect())
}

/// The same scale for all is that factor on the learning rate, along N as well: lengths and what is expected of
/// slopes are the same numbers but for rounding, of which the steps along N keep 10⁻⁴.
#[test]
fn one_scale_for_all_is_a_learning_rate() {
    let matrix = matrix();
    for rotation in ROTATIONS {
        for scale in [0.01, 0.25, 3.0] {
            let run = |learning_rate: f64, scale: f64| {
                let mut builder = Layout::builder();
                let group = builder.group(Group { learning_rate_scale: scale, ..Group::default() });
                builder.tensor_in(group, "all", &[LEN]);
                let dimer = Some(watched(rotation));
                let config = Config {
                    base: SGD,
                    learning_rate: LearningRate::Fixed(learning_rate),
                    dimer,
                    ..fixed_rate()
                };
                let start = vector(&mut rng(6), LEN, Kind::Plain);
                let layout = builder.build().unwrap();
                let mut optimizer = Optimizer::new(&gpu(), layout, config, &start).unwrap();
                let mut objective = matrix.objective(1.0);
                for _ in 0..24 {
                    optimizer.step(&mut objective).unwrap();
                }
                let moved = optimizer.read_params().unwrap();
                let moved: Vec<f32> = moved.iter().zip(&start).map(|(a, b)| a - b).collect();
                (wide(&moved), *optimizer.telemetry().unwrap().last().unwrap())
            };
            let (scaled, record) = run(1e-3, scale);
            let (expected, other) = run(1e-3 * scale, 1.0);
            assert!(record.shift != 0.0, "{record:?}");
            let shift = f64::from(record.shift) * scale;
            assert_within("shift", shift, other.shift.into(), 1e-3 * shift.abs());
            let longest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            let bound = 1e-4 * longest + 24.0 * UNIT;
            let scaled: Vec<f32> = scaled.iter().map(|x| *x as f32).collect();
            assert_all_within("moved", &scaled, &expected, |_| bound);
        }
    }
}

/// What is frozen does not count in √n: steps along N are as long without it, but for the order of sums.
#[test]
fn frozen_elements_do_not_lengthen_steps() {
    let matrix = matrix();
    let run = |frozen: usize| {
        let mut builder = Layout::builder();
        let group = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
        builder.tensor("moves", &[LEN]);
        if frozen > 0 {
            builder.tensor_in(group, "frozen", &[frozen]);
        }
        let config = Config {
            base: SGD,
            dimer: Some(Dimer { schedule: Schedule::Every(2), ..watched(ROTATIONS[1]) }),
            ..fixed_rate()
        };
        let mut start = vector(&mut rng(6), LEN, Kind::Plain);
        start.resize(LEN + frozen, 0.5);
        let mut optimizer =
            Optimizer::new(&gpu(), builder.build().unwrap(), config, &start).unwrap();
        let mut objective = HostObjective::new(|x: &[f32], gradient: &mut [f32]| {
            gradient.fill(-0.5);
            for (g, h) in gradient.iter_mut().zip(matrix.product(&x[..LEN])) {
                *g = h as f32;
            }
            0.0
        });
        (0..12).for_each(|_| optimizer.step(&mut objective).unwrap());
        optimizer.telemetry().unwrap().iter().map(|record| record.shift).collect::<Vec<_>>()
    };
    let (alone, beside) = (run(0), run(10_000));
    assert!(alone.iter().filter(|shift| **shift != 0.0).count() > 5, "{alone:?}");
    for (alone, beside) in alone.into_iter().zip(beside) {
        assert_within("shift", beside.into(), alone.into(), 1e-3 * f64::from(alone).abs());
    }
}

/// Groups of several scales against the reference, as in `saddle_free::matches_reference`; and a wrong scale would
/// show.
#[test]
fn several_scales_match_the_reference() {
    let matrix = matrix();
    for base in [SGD, ADAMW] {
        for rotation in ROTATIONS {
            let (rate, steps) = (1e-3, 24);
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(rate),
                dimer: Some(watched(rotation)),
                ..fixed_rate()
            };
            let start = vector(&mut rng(6), LEN, Kind::Plain);
            let layout = layout(3.0, 0.01);
            let mut optimizer =
                Optimizer::new(&gpu(), layout.clone(), config.clone(), &start).unwrap();
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
            let mut reference =
                Reference::new(&layout, config.clone(), &wide(&start), &orientation);
            let flat = Layout::flat(LEN).unwrap();
            let mut unscaled = Reference::new(&flat, config, &wide(&start), &orientation);
            let mut objective = matrix.objective(1.0);
            let mut open = 0;
            for _ in 0..steps {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| matrix.product_wide(params));
                unscaled.step(|params| matrix.product_wide(params));
                open += u32::from(reference.shift != 0.0);
            }
            assert!(open > 10, "{open} steps along N");
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            assert_within(
                "shift",
                record.shift.into(),
                reference.shift,
                2e-3 * reference.shift.abs(),
            );
            // The bound of that test: R = lr √n, the reach of which is at most 2³ between events, and scales of
            // at most 3.
            let longest = 8.0 * 3.0 * rate * (LEN as f64).sqrt();
            let share = reference.orientation.iter().fold(0.0_f64, |most, n| most.max(n.abs()));
            let bound = f64::from(steps) * (2e-3 * longest * share + 4.0 * UNIT);
            let end = optimizer.read_params().unwrap();
            assert_all_within("θ", &end, &reference.params, |_| bound);
            let away = |base: Base| {
                let pairs = unscaled.params.iter().zip(&reference.params);
                println!("{base:?} {rotation:?}");
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            assert!(away(base) > 5.0 * bound, "{:e} {bound:e}", away(base));
        }
    }
}

/// Tensors that the dimer does not reach, however long, change neither the distance of its probes nor what it finds.
#[test]
fn what_the_dimer_does_not_reach_sets_no_distance() {
    let relative = Displacement::Relative(RelativeDisplacement { factor: 1e-3, minimum: 1e-6 });
    let cases = [
        (relative, Scope::Global),
        (relative, Scope::PerTensor),
        (Displacement::Automatic, Scope::Global),
    ];
    for (displacement, scope) in cases {
        let run = |length: f32| {
            let mut builder = Layout::builder();
            let frozen = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
            let outside = Group { dimer: false, weight_decay: Some(0.0), ..Group::default() };
            let outside = builder.group(outside);
            builder.tensor("head", &[10]).tensor_in(frozen, "backbone", &[100]);
            let layout = builder.tensor_in(outside, "norms", &[50]).build().unwrap();
            let rotation = Rotation::gradient(RotationRate::Automatic);
            let schedule = Schedule::Every(1);
            let dimer = Dimer { displacement, scope, rotation, schedule, ..Dimer::default() };
            let config = Config { dimer: Some(dimer), ..fixed_rate() };
            let mut params = vec![2.0; 160];
            params[10..].fill(length);
            let mut optimizer = Optimizer::new(&gpu(), layout, config, &params).unwrap();
            let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
                for i in 0..10 {
                    gradient[i] = (0.3 * i as f32 - 1.0) * params[i].sin();
                }
                0.0
            });
            for _ in 0..5 {
                optimizer.step(&mut objective).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            assert!(records.iter().all(|record| record.displacement > 0.0 && !record.skipped));
            let mut found: Vec<u32> = records
                .iter()
                .flat_map(|record| [record.displacement, record.curvature].map(f32::to_bits))
                .collect();
            if displacement != Displacement::Automatic && scope == Scope::Global {
                let mut spectrum = Spectrum::new(&mut optimizer, 2, 1).unwrap();
                spectrum.rotate(&mut objective, 2).unwrap();
                let modes = spectrum.read().unwrap();
                found.extend(modes.iter().map(|mode| mode.curvature.to_bits()));
            }
            found
        };
        let without = run(0.0);
        for length in [1.0, 1e2, 1e4] {
            assert_eq!(run(length), without, "{displacement:?}, {scope:?}, {length}");
        }
    }
}
