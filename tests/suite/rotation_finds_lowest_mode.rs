//! Rotation goes down: N turns to the lowest eigenvalue, stays a unit vector, and C stays in the
//! spectrum.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::{Config, Dimer, Displacement, Optimizer, Rotation, RotationRate, Schedule};
use proptest::prelude::*;
use rand::RngExt;

/// At θ = 0 the gradient is exact at any distance, so a distance of 1 has no truncation.
fn turner(len: usize, rate: RotationRate) -> Optimizer {
    let dimer = Dimer {
        rotation: Rotation::gradient(rate),
        displacement: Displacement::Absolute(1.0),
        schedule: Schedule::Every(1),
        ..Dimer::default()
    };
    flat(Config { dimer: Some(dimer), ..fixed_rate() }, &vec![0.0; len])
}

fn rotate(optimizer: &mut Optimizer, matrix: &Matrix, times: usize) -> f64 {
    let mut objective = matrix.objective(1.0);
    for _ in 0..times {
        optimizer.rotate(&mut objective).unwrap();
    }
    f64::from(optimizer.read_curvature().unwrap())
}

/// The sign test: −η F goes to the lowest eigenvalue, with a fixed and with the automatic rate.
#[test]
fn reaches_the_lowest_eigenvalue() {
    let len = 60;
    let eigenvalues: Vec<f64> = (0..len).map(|i| -79.0 + 159.0 * i as f64 / 59.0).collect();
    let matrix = Matrix::new(&mut rng(1), eigenvalues);
    for rate in [RotationRate::Fixed(1.0 / 159.0), RotationRate::Automatic] {
        let mut optimizer = turner(len, rate);
        let curvature = rotate(&mut optimizer, &matrix, 1000);
        println!("{rate:?}: {curvature}");
        // One part in 10⁴ of the spectrum's width; the highest is 159 away.
        assert_within("C", curvature, -79.0, 0.0159);
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        let product = matrix.product(&n);
        assert_within("N·HN", dimer::reference::dot(&wide(&n), &product), -79.0, 0.0159);
    }
}

/// A stiff spectrum, like a trained network's, where a random N sees little of the stiffest mode:
/// the automatic rate must not run to it.
#[test]
fn automatic_rate_is_stable_on_a_stiff_spectrum() {
    let len = 500;
    let mut rng = rng(2);
    let mut eigenvalues: Vec<f64> = (0..len).map(|_| rng.random_range(-0.1..0.3)).collect();
    eigenvalues[..5].copy_from_slice(&[50.0, 20.0, 10.0, 5.0, -1.0]);
    let matrix = Matrix::new(&mut rng, eigenvalues);
    let mut optimizer = turner(len, RotationRate::Automatic);
    let curvature = rotate(&mut optimizer, &matrix, 1500);
    assert_within("C", curvature, -1.0, 0.01);
}

/// A group without dimer keeps N at zero although the others couple to it, and they find the
/// lowest mode of their own block.
#[test]
fn groups_without_dimer_take_no_part() {
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    let locally_optimal = Rotation::locally_optimal(dimer::Regime::Stochastic);
    for (rotation, events) in [(by_gradient, 1000), (locally_optimal, 100)] {
        let mut builder = dimer::Layout::builder();
        let frozen = builder.group(dimer::Group { dimer: false, ..Default::default() });
        builder.tensor("a", &[20]).tensor_in(frozen, "b", &[20]).tensor("c", &[20]);
        let displacement = Displacement::Absolute(1.0);
        let dimer = Dimer { rotation, displacement, ..Dimer::default() };
        let config = Config { dimer: Some(dimer), ..fixed_rate() };
        let mut optimizer =
            Optimizer::new(&gpu(), builder.build().unwrap(), config, &[0.0; 60]).unwrap();
        let mut rng = rng(4);
        let matrix = Matrix::new(&mut rng, (0..60).map(|i| f64::from(i) / 6.0 - 5.0).collect());
        let curvature = rotate(&mut optimizer, &matrix, events);
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        assert!(n[20..40].iter().all(|&n| n == 0.0));
        assert_within("‖N‖", dimer::reference::norm(&wide(&n)), 1.0, 1e-6);
        // N is an eigenvector of the block: HN is C N there, whatever it is in the frozen group.
        let product = matrix.product(&n);
        for i in (0..20).chain(40..60) {
            assert_within("HN", product[i], curvature * f64::from(n[i]), 1e-3);
        }
        // The frozen group holds a part of the lowest mode, so the block's own one lies above it.
        assert!((-5.0..-3.0).contains(&curvature), "{curvature}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() })]

    /// N stays a unit vector to 1e-5 after 1000 rotations.
    #[test]
    fn orientation_stays_a_unit_vector(seed in 0_u64..1 << 32, len in 2_usize..300, rate in 1e-3_f64..10.0) {
        let mut rng = rng(seed);
        let eigenvalues = (0..len).map(|_| rng.random_range(-2.0..5.0)).collect();
        let matrix = Matrix::new(&mut rng, eigenvalues);
        let mut optimizer = turner(len, RotationRate::Fixed(rate));
        rotate(&mut optimizer, &matrix, 1000);
        let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
        prop_assert!(approx::abs_diff_eq!(dimer::reference::norm(&n), 1.0, epsilon = 1e-5));
    }

    /// C is a Rayleigh quotient: inside [λmin, λmax], but for the rounding of gradients (4 units
    /// of the largest |λ|, in norm) and of dots (1e-6 of it).
    #[test]
    fn curvature_is_inside_the_spectrum(seed in 0_u64..1 << 32, len in 1_usize..300, rate in 1e-3_f64..10.0) {
        let mut rng = rng(seed);
        let eigenvalues: Vec<f64> = (0..len).map(|_| rng.random_range(-2.0..5.0)).collect();
        let low = eigenvalues.iter().copied().fold(f64::INFINITY, f64::min);
        let high = eigenvalues.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let slack = low.abs().max(high.abs()) * (4.0 * UNIT + 1e-6);
        let matrix = Matrix::new(&mut rng, eigenvalues);
        let mut optimizer = turner(len, RotationRate::Fixed(rate));
        rotate(&mut optimizer, &matrix, 50);
        for record in optimizer.telemetry().unwrap() {
            let curvature = f64::from(record.curvature);
            prop_assert!((low - slack..=high + slack).contains(&curvature), "{record:?}");
            prop_assert!(record.residual >= 0.0);
        }
    }

    /// Scaling the loss by 4 scales C and ‖F‖ by 4, to the bit: 4 is a power of two.
    #[test]
    fn scaling_the_loss_scales_the_curvature(seed in 0_u64..1 << 32, len in 1_usize..300) {
        let mut rng = rng(seed);
        let eigenvalues = (0..len).map(|_| rng.random_range(-2.0..5.0)).collect();
        let matrix = Matrix::new(&mut rng, eigenvalues);
        let measure = |scale: f64| {
            let mut optimizer = turner(len, RotationRate::Fixed(0.1 / scale));
            let mut objective = matrix.objective(scale);
            for _ in 0..5 {
                optimizer.rotate(&mut objective).unwrap();
            }
            let last = *optimizer.telemetry().unwrap().last().unwrap();
            (f64::from(last.curvature), f64::from(last.residual))
        };
        let (one, four) = (measure(1.0), measure(4.0));
        let bound = 16.0 * UNIT * (one.0.abs() + one.1);
        prop_assert!(approx::abs_diff_eq!(four.0, 4.0 * one.0, epsilon = bound));
        prop_assert!(approx::abs_diff_eq!(four.1, 4.0 * one.1, epsilon = bound));
    }
}
