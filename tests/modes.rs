//! The k lowest modes as a block: against matrices with known eigenpairs, across shards, with groups
//! out of reach, and what cannot be asked for.

mod common;

use common::matrix::Matrix;
use common::*;
use dimer::reference::{dot, norm};
use dimer::{
    Config, Difference, Dimer, Displacement, Error, Group, HostObjective, Layout, Modes, Optimizer,
};

fn config(displacement: Displacement) -> Config {
    let dimer = Dimer { displacement, ..Dimer::default() };
    Config { dimer: Some(dimer), ..Config::default() }
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
        let theta = bits(&optimizer.read_params_blocking().unwrap());
        let mut modes = Modes::new(&optimizer, count, 3).unwrap();
        modes.rotate(&mut optimizer, &mut matrix.objective(1.0), 40).unwrap();
        assert_eq!(optimizer.gradient_evaluations(), 1 + 41 * count as u64);
        assert_eq!(bits(&optimizer.read_params_blocking().unwrap()), theta);
        assert_eq!(optimizer.steps(), 0);
        let found = modes.read_blocking(&optimizer).unwrap();
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
    let mut modes = Modes::new(&optimizer, 5, 0).unwrap();
    let mut softest = Vec::new();
    for _ in 0..3 {
        modes.rotate(&mut optimizer, &mut matrix.objective(1.0), 8).unwrap();
        let found = modes.read_blocking(&optimizer).unwrap();
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
    for len in [1, 2, 5, 8] {
        let eigenvalues: Vec<f64> = (0..len).map(|i| f64::from(i) - 1.5).collect();
        let matrix = Matrix::new(&mut rng(3), eigenvalues.clone());
        let len = len as usize;
        let mut optimizer = flat(config(Displacement::Absolute(1.0)), &vec![0.0; len]);
        let mut modes = Modes::new(&optimizer, len, 0).unwrap();
        modes.rotate(&mut optimizer, &mut matrix.objective(1.0), 3).unwrap();
        for (found, expected) in modes.read_blocking(&optimizer).unwrap().iter().zip(eigenvalues) {
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
    let config = config(Displacement::Relative { factor: 0.1, minimum: 0.5 });
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[0.0; 140]).unwrap();
    let mut modes = Modes::new(&optimizer, 2, 0).unwrap();
    modes.rotate(&mut optimizer, &mut quadratic(h), 10).unwrap();
    let found = modes.read_blocking(&optimizer).unwrap();
    assert_within("λ", found[0].curvature.into(), -2.0, 1e-4);
    assert_within("λ", found[1].curvature.into(), -1.0, 1e-4);
    assert!(found[0].orientation[30..70].iter().all(|&x| x == 0.0));
    assert_within("x", found[0].orientation[5].abs().into(), 1.0, 1e-4);
}

#[test]
fn what_cannot_be_asked_for() {
    let absolute = config(Displacement::Absolute(1.0));
    let optimizer = flat(absolute.clone(), &[0.0; 5]);
    for count in [0, 6, 9] {
        let error = Modes::new(&optimizer, count, 0).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { field: "modes", .. }), "{error}");
    }
    let base = flat(Config { dimer: None, ..Config::default() }, &[0.0; 5]);
    assert!(matches!(
        Modes::new(&base, 1, 0).unwrap_err(),
        Error::InvalidConfig { field: "dimer", .. }
    ));
    let exact = Dimer { difference: Difference::Exact, ..absolute.dimer.unwrap() };
    for config in
        [config(Displacement::Automatic), Config { dimer: Some(exact), ..Config::default() }]
    {
        let error = Modes::new(&flat(config, &[0.0; 5]), 1, 0).unwrap_err();
        assert!(
            matches!(error, Error::InvalidConfig { field: "dimer.displacement", .. }),
            "{error}"
        );
    }
}

/// Whose buffers they are not bound to.
#[test]
fn modes_of_another_optimizer() {
    let make = || flat(config(Displacement::Absolute(1.0)), &[0.0; 5]);
    let (mut own, mut other) = (make(), make());
    let mut modes = Modes::new(&own, 1, 0).unwrap();
    for error in [
        modes.rotate(&mut other, &mut quadratic(vec![1.0; 5]), 1).unwrap_err(),
        modes.read_blocking(&other).unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidConfig { field: "modes", .. }), "{error}");
    }
    modes.rotate(&mut own, &mut quadratic(vec![1.0; 5]), 1).unwrap();
    modes.read_blocking(&own).unwrap();
}

/// A NaN is an error when the modes are read, and a sound gradient heals it.
#[test]
fn non_finite_gradients() {
    let mut optimizer = flat(config(Displacement::Absolute(1.0)), &[0.0; 70]);
    let mut modes = Modes::new(&optimizer, 3, 0).unwrap();
    let sound = || quadratic((0..70).map(|i| i as f32 - 3.0).collect());
    let mut calls = 0;
    let mut poisoned = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        calls += 1;
        gradient.copy_from_slice(theta);
        gradient[66] = if calls == 6 { f32::NAN } else { 0.0 };
        0.0
    });
    modes.rotate(&mut optimizer, &mut poisoned, 4).unwrap();
    assert!(matches!(modes.read_blocking(&optimizer).unwrap_err(), Error::NonFinite { .. }));
    modes.rotate(&mut optimizer, &mut sound(), 30).unwrap();
    let found = modes.read_blocking(&optimizer).unwrap();
    assert_within("λ", found[0].curvature.into(), -3.0, 1e-3);
}
