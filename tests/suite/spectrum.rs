//! The k lowest modes as a block: against matrices with known eigenpairs, across shards, with groups
//! out of reach, and what cannot be asked for.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{dot, norm};
use dimer::{
    Config, Difference, Dimer, Displacement, Error, Group, HostObjective, Layout, Optimizer,
    Relative, Spectrum,
};

fn config(displacement: Displacement) -> Config {
    let dimer = Dimer { displacement, ..Dimer::default() };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

/// Eigenvalues, orthonormal modes and residuals of a block on a spectrum from −4 to 6, for block sizes
/// that are odd, multiples of four and the largest. Gradients and dots are good to 20 units of the
/// spectrum's width for each of 40 rotations, all added; a Ritz value has the square of its vector's
/// error, so what bounds it is the convergence that the residual shows: |λ − θ| ≤ ‖F‖ for some λ.
#[test]
fn finds_the_lowest_eigenpairs() {
    let len = 130;
    let mut eigenvalues: Vec<f64> = (0..len).map(|i| 6.0 * i as f64 / len as f64).collect();
    let lowest = [-4.0, -3.5, -3.0, -2.4, -1.9, -1.3, -0.8, -0.4];
    eigenvalues[..8].copy_from_slice(&lowest);
    let matrix = Matrix::new(&mut rng(1), eigenvalues);
    for count in [1, 3, 4, 7, 8] {
        let config = config(Displacement::Absolute(1.0));
        let mut optimizer = flat(config, &vec![0.0; len]);
        let theta = bits(&optimizer.read_params().unwrap());
        let mut spectrum = Spectrum::new(&mut optimizer, count, 3).unwrap();
        spectrum.rotate(&mut matrix.objective(1.0), 40).unwrap();
        let found = spectrum.read().unwrap();
        assert_eq!(spectrum.optimizer().steps(), 0);
        let vectors: Vec<_> = found.iter().map(|mode| wide(&mode.orientation)).collect();
        for (i, mode) in found.iter().enumerate() {
            println!("{count}: {} {} of {}", mode.curvature, mode.residual, lowest[i]);
            assert_within("λ", mode.curvature.into(), lowest[i], 40.0 * 20.0 * UNIT * 10.0);
            let product = matrix.product_wide(&vectors[i]);
            let residual: Vec<f64> =
                product.iter().zip(&vectors[i]).map(|(h, x)| h - lowest[i] * x).collect();
            assert!(norm(&residual) < 1e-2, "‖Hx − λx‖ = {}", norm(&residual));
            for (j, other) in vectors.iter().enumerate() {
                let expected = f64::from(u8::from(i == j));
                assert_within("xᵢ·xⱼ", dot(&vectors[i], other), expected, 1e-4);
            }
        }
        assert_eq!(optimizer.gradient_evaluations(), (1 + 41 * count) as f64);
        assert_eq!(bits(&optimizer.read_params().unwrap()), theta);
    }
}

/// A block needs fewer rotations for its softest mode than a single vector, where the gap above the
/// first eigenvalue is small; and a second call goes on where the first one ended.
#[test]
fn a_cluster_at_the_bottom() {
    let len = 200;
    let mut eigenvalues: Vec<f64> = (0..len).map(|i| 0.5 + i as f64 / len as f64).collect();
    eigenvalues[..4].copy_from_slice(&[-1.0, -0.999, -0.998, -0.997]);
    let matrix = Matrix::new(&mut rng(2), eigenvalues);
    let mut optimizer = flat(config(Displacement::Absolute(1.0)), &vec![0.0; len]);
    let mut spectrum = Spectrum::new(&mut optimizer, 5, 0).unwrap();
    let mut softest = Vec::new();
    for _ in 0..3 {
        spectrum.rotate(&mut matrix.objective(1.0), 8).unwrap();
        let found = spectrum.read().unwrap();
        softest.push(found[0].curvature);
        assert!(found.windows(2).all(|pair| pair[0].curvature <= pair[1].curvature + 1e-6));
    }
    println!("{softest:?}");
    assert!(softest.windows(2).all(|pair| pair[1] <= pair[0] + 1e-5));
    assert_within("λ", softest[2].into(), -1.0, 2e-4);
}

/// As many modes as elements: the whole spectrum, in one rotation.
#[test]
fn all_of_a_small_problem() {
    for len in [1_u32, 2, 5, 8] {
        let eigenvalues: Vec<f64> = (0..len).map(|i| f64::from(i) - 1.5).collect();
        let matrix = Matrix::new(&mut rng(3), eigenvalues.clone());
        let len = len as usize;
        let mut optimizer = flat(config(Displacement::Absolute(1.0)), &vec![0.0; len]);
        let mut spectrum = Spectrum::new(&mut optimizer, len, 0).unwrap();
        spectrum.rotate(&mut matrix.objective(1.0), 3).unwrap();
        for (found, expected) in spectrum.read().unwrap().iter().zip(eigenvalues) {
            assert_within("λ", found.curvature.into(), expected, 1e-4);
        }
    }
}

/// Several tensors, one out of reach: modes of the rest.
#[test]
fn groups_out_of_reach() {
    let mut builder = Layout::builder();
    let frozen = builder.group(Group { dimer: false, ..Group::default() });
    builder.tensor("a", &[30]).tensor_in(frozen, "b", &[40]).tensor("c", &[70]);
    let layout = builder.build().unwrap();
    // The softest of all lie in b.
    let h: Vec<f32> = (0..140)
        .map(|i| match i {
            30..70 => -9.0,
            5 => -2.0,
            100 => -1.0,
            _ => 1.0,
        })
        .collect();
    let config = config(Displacement::Relative(Relative { factor: 0.1, minimum: 0.5 }));
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[0.0; 140]).unwrap();
    let mut spectrum = Spectrum::new(&mut optimizer, 2, 0).unwrap();
    spectrum.rotate(&mut quadratic(h), 10).unwrap();
    let found = spectrum.read().unwrap();
    assert_within("λ", found[0].curvature.into(), -2.0, 1e-4);
    assert_within("λ", found[1].curvature.into(), -1.0, 1e-4);
    assert!(found[0].orientation[30..70].iter().all(|&x| x == 0.0));
    assert_within("x", found[0].orientation[5].abs().into(), 1.0, 1e-4);
}

#[test]
fn what_cannot_be_asked_for() {
    let absolute = config(Displacement::Absolute(1.0));
    let refused = |config: Config, count| {
        Spectrum::new(&mut flat(config, &[0.0; 5]), count, 0).map(|_| ()).unwrap_err()
    };
    for count in [0, 6, 9] {
        let error = refused(absolute.clone(), count);
        assert!(matches!(error, Error::InvalidArgument { argument: "count", .. }), "{error}");
    }
    let exact = Dimer { difference: Difference::Exact, ..absolute.dimer.unwrap() };
    for config in [
        Config { dimer: None, ..fixed_rate() },
        config(Displacement::Automatic),
        Config { dimer: Some(exact), ..fixed_rate() },
    ] {
        let error = refused(config, 1);
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}

/// The optimizer goes on where it was, and a later block starts anew.
#[test]
fn a_training_goes_on_after_a_look() {
    let run = |looks: bool| {
        let mut optimizer = flat(config(Displacement::Absolute(1.0)), &[1.0; 70]);
        let sound = || quadratic((0..70).map(|i| i as f32 - 3.0).collect());
        for step in 0..60 {
            if looks && step % 20 == 10 {
                let mut spectrum = Spectrum::new(&mut optimizer, 2, step).unwrap();
                spectrum.rotate(&mut sound(), 3).unwrap();
            }
            optimizer.step(&mut sound()).unwrap();
        }
        state(&optimizer)
    };
    assert_eq!(run(true), run(false));
}

/// Kernels of a block are timed like those of a step.
#[test]
fn kernels_of_a_block_are_timed() {
    let mut optimizer = flat(config(Displacement::Absolute(1.0)), &[0.0; 70]);
    optimizer.time_kernels(true).unwrap();
    optimizer.step(&mut quadratic(vec![1.0; 70])).unwrap();
    let mut spectrum = Spectrum::new(&mut optimizer, 2, 0).unwrap();
    spectrum.rotate(&mut quadratic(vec![1.0; 70]), 1).unwrap();
    optimizer.step(&mut quadratic(vec![1.0; 70])).unwrap();
    let times = optimizer.kernel_times().unwrap();
    let kernels: Vec<_> = times.iter().map(|time| (time.step, time.kernel)).collect();
    println!("{kernels:?}");
    let block: Vec<_> = kernels.iter().filter(|(_, kernel)| kernel.starts_with("modes/")).collect();
    // Two products, three kernels, two products, three kernels.
    assert_eq!(block.len(), 2 * (2 * 2 + 3));
    assert!(block.iter().all(|(step, _)| *step == 1));
    let of_steps = |step| kernels.iter().filter(move |it| **it == (step, "step/translate")).count();
    assert_eq!((of_steps(0), of_steps(1)), (1, 1));
    assert!(times.iter().all(|time| time.nanoseconds >= 0.0));
}

/// A NaN is an error when the modes are read, and a sound gradient heals it.
#[test]
fn non_finite_gradients() {
    let mut optimizer = flat(config(Displacement::Absolute(1.0)), &[0.0; 70]);
    let mut spectrum = Spectrum::new(&mut optimizer, 3, 0).unwrap();
    let sound = || quadratic((0..70).map(|i| i as f32 - 3.0).collect());
    let mut calls = 0;
    let mut poisoned = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        calls += 1;
        gradient.copy_from_slice(theta);
        gradient[66] = if calls == 6 { f32::NAN } else { 0.0 };
        0.0
    });
    spectrum.rotate(&mut poisoned, 4).unwrap();
    assert!(matches!(spectrum.read().unwrap_err(), Error::NonFinite { .. }));
    spectrum.rotate(&mut sound(), 30).unwrap();
    let found = spectrum.read().unwrap();
    assert_within("λ", found[0].curvature.into(), -3.0, 1e-3);
}
