//! The locally optimal rotation: against scipy's LOBPCG, torch's Hessian and the f64 reference, and
//! by the number of gradients it needs.

use crate::common::*;
use crate::matrix::{Matrix, spectra};
use crate::{data, network};
use dimer::reference::{self, Reference};
use dimer::{
    Config, Correction, Dimer, Displacement, Error, HostObjective, Layout, LearningRate, Mode,
    Optimizer, Point, Regime, Rotation, RotationRate, Schedule, Spectrum, SpectrumConfig,
    Translation,
};
use rand::RngExt;

fn dimer(regime: Regime) -> Dimer {
    Dimer {
        rotation: Rotation::locally_optimal(regime),
        schedule: Schedule::Every(1),
        displacement: Displacement::Absolute(1.0),
        ..Dimer::default()
    }
}

fn turner(len: usize, regime: Regime) -> Optimizer {
    flat(Config { dimer: Some(dimer(regime)), ..fixed_rate() }, &vec![0.0; len])
}

/// Ritz values of scipy's `lobpcg`, and its start; made by `oracles/lobpcg.py`.
fn lobpcg() -> (Vec<f64>, Vec<f32>) {
    let table = include_str!("../oracles/lobpcg.csv");
    let mut rows = table.lines().filter(|line| !line.starts_with('#'));
    let ritz = rows.next().unwrap().split(',').map(|x| x.parse().unwrap()).collect();
    let start = rows.next().unwrap().split(',').map(|x| x.parse().unwrap()).collect();
    (ritz, start)
}

/// The first 15 Ritz values on a Dirichlet Laplacian of 200 points, to f32: gradients and dots
/// round to 4 and 16 units of the norm of the matrix, 4, and a wrong direction enters squared.
#[test]
fn follows_lobpcg() {
    let (ritz, start) = lobpcg();
    assert_eq!((ritz.len(), start.len()), (15, 200));
    let mut laplacian = HostObjective::new(|x: &[f32], gradient: &mut [f32]| {
        for i in 0..x.len() {
            let left = if i > 0 { x[i - 1] } else { 0.0 };
            let right = x.get(i + 1).copied().unwrap_or(0.0);
            gradient[i] = left + right - 2.0 * x[i];
        }
        0.0
    });
    for (rotations, &expected) in (0..).zip(&ritz).skip(1) {
        let mut optimizer = turner(200, Regime::rotations(rotations));
        optimizer.write_orientation(&start).unwrap();
        optimizer.rotate(&mut laplacian).unwrap();
        let found = f64::from(optimizer.read_curvature().unwrap());
        println!("{rotations} rotations: {found}, scipy {expected}");
        assert_within("Ritz value", found, expected, 20.0 * UNIT * 4.0);
        assert_eq!(optimizer.gradient_evaluations(), f64::from(rotations) + 2.0);
        assert_eq!(optimizer.telemetry().unwrap()[0].rotations, rotations);
    }
}

/// A trained network's spectrum: bulk near 0, outliers to 50, λmin = −1.
fn trained_spectrum(rng: &mut rand::rngs::StdRng) -> Vec<f64> {
    let mut eigenvalues: Vec<f64> = (0..500)
        .map(|_| {
            let size = -0.1 * (1.0 - rng.random_range(0.0..1.0_f64)).ln();
            if rng.random_bool(0.4) { -0.3 * size.min(1.0) } else { size }
        })
        .collect();
    for (i, eigenvalue) in eigenvalues[..10].iter_mut().enumerate() {
        *eigenvalue = 3.0 * (50.0_f64 / 3.0).powf(i as f64 / 9.0);
    }
    eigenvalues[10] = -1.0;
    eigenvalues
}

/// At most 30 gradients to 90 % of λmin (median of 5), where steepest descent at the fixed rate
/// 1/(λmax − λmin) needs over 200.
#[test]
fn needs_few_gradients() {
    let matrices: Vec<Matrix> = (0..5)
        .map(|seed| {
            let mut rng = rng(seed);
            let spectrum = trained_spectrum(&mut rng);
            Matrix::new(&mut rng, spectrum)
        })
        .collect();
    let starts: Vec<Vec<f32>> =
        (5..10).map(|seed| vector(&mut rng(seed), 500, Kind::Plain)).collect();
    let mut gradients = [u32::MAX; 5];
    for rotations in (4..=28).step_by(4) {
        let mut optimizer = turner(500, Regime::rotations(rotations));
        for ((matrix, start), gradients) in matrices.iter().zip(&starts).zip(&mut gradients) {
            optimizer.write_orientation(start).unwrap();
            optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
            if optimizer.read_curvature().unwrap() <= -0.9 {
                *gradients = (*gradients).min(2 + rotations);
            }
        }
    }
    println!("{gradients:?} gradients");
    gradients.sort_unstable();
    assert!(gradients[2] <= 30, "{gradients:?}");

    // A rate that is stable for every spectrum of this width; one event at two gradients.
    let rotation = Rotation::gradient(RotationRate::Fixed(1.0 / 51.0));
    let dimer = Dimer { rotation, ..dimer(Regime::Stochastic) };
    let mut steepest = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &[0.0; 500]);
    for (matrix, start) in matrices.iter().zip(&starts) {
        steepest.write_orientation(start).unwrap();
        let mut objective = matrix.objective(1.0);
        for _ in 0..100 {
            steepest.rotate(&mut objective).unwrap();
        }
        let curvature = steepest.read_curvature().unwrap();
        println!("steepest descent at 200 gradients: {curvature}");
        assert!(curvature > -0.9, "{curvature}");
    }
}

/// One rotation per event, everything measured anew: the same mode, at 4 gradients per event.
#[test]
fn stochastic_regime_finds_the_lowest_mode() {
    let mut rng = rng(9);
    let spectrum = trained_spectrum(&mut rng);
    let matrix = Matrix::new(&mut rng, spectrum);
    let mut optimizer = turner(500, Regime::Stochastic);
    let mut objective = matrix.objective(1.0);
    for _ in 0..60 {
        optimizer.rotate(&mut objective).unwrap();
    }
    assert_eq!(optimizer.gradient_evaluations(), 240.0);
    let records = optimizer.telemetry().unwrap();
    let last = records.last().unwrap();
    assert_within("C", last.curvature.into(), -1.0, 1e-3);
    assert!(records.windows(2).all(|pair| pair[1].curvature <= pair[0].curvature + 1e-4));
    let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    assert_within("‖N‖", reference::norm(&n), 1.0, 1e-5);
}

/// Steps with rotations of both regimes against the reference. A Ritz value is second order in the
/// error of its vector, so C agrees to the rounding of gradients and dots, 20 units of the
/// spectrum's width for each rotation so far; N only to the root of that over the gaps.
#[test]
fn matches_reference() {
    for regime in [Regime::Stochastic, Regime::rotations(3)] {
        for correction in [Correction::EventsOnly, Correction::EveryStep] {
            let mut rng = rng(3);
            let eigenvalues: Vec<f64> = (0..130).map(|i| f64::from(i) / 13.0 - 2.0).collect();
            let matrix = Matrix::new(&mut rng, eigenvalues);
            let start = vector(&mut rng, 130, Kind::Plain);
            let dimer = Dimer { schedule: Schedule::Every(2), correction, ..dimer(regime) };
            let config = Config {
                learning_rate: LearningRate::Fixed(1e-4),
                dimer: Some(dimer.clone()),
                ..fixed_rate()
            };
            let mut optimizer = flat(config.clone(), &start);
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            let layout = Layout::flat(130).unwrap();
            let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
            let mut objective = matrix.objective(1.0);
            for step in 0..6 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| matrix.product_wide(params));
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                let bound = 20.0 * UNIT * 10.0 * f64::from(record.rotations) * 12.0;
                println!("{regime:?} step {step}: {record:?}, {}", reference.curvature);
                assert_within("C", record.curvature.into(), reference.curvature, bound);
            }
            let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            let cosine = reference::dot(&n, &reference.orientation).abs();
            assert_within("|N·N'|", cosine, 1.0, 1e-4);
        }
    }
}

/// The lowest eigenvalue of the digits network at three points, from torch's Hessian in f64, within
/// 1 %.
#[test]
fn matches_torch_hessian() {
    let images = data::first(512);
    let layout = network::layout().unwrap();
    for row in
        include_str!("../oracles/digits_hessian.csv").lines().filter(|line| !line.starts_with('#'))
    {
        let row: Vec<f64> = row.split(',').map(|x| x.parse().unwrap()).collect();
        let scale = [0.1, 0.2, 0.3][row[0] as usize];
        let point: Vec<f32> =
            (0..layout.len()).map(|i| (scale * (0.7 * i as f64 + row[0]).sin()) as f32).collect();
        let dimer =
            Dimer { displacement: Displacement::Absolute(3e-3), ..dimer(Regime::rotations(60)) };
        let config = Config { dimer: Some(dimer), ..fixed_rate() };
        let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config, &point).unwrap();
        let mut training = network::Training::new(&optimizer, &images, 512, 0);
        optimizer.rotate(&mut training).unwrap();
        let record = optimizer.telemetry().unwrap()[0];
        println!("{record:?}, torch {row:?}");
        assert_within("loss", record.loss.unwrap().into(), row[1], 1e-5 * row[1]);
        assert_within("λ", record.curvature.into(), row[2], 0.01 * row[2].abs());
        // The same from a spectrum. Over the given distance the curvature bends, and products that are combined of many
        // would leave an error of 5 %, were they not measured again.
        for (displacement, lowest, share) in
            [(Displacement::Automatic, 2, 0.005), (Displacement::Absolute(3e-3), 1, 0.025)]
        {
            let settings = SpectrumConfig { lowest, displacement, ..SpectrumConfig::default() };
            let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
            spectrum.rotate(&mut training, 60).unwrap();
            let found = &spectrum.read().unwrap()[0];
            let (curvature, error) = (f64::from(found.curvature), f64::from(found.error));
            let distance = spectrum.displacement().unwrap();
            println!("{curvature} {} {error} {distance:?}, torch {}", found.residual, row[2]);
            assert_within("λ", curvature, row[2], error.min(share * row[2].abs()));
            assert!(error < 2.0 * share * row[2].abs(), "{error}");
        }
    }
}

/// Both rotations of many turns, at either end, long after they have converged: C is never beyond the spectrum by more
/// than a product's error, and the locally optimal one ends at its end. The products of N, F and P are combined by
/// orthonormal coefficients, so that their errors do not grow: each is a fresh one, √2 of it where F was not quite
/// orthogonal, for three vectors, with the rounding of a combination in each rotation.
#[test]
fn stays_right_for_200_rotations() {
    let seed = rand::random();
    let mut draws = rng(seed);
    for len in (1..=24).chain([50, 130, 400]) {
        for rotation in [Rotation::optimal_angle, Rotation::locally_optimal] {
            let rotation = rotation(Regime::rotations(20));
            let spectra = spectra(len);
            let (what, eigenvalues) = spectra[draws.random_range(0..spectra.len())].clone();
            let seeks = [Mode::Softest, Mode::Stiffest][draws.random_range(0..2)];
            let displacement = [
                Displacement::Automatic,
                Displacement::default(),
                Displacement::Absolute(1e-2),
                Displacement::Absolute(1.0),
            ][draws.random_range(0..4)];
            let theta = vector(&mut draws, len, Kind::Plain);
            let translation = Translation::None;
            let dimer = Dimer { rotation, seeks, displacement, translation, ..Dimer::default() };
            let mut optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &theta);
            let scale = eigenvalues.iter().fold(0.0, |scale: f64, h| scale.max(h.abs()));
            let sign = if seeks == Mode::Softest { 1.0 } else { -1.0 };
            let extreme = eigenvalues.iter().map(|h| sign * h).fold(f64::INFINITY, f64::min);
            let matrix = Matrix::new(&mut draws, eigenvalues);
            let (mut nearest, mut bound) = (f64::INFINITY, 0.0);
            for _ in 0..10 {
                optimizer.rotate(&mut matrix.objective(1.0)).unwrap();
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                let size = reference::norm(&wide(&theta));
                let error = product_error(scale, size, record.displacement.into());
                bound = 6_f64.sqrt() * error + 20.0 * 8.0 * UNIT * scale;
                nearest = sign * f64::from(record.curvature) - extreme;
                let at = format!("{what}, {len}, {rotation:?}, {displacement:?}, seed {seed}");
                assert!(nearest >= -bound, "{nearest} off, at most {bound}: {at}, {record:?}");
            }
            println!("{what}, {len}, {rotation:?}, {displacement:?}: off by {nearest:.1e}");
            let converges = matches!(rotation, Rotation::LocallyOptimal { .. });
            let lost = converges && nearest > bound + 1e-3 * scale;
            assert!(!lost, "{what}, {len}, {displacement:?}, seed {seed}: off by {nearest}");
        }
    }
}

/// An N that is an eigenvector but for 10⁻⁴ comes nearer in an event of two rotations: the squares of HN less the C of the
/// last event leave the force, where those of HN and C differ by rounding.
#[test]
fn turns_what_is_nearly_right() {
    let mut draws = rng(4);
    let mut h = vec![-3.0_f32];
    h.extend((1..200).map(|_| draws.random_range(0.5..2.0_f32)));
    for rotation in [Rotation::optimal_angle, Rotation::locally_optimal] {
        let rotation = rotation(Regime::rotations(2));
        let dimer = Dimer { rotation, ..dimer(Regime::Stochastic) };
        let mut optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &[0.0; 200]);
        let mut start = vector(&mut draws, 200, Kind::Plain);
        let size = reference::norm(&wide(&start[1..]));
        start.iter_mut().for_each(|x| *x *= (1e-4 / size) as f32);
        start[0] = 1.0;
        for event in 0..3 {
            optimizer.write_orientation(&start).unwrap();
            optimizer.rotate(&mut quadratic(h.clone())).unwrap();
            let n = wide(&optimizer.read_orientation().unwrap().unwrap());
            let off = reference::norm(&n[1..]) / reference::norm(&n);
            println!("{rotation:?}, event {event}: off by {off:e}");
            // The first event knows no C.
            assert!(event == 0 || off < 2e-5, "{off}");
        }
    }
}

/// A NaN at any point of an event leaves θ, N and the counters as they were.
#[test]
fn non_finite_gradient_at_any_probe() {
    for regime in [Regime::Stochastic, Regime::rotations(3)] {
        for poisoned in 0..5 {
            let mut optimizer =
                flat(Config { dimer: Some(dimer(regime)), ..fixed_rate() }, &[1.0; 70]);
            let matrix = Matrix::new(&mut rng(1), (0..70).map(f64::from).collect());
            optimizer.step(&mut matrix.objective(1.0)).unwrap();
            let state = |optimizer: &Optimizer| {
                let n = optimizer.read_orientation().unwrap().unwrap_or_default();
                (bits(&optimizer.read_params().unwrap()), bits(&n))
            };
            let before = state(&optimizer);
            let gradient = |call: i32| -> Vec<f32> {
                (0..70)
                    .map(|i| if call == poisoned { f32::NAN } else { (call * i) as f32 })
                    .collect()
            };
            let mut step = optimizer.begin_step().unwrap();
            step.write_gradient(Point::Centre, &gradient(0)).unwrap();
            let mut calls = 0;
            while step.next_probe().unwrap().is_some() {
                calls += 1;
                step.write_gradient(Point::Probe, &gradient(calls)).unwrap();
            }
            step.finish().unwrap();
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let reached = poisoned <= calls;
            assert_eq!(record.skipped, reached, "{regime:?}, call {poisoned} of {calls}");
            assert_eq!(state(&optimizer) == before, reached);
            optimizer.step(&mut matrix.objective(1.0)).unwrap();
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            assert!(!record.skipped && record.curvature.is_finite(), "it goes on");
        }
    }
}

/// Identical gradients, no Hessian at all, one parameter: defined, and N stays a unit vector.
#[test]
fn degenerate_products() {
    for regime in [Regime::Stochastic, Regime::rotations(3)] {
        for len in [1, 2, 3, 70] {
            let mut optimizer = turner(len, regime);
            let mut constant = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
                gradient.fill(0.5);
                0.0
            });
            for _ in 0..3 {
                optimizer.rotate(&mut constant).unwrap();
            }
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            assert_eq!((record.curvature, record.residual, record.skipped_steps), (0.0, 0.0, 0));
            // All eigenvalues equal: every N is an eigenvector.
            let mut sphere = quadratic(vec![2.0; len]);
            for _ in 0..3 {
                optimizer.rotate(&mut sphere).unwrap();
            }
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            assert_within("C", record.curvature.into(), 2.0, 2e-6);
            let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            assert_within("‖N‖", reference::norm(&n), 1.0, 1e-5);
        }
    }
}

#[test]
fn orientations_of_the_user() {
    let optimizer = turner(4, Regime::Stochastic);
    optimizer.write_orientation(&[0.0, 3.0, 0.0, 4.0]).unwrap();
    assert_eq!(optimizer.read_orientation().unwrap().unwrap_or_default(), [0.0, 0.6, 0.0, 0.8]);
    let error = optimizer.write_orientation(&[0.0; 4]).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { argument: "orientation", .. }), "{error}");
    let error = optimizer.write_orientation(&[1.0; 3]).unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { expected: 4, found: 3, .. }), "{error}");
    let error = optimizer.write_orientation(&[1.0, f32::NAN, 0.0, 0.0]).unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 1, .. }), "{error}");
    let base = flat(Config { dimer: None, ..fixed_rate() }, &[0.0; 4]);
    let error = base.write_orientation(&[1.0; 4]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "an orientation", .. }), "{error}");
    for rotations in [0, u32::MAX] {
        let config = Config { dimer: Some(dimer(Regime::rotations(rotations))), ..fixed_rate() };
        assert!(matches!(config.validate(), Err(Error::InvalidConfig { .. })));
    }
}
