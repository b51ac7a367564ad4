//! What telemetry says of the curvature: whether it is an eigenvalue, and what it was before the event turned N.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::{
    Config, Dimer, Displacement, HostObjective, Mode, Objective, Optimizer, Regime, Rotation,
    RotationRate, Telemetry, Translation,
};
use rand::RngExt;
use rand::rngs::StdRng;

/// Eigenvalues with one at the end that is sought, `gap` of it before the next.
fn spectrum(rng: &mut StdRng, seeks: Mode, gap: f64) -> Vec<f64> {
    let len = rng.random_range(20..300);
    let width = 10_f64.powf(rng.random_range(-1.0..1.0));
    // The other end, up to ten times further out.
    let extreme = width * 10_f64.powf(rng.random_range(-1.0..0.3));
    let next = extreme * (1.0 - gap);
    let bulk = (0..len).map(|_| width * rng.random_range(-0.3..1.0_f64));
    // Of the matrix whose lowest eigenvalue is sought.
    let mut lowest: Vec<f64> = bulk.map(|x| if x < -next { x.abs() } else { x }).collect();
    lowest[..2].copy_from_slice(&[-extreme, -next]);
    let sign = if seeks == Mode::Softest { 1.0 } else { -1.0 };
    lowest.iter().map(|x| sign * x).collect()
}

fn dimer(seeks: Mode, rotation: Rotation) -> Dimer {
    Dimer {
        seeks,
        rotation,
        displacement: Displacement::Absolute(1.0),
        translation: Translation::None,
        ..Dimer::default()
    }
}

fn start(dimer: Dimer, len: usize) -> Optimizer {
    flat(Config { dimer: Some(dimer), ..fixed_rate() }, &vec![0.0; len])
}

/// A minibatch: the Hessian of all data, and what is this minibatch's own.
fn minibatch(matrix: &Matrix, noise: Option<Matrix>) -> impl Objective {
    HostObjective::new(move |theta: &[f32], gradient: &mut [f32]| {
        let mut product = matrix.product(theta);
        if let Some(noise) = &noise {
            product.iter_mut().zip(noise.product(theta)).for_each(|(p, n)| *p += n);
        }
        gradient.iter_mut().zip(product).for_each(|(g, p)| *g = p as f32);
        0.0
    })
}

/// `resolved` where the loss of all data curves along N within 30 % of the eigenvalue that is sought, and only there:
/// 200 random spectra (gaps from 0.01 to 1 of the eigenvalue, both ends, two to forty events, so that some are resolved
/// and some are not), without noise and with a random symmetric matrix on each minibatch, of a norm from 0.01 to 1 of the
/// eigenvalue.
///
/// Over 4800 other cases, locally optimal rotations were told rightly in 98 % without noise and 95 % with it, the slower
/// ones in 93 % and 91 %. 200 cases are within 3 % and 4 % of these in 19 of 20 runs.
#[test]
fn says_whether_the_eigenpair_is_found() {
    const CASES: usize = 200;
    let mut rng = rng(1);
    let mut told = |rotations: [Rotation; 2], noisy: bool| {
        let (mut right, mut found, mut claimed_wrongly) = (0, 0, 0);
        for case in 0..CASES {
            let seeks = if case % 2 == 0 { Mode::Softest } else { Mode::Stiffest };
            let gap = 10_f64.powf(rng.random_range(-2.0..0.0));
            let eigenvalues = spectrum(&mut rng, seeks, gap);
            let (sought, len) = (eigenvalues[0], eigenvalues.len());
            let matrix = Matrix::new(&mut rng, eigenvalues);
            let norm = sought.abs() * 10_f64.powf(rng.random_range(-2.0..0.0));
            let events = 10_f64.powf(rng.random_range(0.3..1.6)) as usize;
            let mut optimizer = start(dimer(seeks, rotations[case / 2 % 2]), len);
            for _ in 0..events {
                let noise = noisy.then(|| {
                    let eigenvalues = (0..len).map(|_| rng.random_range(-norm..norm)).collect();
                    Matrix::new(&mut rng, eigenvalues)
                });
                optimizer.rotate(&mut minibatch(&matrix, noise)).unwrap();
            }
            let n = optimizer.read_orientation().unwrap().unwrap();
            let along = dimer::reference::dot(&wide(&n), &matrix.product(&n));
            let is_near = (along - sought).abs() <= 0.3 * sought.abs();
            let resolved = optimizer.telemetry().unwrap().last().unwrap().resolved;
            right += usize::from(resolved == is_near);
            found += usize::from(is_near);
            claimed_wrongly += usize::from(resolved && !is_near);
        }
        println!(
            "{rotations:?}, noise {noisy}: right in {right} of {CASES}; {found} near, {claimed_wrongly} wrongly claimed"
        );
        assert!((CASES / 4..CASES).contains(&found), "{found}");
        100 * right / CASES
    };
    let locally_optimal = [Regime::Stochastic, Regime::rotations(4)].map(Rotation::locally_optimal);
    assert!(told(locally_optimal, false) >= 95);
    assert!(told(locally_optimal, true) >= 92);
    let others =
        [Rotation::optimal_angle(Regime::Stochastic), Rotation::gradient(RotationRate::Automatic)];
    assert!(told(others, false) >= 89);
    assert!(told(others, true) >= 87);
}

/// C before the rotation is N·HN of the N that the event began with, for every rotation.
#[test]
fn the_initial_curvature_is_of_the_n_before() {
    let mut rng = rng(2);
    let matrix = Matrix::new(&mut rng, (0..80).map(|i| f64::from(i) / 10.0 - 3.0).collect());
    for rotation in [
        Rotation::gradient(RotationRate::Fixed(0.05)),
        Rotation::optimal_angle(Regime::Stochastic),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(Regime::rotations(3)),
    ] {
        for seeks in [Mode::Softest, Mode::Stiffest] {
            let mut optimizer = start(dimer(seeks, rotation), matrix.len());
            for _ in 0..5 {
                let n = optimizer.read_orientation().unwrap().unwrap();
                let expected = dimer::reference::dot(&wide(&n), &matrix.product(&n));
                optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                // 64 units of the spectrum's width.
                let bound = 64.0 * UNIT * 8.0;
                assert_within("C before", record.initial_curvature.into(), expected, bound);
                if matches!(rotation, Rotation::Gradient { .. }) {
                    assert_eq!(record.curvature, record.initial_curvature);
                } else {
                    let gained = record.initial_curvature - record.curvature;
                    assert!(if seeks == Mode::Softest { gained > 0.0 } else { gained < 0.0 });
                }
            }
        }
    }
}

/// A direction that minibatches disagree on is none: N follows the noise of each, and C stays unresolved.
#[test]
fn noise_is_not_an_eigenpair() {
    let mut rng = rng(3);
    let len = 400;
    let rotation = Rotation::locally_optimal(Regime::Stochastic);
    let mut optimizer = start(dimer(Mode::Softest, rotation), len);
    for _ in 0..40 {
        // Each minibatch has a Hessian of its own, of mean 0.5.
        let eigenvalues = (0..len).map(|_| rng.random_range(-1.0..2.0)).collect();
        let matrix = Matrix::new(&mut rng, eigenvalues);
        optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
    }
    let records = optimizer.telemetry().unwrap();
    for record in &records {
        let Telemetry { curvature, initial_curvature, residual, .. } = record;
        println!("C {initial_curvature} → {curvature}, ‖F‖ {residual}");
        assert!(!record.resolved);
    }
    // Each event finds much below zero on its own minibatch, where the next one finds nothing.
    let mean = |of: fn(&Telemetry) -> f32| records.iter().map(of).sum::<f32>() / 40.0;
    assert!(mean(|record| record.curvature) < -0.2);
    assert!(mean(|record| record.initial_curvature) > 0.3);
}
