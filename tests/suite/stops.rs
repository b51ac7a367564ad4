//! Rotations that stop on the GPU: the same N whichever way the stop is used, at the number of
//! rotations of the reference; and the optimal angle.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{self, Reference};
use dimer::{
    Config, Correction, Dimer, Displacement, EarlyExit, Error, FullBatch, Layout, Optimizer, Point,
    Regime, Rotation, RotationStop, Schedule, StopReason,
};

const LEN: usize = 200;
const MOST: u32 = 40;

type Scheme = fn(Regime) -> Rotation;
const SCHEMES: [Scheme; 2] = [Rotation::optimal_angle, Rotation::locally_optimal];

/// Bulk in [0.5, 2] and one mode at −3: a rotation converges in about ten steps.
fn matrix() -> Matrix {
    let mut spectrum: Vec<f64> = (0..LEN).map(|i| 0.5 + 1.5 * i as f64 / LEN as f64).collect();
    spectrum[0] = -3.0;
    Matrix::new(&mut rng(1), spectrum)
}

fn config(scheme: Scheme, stop: Option<RotationStop>) -> Config {
    let dimer = Dimer {
        rotation: scheme(Regime::FullBatch(FullBatch { max_rotations: MOST, stop })),
        schedule: Schedule::Every(1),
        displacement: Displacement::Absolute(1.0),
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

fn optimizer(scheme: Scheme, stop: Option<RotationStop>) -> Optimizer {
    flat(config(scheme, stop), &vec![0.0; LEN])
}

/// Residual and angle stops of different strictness.
#[test]
fn stop_where_the_reference_does() {
    let matrix = matrix();
    for scheme in SCHEMES {
        for (residual, angle) in [(0.3, 0.0), (0.03, 0.0), (0.0, 0.2), (0.0, 0.02), (0.1, 0.1)] {
            let stop =
                |early_exit| Some(RotationStop::new(residual, angle).with_early_exit(early_exit));
            let mut rotations = optimizer(scheme, stop(EarlyExit::Rotations));
            let mut gradients = optimizer(scheme, stop(EarlyExit::Gradients));
            let orientation = wide(&rotations.read_orientation().unwrap().unwrap_or_default());
            let config = config(scheme, stop(EarlyExit::Rotations));
            let dimer = config.dimer.clone().unwrap();
            let layout = Layout::flat(LEN).unwrap();
            let mut reference = Reference::new(&layout, config, &[0.0; LEN], &orientation);
            let mut evaluations = 0;
            // Once it has converged, an angle is only rounding.
            let events = if angle > 0.0 { 1 } else { 2 };
            for event in 1..=events {
                rotations.rotate(&mut matrix.objective(1.0)).unwrap();
                gradients.rotate(&mut matrix.objective(1.0)).unwrap();
                let zero = vec![0.0; LEN];
                reference.rotate(&dimer, &zero, &mut |x| matrix.product_wide(x));
                let records = [
                    *rotations.telemetry().unwrap().last().unwrap(),
                    *gradients.telemetry().unwrap().last().unwrap(),
                ];
                println!("{residual} {angle}: {records:?}, {}", reference.rotations);
                assert_eq!(records[0].rotations, records[1].rotations);
                assert_eq!(records[0].stop, records[1].stop);
                if u64::from(reference.rotations) < u64::from(MOST) {
                    // Where both hold, the residual is named; it may vanish in rounding.
                    let small = records[0].residual <= residual as f32 * records[0].curvature.abs();
                    let reason = if small { StopReason::Residual } else { StopReason::Angle };
                    assert_eq!(records[0].stop, Some(reason));
                    assert!(small || angle > 0.0);
                }
                assert_eq!(records[0].curvature.to_bits(), records[1].curvature.to_bits());
                assert_eq!(
                    bits(&rotations.read_orientation().unwrap().unwrap_or_default()),
                    bits(&gradients.read_orientation().unwrap().unwrap_or_default())
                );
                evaluations += 2 + u64::from(reference.rotations);
                assert_eq!(rotations.gradient_evaluations(), event as f64 * f64::from(2 + MOST));
                assert_eq!(gradients.gradient_evaluations(), evaluations as f64);
                // Forty more rotations would reach the mode; a stopped event is near it.
                assert!(reference.rotations < MOST, "it stopped");
                assert_within("C", records[0].curvature.into(), reference.curvature, 1e-4);
                if angle == 0.0 {
                    assert!(records[0].residual <= residual as f32 * records[0].curvature.abs());
                }
            }
            let n = wide(&rotations.read_orientation().unwrap().unwrap_or_default());
            assert_within("‖N‖", reference::norm(&n), 1.0, 1e-5);
        }
    }
}

/// A stop that is never reached changes nothing, to the bit.
#[test]
fn a_stop_out_of_reach_changes_nothing() {
    let matrix = Matrix::new(&mut rng(2), (0..LEN).map(|i| i as f64 / 50.0 - 2.0).collect());
    for scheme in SCHEMES {
        let run = |stop| {
            let mut optimizer = optimizer(scheme, stop);
            optimizer.step(&mut matrix.objective(1.0)).unwrap();
            assert_eq!(optimizer.gradient_evaluations(), f64::from(2 + MOST));
            bits(&optimizer.read_orientation().unwrap().unwrap_or_default())
        };
        let stop = |early_exit| Some(RotationStop::new(1e-9, 0.0).with_early_exit(early_exit));
        let expected = run(None);
        assert_eq!(run(stop(EarlyExit::Rotations)), expected);
        assert_eq!(run(stop(EarlyExit::Gradients)), expected);
    }
}

/// Without callbacks: `next_probe` ends early, and the step can be finished.
#[test]
fn a_step_by_hand_stops_early() {
    let matrix = matrix();
    let stop = RotationStop::new(0.1, 0.0).with_early_exit(EarlyExit::Gradients);
    let mut by_hand = optimizer(SCHEMES[1], Some(stop));
    let mut by_callback = optimizer(SCHEMES[1], Some(stop));
    let probe = by_hand.probe().unwrap().clone();
    let gradient = |params: &[f32]| -> Vec<f32> {
        matrix.product(&params[..LEN]).iter().map(|x| *x as f32).collect()
    };
    for _ in 0..2 {
        by_callback.step(&mut matrix.objective(1.0)).unwrap();
        let centre = by_hand.read_params().unwrap();
        let mut step = by_hand.begin_step().unwrap();
        step.write_gradient(Point::Centre, &gradient(&centre)).unwrap();
        while step.next_probe().unwrap().is_some() {
            step.write_gradient(Point::Probe, &gradient(&read_from(&gpu(), &probe))).unwrap();
        }
        step.finish().unwrap();
    }
    assert_eq!(by_hand.gradient_evaluations(), by_callback.gradient_evaluations());
    assert!(by_hand.gradient_evaluations() < f64::from(MOST));
    assert_eq!(bits(&by_hand.read_params().unwrap()), bits(&by_callback.read_params().unwrap()));
}

/// Where nothing says when to stop, nothing says that it did.
#[test]
fn without_a_stop_there_is_no_reason() {
    let matrix = matrix();
    for scheme in SCHEMES {
        let mut optimizer = optimizer(scheme, None);
        optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
        optimizer.step(&mut matrix.objective(1.0)).unwrap();
        assert!(optimizer.telemetry().unwrap().iter().all(|record| record.stop.is_none()));
    }
}

#[test]
fn stops_are_checked() {
    for (residual, angle, field) in [
        (-1.0, 0.0, "dimer.rotation.regime.stop.residual"),
        (f64::NAN, 0.0, "dimer.rotation.regime.stop.residual"),
        (0.0, f64::INFINITY, "dimer.rotation.regime.stop.angle"),
    ] {
        let stop = Some(RotationStop::new(residual, angle));
        let error = config(SCHEMES[0], stop).validate().unwrap_err();
        assert!(
            matches!(error, Error::InvalidConfig { field: found, .. } if found == field),
            "{error}"
        );
    }
}

/// From the same N, P makes the difference after the first rotation, and is worth it.
#[test]
fn locally_optimal_beats_the_optimal_angle() {
    let mut spectrum: Vec<f64> = (0..LEN).map(|i| 10.0 * i as f64 / LEN as f64).collect();
    spectrum[0] = -0.5;
    let matrix = Matrix::new(&mut rng(3), spectrum);
    let curvature = |scheme: Scheme, rotations| {
        let rotation = scheme(Regime::rotations(rotations));
        let mut config = config(scheme, None);
        config.dimer = config.dimer.map(|dimer| Dimer { rotation, ..dimer });
        let mut optimizer = flat(config, &vec![0.0; LEN]);
        optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
        optimizer.read_curvature().unwrap()
    };
    let [first, second] = SCHEMES.map(|scheme| curvature(scheme, 1));
    assert_eq!(first.to_bits(), second.to_bits());
    let [angle, optimal] = SCHEMES.map(|scheme| curvature(scheme, 12));
    println!("12 rotations: optimal angle {angle}, locally optimal {optimal}");
    assert!(optimal < -0.45 && angle > optimal + 0.1, "{angle} {optimal}");
}
