//! A gradient that is not finite, wherever it is and whatever the kernels: nothing changes and it is
//! counted, and too many in a row are an error. Gradients near the end of f32. Scaled losses.

use std::collections::BTreeMap;

use crate::common::*;
use dimer::reference::Reference;
use dimer::{
    Config, Correction, Difference, Dimer, Displacement, Error, HostObjective, Layout, Optimizer,
    Point, Projection, Regime, Rotation, RotationRate, Schedule, Scope, Storage, Translation,
};
use rand::RngExt;
use rand::rngs::StdRng;

const LEN: usize = 4099;
/// Lengths at which each kernel meets bad gradients.
const SHORT: [usize; 8] = [1, 3, 63, 64, 65, 255, 1023, LEN];

/// Every kernel that a step can have, with an event in every third step.
fn variants() -> Vec<Config> {
    let gradient = Rotation::gradient(RotationRate::Automatic);
    let stochastic = Rotation::locally_optimal(Regime::Stochastic);
    let dimer = Dimer {
        rotation: gradient,
        schedule: Schedule::Every(3),
        displacement: Displacement::Absolute(1.0),
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    let of = |rotation| Dimer { rotation, ..dimer.clone() };
    let central = Difference::Central;
    let dimers = [
        of(gradient),
        of(stochastic),
        of(Rotation::optimal_angle(Regime::Stochastic)),
        of(Rotation::locally_optimal(Regime::rotations(3))),
        Dimer { difference: central, ..of(gradient) },
        Dimer { difference: central, ..of(stochastic) },
        Dimer { displacement: Displacement::Automatic, ..of(gradient) },
        Dimer { displacement: Displacement::Automatic, ..of(stochastic) },
        Dimer { scope: Scope::PerTensor, ..of(gradient) },
        Dimer { translation: Translation::Climb, ..of(gradient) },
        Dimer {
            translation: Translation::Project(Projection {
                alpha: 1.0,
                only_negative_curvature: false,
            }),
            ..of(gradient)
        },
    ];
    let mut variants: Vec<Config> = dimers
        .into_iter()
        .map(|dimer| for_translation(Config { dimer: Some(dimer), ..fixed_rate() }))
        .collect();
    for base in BASES {
        variants.push(Config { base, ..variants[0].clone() });
        variants.push(Config { base, dimer: None, ..fixed_rate() });
    }
    variants.push(Config { storage: Storage::Bf16, ..variants[0].clone() });
    variants.push(Config { storage: Storage::Bf16, ..variants[1].clone() });
    variants.push(Config { max_gradient_norm: Some(1.0), ..variants[0].clone() });
    variants
}

/// One step; its gradient number `index` is `values(index)`.
fn take(optimizer: &mut Optimizer, values: impl Fn(usize) -> Vec<f32>) -> usize {
    let mut step = optimizer.begin_step().unwrap();
    step.write_gradient(Point::Centre, &values(0)).unwrap();
    let mut calls = 1;
    while step.next_probe().unwrap().is_some() {
        step.write_gradient(Point::Probe, &values(calls)).unwrap();
        calls += 1;
    }
    step.finish().unwrap();
    calls
}

/// All vectors that outlive a step, as a checkpoint has them.
fn vectors(optimizer: &mut Optimizer) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    optimizer.save(&path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    // Two things may change: of each region, the record that is not the newest; of the automatic displacement,
    // what an event finds, after the factor.
    let kept = file.iter().filter(|(name, _)| !["record", "regions"].contains(name));
    kept.map(|(name, tensor)| {
        let bytes = tensor.data();
        let bytes = if name == "calibration" { &bytes[..4] } else { bytes };
        (name.to_owned(), bytes.to_vec())
    })
    .collect()
}

/// NaN and both infinities, at the ends and at random places of every gradient of a step, at every length:
/// all vectors keep their bits.
#[test]
fn nothing_changes_whatever_the_kernels() {
    let mut rng = rng(rand::random());
    for config in variants() {
        println!("{config:?}");
        let skipped: u32 = SHORT.iter().map(|&len| poison(&config, len, 8, &mut rng)).sum();
        assert!(skipped > 10);
    }
    // Several workgroups and, on many devices, more than one tile per workgroup.
    let dimers = [
        Dimer { rotation: Rotation::locally_optimal(Regime::Stochastic), ..Dimer::default() },
        Dimer {
            rotation: Rotation::gradient(RotationRate::Automatic),
            scope: Scope::PerTensor,
            ..Dimer::default()
        },
    ];
    for dimer in dimers {
        let schedule = Schedule::Every(3);
        let config = Config { dimer: Some(Dimer { schedule, ..dimer }), ..fixed_rate() };
        assert!(poison(&config, 1_000_003, 4, &mut rng) > 0);
    }
}

/// Takes `steps` good steps, each followed by one in which a gradient may be bad; counts the bad ones.
fn poison(config: &Config, len: usize, steps: usize, rng: &mut StdRng) -> u32 {
    let central = config.dimer.as_ref().is_some_and(|d| d.difference == Difference::Central);
    let is_automatic = |d: &Dimer| d.displacement == Displacement::Automatic;
    let automatic = config.dimer.as_ref().is_some_and(is_automatic);
    let mut optimizer = flat(config.clone(), &vector(rng, len, Kind::Plain));
    let smooth = |call: usize| -> Vec<f32> {
        (0..len).map(|i| ((i + 3 * call) as f32).sin() + 0.1).collect()
    };
    let (mut skipped, mut most) = (0, 0);
    for step in 0..steps {
        most = most.max(take(&mut optimizer, smooth));
        let before = vectors(&mut optimizer);
        let bad = [GPU_NAN, f32::NAN, f32::INFINITY, f32::NEG_INFINITY][step % 4];
        let index = [0, len - 1, rng.random_range(0..len)][rng.random_range(0..3)];
        // One of the gradients that the step will have, or none; but in the last one that of the centre.
        let is_event = (2 * step + 1).is_multiple_of(3);
        let calls = if is_event { most } else { 1 };
        let call = if step + 1 == steps { 0 } else { rng.random_range(0..=calls) };
        let found = take(&mut optimizer, |other| {
            let mut gradient = smooth(other);
            if other == call {
                gradient[index] = bad;
            }
            gradient
        });
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        // The mean of a central pair stands for the gradient at the centre; what lies at twice an
        // automatic distance only judges that distance.
        let unused = found > 1 && (central && call == 0 || automatic && call == 1);
        let reached = call < found && !unused;
        let context = format!("step {step}, {bad} at {index} of {len} in gradient {call}");
        assert_eq!(record.skipped, reached, "{context}");
        skipped += u32::from(reached);
        assert_eq!(record.skipped_steps, skipped, "{context}");
        assert_eq!(record.consecutive_skips, u32::from(reached), "{context}");
        if reached {
            assert!(vectors(&mut optimizer) == before, "{context}");
        }
    }
    skipped
}

/// Finite gradients up to the largest f32: a step is skipped, or it is that of the f64 reference.
#[test]
fn huge_gradients_are_right_or_skipped() {
    let mut right = 0;
    for config in variants() {
        for magnitude in [1e15, 1e20, 1e30, 3e38_f32] {
            let mut optimizer = flat(config.clone(), &[0.5; LEN]);
            let orientation = optimizer.read_orientation().unwrap().unwrap_or_default();
            let values = |call: usize| -> Vec<f32> {
                (0..LEN).map(|i| magnitude * ((i * 7 + call) as f32).cos()).collect()
            };
            for _ in 0..3 {
                take(&mut optimizer, values);
            }
            let records = optimizer.telemetry().unwrap();
            let vectors = vectors(&mut optimizer);
            for (name, bytes) in &vectors {
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
                let finite = values.iter().all(|x| x.is_finite());
                assert!(finite, "{name} at {magnitude:e}, {config:?}, {records:?}");
            }
            // The norm of 4099 such numbers is an f32 up to 1e36.
            let squares = values(0).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let norm = squares.sqrt();
            let dimer = config.dimer.as_ref();
            let central = dimer.is_some_and(|d| d.difference == Difference::Central);
            let automatic = dimer.is_some_and(|d| d.displacement == Displacement::Automatic);
            if norm < 1e38 && !central {
                assert_within("‖g‖", records[0].gradient_norm.unwrap().into(), norm, 1e-5 * norm);
            }
            let skipped = records[2].skipped_steps;
            // The gradients are alike; only an event squares them where the base does not.
            let alike = records.iter().all(|r| r.event || r.skipped == records[0].skipped);
            assert!(alike, "{skipped} are skipped: {magnitude:e}, {config:?}, {records:?}");
            // The reference asks for more gradients of a pair, and these depend on the number.
            if skipped > 0 || central || automatic {
                continue;
            }
            right += 1;
            let layout = Layout::flat(LEN).unwrap();
            let mut reference =
                Reference::new(&layout, config.clone(), &[0.5; LEN], &wide(&orientation));
            for _ in 0..3 {
                let mut call = 0..;
                reference.step(|_| wide(&values(call.next().unwrap())));
            }
            let way = reference.params.iter().map(|x| (x - 0.5).abs()).fold(0.0, f64::max);
            // Each step rounds its way by 32 units, and θ by 2; bf16 behaves as tests/storage.rs says.
            let share = if config.storage == Storage::Bf16 { 0.02 } else { 3.0 * 32.0 * UNIT };
            let theta = optimizer.read_params().unwrap();
            let bound = share * way + 3.0 * 2.0 * UNIT * 0.5;
            assert_all_within("θ", &theta, &reference.params, |_| bound);
        }
    }
    println!("{right} runs were right, the others skipped");
    assert!(right > 20);
}

/// Powers of two leave every bit as it was, in every kernel that loads a gradient.
#[test]
fn a_scaled_loss_is_the_same_to_the_bit() {
    for config in variants() {
        println!("{config:?}");
        let run = |scale: f32| {
            let mut optimizer = flat(config.clone(), &vector(&mut rng(5), LEN, Kind::Plain));
            optimizer.set_loss_scale(scale.into()).unwrap();
            for step in 0..5 {
                take(&mut optimizer, |call| {
                    (0..LEN).map(|i| scale * ((i * 3 + call + step) as f32).sin()).collect()
                });
            }
            let norms: Vec<u32> = optimizer
                .telemetry()
                .unwrap()
                .iter()
                .map(|record| record.gradient_norm.unwrap().to_bits())
                .collect();
            (vectors(&mut optimizer), norms)
        };
        let expected = run(1.0);
        for scale in [1024.0, 0.125] {
            assert!(run(scale) == expected, "{scale}");
        }
    }
    let mut optimizer = flat(fixed_rate(), &[1.0; 3]);
    for scale in [0.0, -2.0, 3.0, f64::NAN, f64::INFINITY, 2_f64.powi(40)] {
        let error = optimizer.set_loss_scale(scale).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { argument: "scale", .. }), "{error}");
    }
}

/// The error comes after the limit and within two looks, and the next good step goes on.
#[test]
fn too_many_skips_are_an_error() {
    for limit in [1, 10, 40, 100] {
        let config = Config { max_consecutive_skips: Some(limit), ..fixed_rate() };
        let mut optimizer = flat(config, &[1.0; 3]);
        let mut bad = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(f32::NAN);
            0.0
        });
        let before = vectors(&mut optimizer);
        let mut taken = 0;
        let error = loop {
            match optimizer.step(&mut bad) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 1000, "there is an error");
        };
        println!("limit {limit}: {taken} steps, {error}");
        let Error::TooManySkips { skipped, .. } = error else { panic!("{error}") };
        assert!(skipped >= limit && skipped <= taken);
        assert!(taken < limit + 2 * limit.min(32) + 32, "{taken}");
        assert_eq!(optimizer.steps(), u64::from(taken));
        assert!(vectors(&mut optimizer) == before);
        let mut good = quadratic(vec![1.0; 3]);
        for _ in 0..200 {
            optimizer.step(&mut good).unwrap();
        }
        let last = *optimizer.telemetry().unwrap().last().unwrap();
        assert_eq!((last.updates, last.skipped_steps, last.consecutive_skips), (200, taken, 0));
    }
    // Not in a row, or without a limit.
    for (limit, every) in [(Some(10), 9), (None, 1)] {
        let config = Config { max_consecutive_skips: limit, ..fixed_rate() };
        let mut optimizer = flat(config, &[1.0; 3]);
        for step in 0..300 {
            let value = if step % 10 < every { f32::NAN } else { 1.0 };
            let mut objective = HostObjective::new(move |_: &[f32], gradient: &mut [f32]| {
                gradient.fill(value);
                0.0
            });
            optimizer.step(&mut objective).unwrap();
        }
    }
    let config = Config { max_consecutive_skips: Some(0), ..fixed_rate() };
    assert!(matches!(config.validate(), Err(Error::InvalidConfig { .. })));
}
