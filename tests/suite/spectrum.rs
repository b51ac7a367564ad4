//! Both ends of the spectrum: against matrices with known eigenpairs, long after convergence, with groups out of reach,
//! and what cannot be asked for.

use crate::common::*;
use crate::matrix::{Matrix, spectra};
use crate::{data, network};
use dimer::reference::{dot, norm};
use dimer::{
    Config, Difference, Dimer, Displacement, Error, Evaluation, Gpu, Group, HostObjective, Layout,
    Objective, Optimizer, RelativeDisplacement, Spectrum, SpectrumConfig, Tuning,
};
use nalgebra::{DMatrix, DVector};
use rand::RngExt;

fn config() -> Config {
    Config { dimer: Some(Dimer::default()), ..fixed_rate() }
}

/// This many of the lowest modes, with probes as far away as a quadratic allows.
fn from_afar(lowest: usize, seed: u64) -> SpectrumConfig {
    let displacement = Displacement::Absolute(1.0);
    SpectrumConfig { lowest, seed, displacement, ..SpectrumConfig::default() }
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
        let mut optimizer = flat(config(), &vec![0.0; len]);
        let theta = bits(&optimizer.read_params().unwrap());
        let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(count, 3)).unwrap();
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
        assert_eq!(optimizer.gradient_evaluations(), (1 + 43 * count) as f64);
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
    let mut optimizer = flat(config(), &vec![0.0; len]);
    let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(5, 0)).unwrap();
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

/// Looks at a block again and again: no eigenvalue is ever below the truth by more than the error of a product, and none
/// is lost once it was found; error bounds hold, and modes are orthonormal.
fn stays_right(
    (what, eigenvalues): (&str, Vec<f64>),
    settings: SpectrumConfig,
    seed: u64,
    looks: usize,
) {
    let len = eigenvalues.len();
    let scale = eigenvalues.iter().fold(0.0, |scale: f64, h| scale.max(h.abs()));
    let mut sorted = eigenvalues.clone();
    sorted.sort_by(f64::total_cmp);
    let truth: Vec<f64> = [&sorted[..settings.lowest], &sorted[len - settings.highest..]].concat();
    let mut rng = rng(seed);
    let matrix = Matrix::new(&mut rng, eigenvalues);
    let theta = vector(&mut rng, len, Kind::Plain);
    let size = norm(&wide(&theta));
    let mut optimizer = flat(config(), &theta);
    let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
    let (mut below, mut off) = (0.0_f64, 0.0_f64);
    for look in 0..looks {
        spectrum.rotate(&mut matrix.objective(1.0), 10).unwrap();
        let distance = f64::from(spectrum.displacement().unwrap().unwrap());
        let error = product_error(scale, size, distance);
        let found = spectrum.read().unwrap();
        let vectors: Vec<_> = found.iter().map(|mode| wide(&mode.orientation)).collect();
        let at =
            || format!("{what}, {len} elements, seed {seed}, {settings:?}, look {look}: {found:?}");
        for (i, (mode, expected)) in found.iter().zip(&truth).enumerate() {
            let curvature = f64::from(mode.curvature);
            below = below.max(sorted[0] - curvature).max(curvature - sorted[len - 1]);
            assert!(below <= error, "beyond the truth by {below}, at most {error}; {}", at());
            let nearest =
                sorted.iter().map(|h| (h - curvature).abs()).fold(f64::INFINITY, f64::min);
            // What the two sides of θ differ by is itself random, and 0 where both happen to be rounded alike.
            let bound = f64::from(mode.error) + error;
            assert!(nearest <= bound, "{nearest} from an eigenvalue, at most {bound}; {}", at());
            for (j, other) in vectors.iter().enumerate() {
                let unit = f64::from(u8::from(i == j));
                assert_within("xᵢ·xⱼ", dot(&vectors[i], other), unit, 1e-4);
            }
            if look + 1 == looks {
                off = off.max((curvature - expected).abs());
                // Forward differences along the whole basis count, where the points round as well and each gradient
                // counts in full, and combinations round once a rotation.
                let basis = (3.0 * vectors.len() as f64).sqrt();
                let rounded = (10 * looks) as f64 * UNIT * scale * basis;
                let bound = basis * 3.0 * error + rounded + 1e-3 * scale;
                assert!((curvature - expected).abs() <= bound, "{expected} is lost; {}", at());
            }
        }
    }
    println!("{what}, {len}, {settings:?}: beyond the truth by {below:.1e}, off by {off:.1e}");
}

fn displacements() -> [Displacement; 4] {
    [
        Displacement::Automatic,
        Displacement::default(),
        Displacement::Absolute(1e-3),
        Displacement::Absolute(1.0),
    ]
}

/// Every size from 1 to 24 and some larger ones, 200 rotations each, with settings at random.
#[test]
fn stays_right_for_200_rotations() {
    let seed = rand::random();
    let mut draws = rng(seed);
    for len in (1..=24).chain([50, 130, 400]) {
        let spectra = spectra(len);
        let spectrum = spectra[draws.random_range(0..spectra.len())].clone();
        let modes = draws.random_range(1..=len.min(8));
        let highest = draws.random_range(0..=modes);
        let displacement = displacements()[draws.random_range(0..4)];
        let (lowest, seed) = (modes - highest, draws.random());
        let settings =
            SpectrumConfig { lowest, highest, displacement, seed, ..SpectrumConfig::default() };
        stays_right(spectrum, settings, seed, 20);
    }
}

/// As many modes as elements: the whole spectrum, in one rotation, and then all gaps are known.
#[test]
fn all_of_a_small_problem() {
    for len in [1_u32, 2, 5, 8, 13, 16] {
        let eigenvalues: Vec<f64> = (0..len).map(|i| f64::from(i) - 1.5).collect();
        let matrix = Matrix::new(&mut rng(3), eigenvalues.clone());
        let len = len as usize;
        let lowest = len.min(8);
        let settings =
            SpectrumConfig { lowest, highest: len - lowest, ..SpectrumConfig::default() };
        let mut optimizer = flat(config(), &vec![0.1; len]);
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        spectrum.rotate(&mut matrix.objective(1.0), 1).unwrap();
        let found = spectrum.read().unwrap();
        assert_eq!(found.len(), len);
        for (found, expected) in found.iter().zip(eigenvalues) {
            assert_within("λ", found.curvature.into(), expected, 1e-4);
            assert!(found.converged && f64::from(found.error) < 1e-4, "{found:?}");
        }
    }
}

/// A random symmetric matrix, at both ends, against nalgebra: as good as the bound says after few rotations and after
/// many, and `converged` where that is good enough.
#[test]
fn errors_are_what_they_say() {
    let mut resolved = [0, 0];
    for seed in 0..6 {
        let mut rng = rng(seed);
        let len = rng.random_range(20..150);
        let entry = |_: usize, _: usize| rng.random_range(-1.0..1.0_f64);
        let half = DMatrix::from_fn(len, len, entry);
        let hessian = &half + half.transpose();
        let mut truth: Vec<f64> = hessian.symmetric_eigenvalues().iter().copied().collect();
        truth.sort_by(f64::total_cmp);
        let scale = truth.iter().fold(0.0, |scale: f64, h| scale.max(h.abs()));
        let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            let product = &hessian * DVector::from_vec(wide(theta));
            gradient.iter_mut().zip(product.iter()).for_each(|(g, h)| *g = *h as f32);
            0.0
        });
        let theta = vector(&mut rng, len, Kind::Plain);
        let size = norm(&wide(&theta));
        let mut optimizer = flat(config(), &theta);
        let settings = SpectrumConfig { lowest: 3, highest: 2, seed, ..SpectrumConfig::default() };
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        let expected = [&truth[..3], &truth[len - 2..]].concat();
        for rotations in [0, 2, 4, 8, 40] {
            spectrum.rotate(&mut objective, rotations).unwrap();
            let found = spectrum.read().unwrap();
            assert!(found.is_sorted_by(|a, b| a.curvature <= b.curvature));
            let distance = spectrum.displacement().unwrap().unwrap();
            let rounding = product_error(scale, size, distance.into());
            for (mode, expected) in found.iter().zip(&expected) {
                let curvature = f64::from(mode.curvature);
                let nearest =
                    truth.iter().map(|h| (h - curvature).abs()).fold(f64::INFINITY, f64::min);
                assert!(nearest <= f64::from(mode.error) + rounding, "{nearest}: {mode:?}");
                assert_eq!(mode.converged, f64::from(mode.error) <= 0.01 * scale, "{mode:?}");
                resolved[usize::from(mode.converged)] += 1;
                if rotations == 40 {
                    assert_within("λ", curvature, *expected, rounding + 1e-4 * scale);
                    assert!(f64::from(mode.error) < 1e-3 * scale, "{mode:?}");
                }
            }
        }
    }
    println!("{resolved:?}");
    assert!(resolved.iter().all(|&count| count > 20));
}

/// A loss whose curvature changes: the search finds a distance between rounding and bending, and where a distance is
/// given that is too large, the errors say so.
#[test]
fn curved_losses() {
    // Σ hᵢ θᵢ²/2 + b Σ θᵢ³/6 has the Hessian h + b θ.
    let len = 60;
    let bend = 40.0_f32;
    let theta: Vec<f32> = (0..len).map(|i| (i as f32).sin()).collect();
    let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
            *g = i as f32 * x + 0.5 * bend * x * x;
        }
        0.0
    });
    let mut truth: Vec<f64> =
        (0..len).map(|i| f64::from(i as f32 + bend * theta[i as usize])).collect();
    truth.sort_by(f64::total_cmp);
    let scale = truth[59].abs().max(truth[0].abs());
    let mut distances = Vec::new();
    for (displacement, is_right) in
        [(Displacement::Automatic, true), (Displacement::Absolute(2.0), false)]
    {
        let settings =
            SpectrumConfig { lowest: 2, highest: 2, displacement, ..SpectrumConfig::default() };
        let mut optimizer = flat(config(), &theta);
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        assert_eq!(spectrum.displacement().unwrap(), None);
        spectrum.rotate(&mut objective, 40).unwrap();
        distances.push(spectrum.displacement().unwrap().unwrap());
        let found = spectrum.read().unwrap();
        println!("{displacement:?}: {found:?}");
        for (mode, truth) in found.iter().zip([truth[0], truth[1], truth[58], truth[59]]) {
            assert_eq!(mode.converged, is_right, "{mode:?}");
            if is_right {
                assert_within("λ", mode.curvature.into(), truth, 1e-3 * scale);
            }
        }
    }
    let [search, given] = distances[..] else { unreachable!() };
    assert!((1e-5..1e-2).contains(&search) && given == 2.0, "{distances:?}");
}

/// Both ends at their largest in workgroups of every size and over several shards; shards change no bit.
#[test]
fn every_tuning_and_many_shards() {
    let len = 20_000;
    // Eight eigenvalues apart at each end, the others between.
    let h: Vec<f32> = (0..len)
        .map(|i| match i % (len / 16) {
            0 => [-1.0, 1.0][usize::from(i >= len / 2)] * (10 + i / (len / 16)) as f32,
            _ => (i as f32).sin(),
        })
        .collect();
    let mut truth = h.clone();
    truth.sort_by(f32::total_cmp);
    let settings = SpectrumConfig { lowest: 8, highest: 8, ..SpectrumConfig::default() };
    let look = |gpu: &Gpu| {
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(gpu, layout, config(), &vec![0.01; len]).unwrap();
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        spectrum.rotate(&mut quadratic(h.clone()), 8).unwrap();
        let found = spectrum.read().unwrap();
        let expected = truth[..8].iter().chain(&truth[len - 8..]);
        for (mode, &expected) in found.iter().zip(expected) {
            assert_within("λ", mode.curvature.into(), expected.into(), 1e-3);
            assert!(mode.converged);
        }
        found
    };
    // What one tile of the basis and its products takes, and no more.
    let bytes = 96 * 4 * 4096;
    let small =
        gpu_with(|limits| wgpu::Limits { max_storage_buffer_binding_size: bytes, ..limits });
    for workgroup_size in [32, 256] {
        let tuning = Tuning { workgroups: 32, ..*gpu().tuning() };
        let tuning = tuning.with_workgroup_size(workgroup_size);
        let [whole, sharded] =
            [gpu(), small.clone()].map(|gpu| look(&gpu.with_tuning(tuning).unwrap()));
        assert_eq!(whole, sharded);
    }
    // A thread of one workgroup has too much to do for one.
    let tuning = Tuning { workgroups: 1, ..*gpu().tuning() }.with_workgroup_size(32);
    look(&gpu().with_tuning(tuning).unwrap());
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
    let displacement = Displacement::Relative(RelativeDisplacement { factor: 0.1, minimum: 0.5 });
    let settings = SpectrumConfig { lowest: 2, displacement, ..SpectrumConfig::default() };
    // What is out of reach does not count in ‖θ‖ either.
    let theta: Vec<f32> = (0..140).map(|i| if (30..70).contains(&i) { 1e4 } else { 1.0 }).collect();
    let mut optimizer = Optimizer::new(&gpu(), layout, config(), &theta).unwrap();
    let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
    spectrum.rotate(&mut quadratic(h), 10).unwrap();
    assert_eq!(spectrum.displacement().unwrap(), Some(1.0));
    let found = spectrum.read().unwrap();
    assert_within("λ", found[0].curvature.into(), -2.0, 1e-4);
    assert_within("λ", found[1].curvature.into(), -1.0, 1e-4);
    assert!(found[0].orientation[30..70].iter().all(|&x| x == 0.0));
    assert_within("x", found[0].orientation[5].abs().into(), 1.0, 1e-4);
}

#[test]
fn what_cannot_be_asked_for() {
    let refused = |config: Config, settings: SpectrumConfig| {
        let mut optimizer = flat(config, &[0.0; 12]);
        Spectrum::with_config(&mut optimizer, settings).map(|_| ()).unwrap_err()
    };
    let default = SpectrumConfig::default;
    for (settings, field) in [
        (SpectrumConfig { lowest: 0, ..default() }, "lowest + highest"),
        (SpectrumConfig { lowest: 7, highest: 6, ..default() }, "lowest + highest"),
        (SpectrumConfig { lowest: 9, ..default() }, "lowest"),
        (SpectrumConfig { highest: 9, ..default() }, "highest"),
        (SpectrumConfig { tolerance: -1.0, ..default() }, "tolerance"),
        (SpectrumConfig { tolerance: f64::NAN, ..default() }, "tolerance"),
        (SpectrumConfig { displacement: Displacement::Absolute(0.0), ..default() }, "displacement"),
    ] {
        match refused(config(), settings) {
            Error::InvalidConfig { field: found, .. } => assert_eq!(found, field),
            other => panic!("{other}"),
        }
    }
    let error = refused(Config { dimer: None, ..fixed_rate() }, default());
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let mut optimizer = flat(config(), &[0.0; 12]);
    let mut spectrum = Spectrum::new(&mut optimizer, 1, 0).unwrap();
    let mut objective = quadratic(vec![1.0; 12]);
    for (vectors, steps, field) in [(0, 4, "vectors"), (2, 0, "steps"), (2, 129, "steps")] {
        match spectrum.density(&mut objective, vectors, steps).unwrap_err() {
            Error::InvalidConfig { field: found, .. } => assert_eq!(found, field),
            other => panic!("{other}"),
        }
    }
    // An estimate of the density measures no mode.
    spectrum.density(&mut objective, 1, 4).unwrap();
    let error = spectrum.read().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    // An objective without products.
    let settings = SpectrumConfig { difference: Difference::Exact, ..default() };
    let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
    assert!(matches!(spectrum.rotate(&mut objective, 1), Err(Error::Objective(_))));
    assert!(matches!(spectrum.trace(&mut objective, 1), Err(Error::Objective(_))));
}

/// The optimizer goes on where it was, and a later block starts anew.
#[test]
fn a_training_goes_on_after_a_look() {
    let run = |looks: bool| {
        let mut optimizer = flat(config(), &[1.0; 70]);
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
    let mut optimizer = flat(config(), &[0.0; 70]);
    optimizer.time_kernels(true).unwrap();
    optimizer.step(&mut quadratic(vec![1.0; 70])).unwrap();
    let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(2, 0)).unwrap();
    spectrum.rotate(&mut quadratic(vec![1.0; 70]), 1).unwrap();
    optimizer.step(&mut quadratic(vec![1.0; 70])).unwrap();
    let times = optimizer.kernel_times().unwrap();
    let kernels: Vec<_> = times.iter().map(|time| (time.step, time.kernel)).collect();
    println!("{kernels:?}");
    let block: Vec<_> = kernels.iter().filter(|(_, kernel)| kernel.starts_with("modes/")).collect();
    let count = |kernel: &str| {
        block.iter().filter(|(_, found)| *found == format!("modes/{kernel}")).count()
    };
    // Modes at the start and residuals in the one rotation, twice each.
    assert_eq!((count("orthogonalize"), count("ritz"), count("combine")), (2 * (2 + 2), 2, 2));
    // The last two of all.
    assert_eq!((count("residuals"), count("outcome")), (1, 1));
    assert!(block.iter().all(|(step, _)| *step == 1));
    let of_steps = |step| kernels.iter().filter(move |it| **it == (step, "step/translate")).count();
    assert_eq!((of_steps(0), of_steps(1)), (1, 1));
    assert!(times.iter().all(|time| time.nanoseconds >= 0.0));
}

/// A NaN is an error when the modes are read, and a sound gradient heals it; one before the search for a distance, or in it,
/// only costs what was found until then.
#[test]
fn non_finite_gradients() {
    let sound = || quadratic((0..70).map(|i| i as f32 - 3.0).collect());
    // At θ, along 3 modes, 4 times 3 residuals, 14 times for a distance, along 3 modes, 4 times 3 residuals, and twice along
    // each mode.
    let calls_of_rotate = 1 + 3 + 12 + 14 + 3 + 12 + 6;
    for (poisoned_call, is_found) in
        [(1, true), (3, false), (10, false), (20, false), (32, true), (40, true), (50, true)]
    {
        let mut optimizer = flat(config(), &[0.3; 70]);
        let mut spectrum = Spectrum::new(&mut optimizer, 3, 0).unwrap();
        let mut calls = 0;
        let mut poisoned = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            calls += 1;
            for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
                *g = (i as f32 - 3.0) * x;
            }
            if calls == poisoned_call {
                gradient[66] = f32::NAN;
            }
            0.0
        });
        spectrum.rotate(&mut poisoned, 8).unwrap();
        let found = spectrum.read();
        assert_eq!(matches!(found, Err(Error::NonFinite { .. })), is_found, "call {poisoned_call}");
        spectrum.rotate(&mut sound(), 30).unwrap();
        assert_eq!(calls, calls_of_rotate);
        for (mode, expected) in spectrum.read().unwrap().iter().zip([-3.0, -2.0, -1.0]) {
            assert_within("λ", mode.curvature.into(), expected, 1e-3);
            assert!(mode.converged);
        }
    }
}

/// Hᵢⱼ of a loss with products, whose curvature changes along θ: Σ hᵢ θᵢ²/2 + b Σ θᵢ³/6.
fn bent(h: Vec<f32>, bend: f32) -> impl Objective {
    let gradient = {
        let h = h.clone();
        move |theta: &[f32], gradient: &mut [f32]| {
            for ((g, x), h) in gradient.iter_mut().zip(theta).zip(&h) {
                *g = h * x + 0.5 * bend * x * x;
            }
            0.0
        }
    };
    HostObjective::new(gradient).with_hessian_product(
        move |theta: &[f32], direction: &[f32], product: &mut [f32]| {
            for (((p, x), d), h) in product.iter_mut().zip(theta).zip(direction).zip(&h) {
                *p = (h + bend * x) * d;
            }
        },
    )
}

/// Central differences and exact products: the cost, and errors where the curvature changes. Over the displacement δ a
/// forward difference of this loss is off by b δ/2 times the squares of a direction; a central one by nothing but rounding.
#[test]
fn every_difference() {
    let seed = rand::random();
    let mut rng = rng(seed);
    let len = 60;
    let theta = vector(&mut rng, len, Kind::Plain);
    let bend = 4.0;
    // The ends stand out, so that 40 rotations find them whatever θ is.
    let mut truth: Vec<f64> = (0..len).map(|i| 0.5 * i as f64).collect();
    (truth[0], truth[1], truth[len - 1]) = (-10.0, -6.0, 60.0);
    let h: Vec<f32> =
        truth.iter().zip(&theta).map(|(curvature, x)| *curvature as f32 - bend * x).collect();
    let expected = [&truth[..2], &truth[len - 1..]].concat();
    let displacement = Displacement::Absolute(0.5);
    for (difference, evaluations) in [
        (Difference::Forward, 1 + 3 * 43),
        (Difference::Central, 1 + 3 * 84),
        (Difference::Exact, 3 * 42),
    ] {
        let settings = SpectrumConfig {
            lowest: 2,
            highest: 1,
            displacement,
            difference,
            ..SpectrumConfig::default()
        };
        let mut optimizer = flat(config(), &theta);
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        spectrum.rotate(&mut bent(h.clone(), bend), 40).unwrap();
        let found = spectrum.read().unwrap();
        let distance = spectrum.displacement().unwrap();
        assert_eq!(distance, (difference != Difference::Exact).then_some(0.5));
        assert_eq!(spectrum.optimizer().gradient_evaluations(), f64::from(evaluations));
        println!("{difference:?}: {found:?}");
        for (mode, expected) in found.iter().zip(&expected) {
            let off = (f64::from(mode.curvature) - expected).abs();
            assert!(off <= f64::from(mode.error) + 1e-4, "{difference:?}: {off} of {mode:?}");
            match difference {
                // The residual sees the bend.
                Difference::Forward => assert!(mode.error > 0.1, "{mode:?}"),
                // What the two sides differ by is said, although their mean is free of it.
                Difference::Central => assert!(off < 2e-3 && mode.error > 0.1, "{off}: {mode:?}"),
                _ => assert!(off < 1e-3 && mode.error < 1e-2, "{off}: {mode:?}"),
            }
        }
        let before = spectrum.optimizer().gradient_evaluations();
        let trace = spectrum.trace(&mut bent(h.clone(), bend), 3).unwrap();
        let taken = spectrum.optimizer().gradient_evaluations() - before;
        assert_eq!(taken, [4.0, 7.0, 3.0][difference as usize]);
        // Along ±1 a diagonal matrix has no variance, but the bend of a forward difference has: each of the elements adds
        // b δ/(2√n) with a random sign, whose sum has the deviation b δ/2.
        let (value, error) = (trace.value, trace.standard_error);
        println!("{difference:?}: {value} ± {error} of {}", truth.iter().sum::<f64>());
        let bound = if difference == Difference::Forward { 6.0 * bend as f64 * 0.25 } else { 2e-2 };
        assert_within("tr H", value, truth.iter().sum(), bound);
        assert!(error < bound);
    }
}

/// Sizes of everything, every spectrum, over several vectors: the quadrature of a vector v is exact up to the moment 2m − 1
/// of m steps, v·Hᵏv; with as many steps as elements the nodes are eigenvalues.
#[test]
fn density_has_the_moments_of_its_vectors() {
    let seed = rand::random();
    let mut draws = rng(seed);
    for len in (1..=24).chain([50, 130, 400]) {
        let spectra = spectra(len);
        let (what, eigenvalues) = spectra[draws.random_range(0..spectra.len())].clone();
        let steps = draws.random_range(1..=20_u32);
        let scale = eigenvalues.iter().fold(1e-30, |scale: f64, h| scale.max(h.abs()));
        let mut sorted = eigenvalues.clone();
        sorted.sort_by(f64::total_cmp);
        let matrix = Matrix::new(&mut draws, eigenvalues.clone());
        let theta = vector(&mut draws, len, Kind::Plain);
        let mut optimizer = flat(config(), &theta);
        let settings = SpectrumConfig {
            displacement: Displacement::Absolute(1.0),
            seed: draws.random(),
            ..SpectrumConfig::default()
        };
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        let density = spectrum.density(&mut matrix.objective(1.0), 40, steps).unwrap();
        let at = || format!("{what}, {len} elements, {steps} steps, seed {seed}");
        let rounding = product_error(scale, norm(&wide(&theta)), 1.0);
        assert_eq!(density.vectors.len(), 40);
        let (mut first, mut second) = (0.0, 0.0);
        for nodes in &density.vectors {
            assert!(nodes.len() <= len.min(steps as usize), "{}", at());
            assert!(nodes.is_sorted_by(|a, b| a.eigenvalue <= b.eigenvalue), "{}", at());
            let total: f64 = nodes.iter().map(|node| node.weight).sum();
            assert_within("Σ w", total, 1.0, 1e-12);
            for node in nodes {
                // A step that was dropped had less than a thousandth left.
                let slack = 20.0 * rounding + 1e-3 * scale;
                let range = sorted[0] - slack..=sorted[len - 1] + slack;
                assert!(range.contains(&node.eigenvalue), "{node:?}: {}", at());
            }
            let moment = |power| {
                nodes.iter().map(|node| node.weight * node.eigenvalue.powi(power)).sum::<f64>()
            };
            first += moment(1) / 40.0;
            second += moment(2) / 40.0;
            if steps as usize >= len && len <= 5 && what == "apart" {
                for node in nodes.iter().filter(|node| node.weight > 1e-6) {
                    let nearest = sorted.iter().map(|h| (h - node.eigenvalue).abs());
                    let nearest = nearest.fold(f64::INFINITY, f64::min);
                    assert!(nearest < 1e-3 * scale, "{node:?}: {}", at());
                }
            }
        }
        // The mean of the first moments is the trace, to the bit of the sums.
        assert_within("tr H", density.trace.value, first * len as f64, 1e-9 * scale * len as f64);
        // Means of 40 vectors of ±1: v·Hv has the variance 2 Σ Hᵢⱼ² off the diagonal, at most 2 Σ λ².
        let mean = |power| sorted.iter().map(|h| h.powi(power)).sum::<f64>() / len as f64;
        let deviation = |power: i32| (2.0 * mean(2 * power) / (40.0 * len as f64)).sqrt();
        assert_within("tr H / n", first, mean(1), 5.0 * deviation(1) + 20.0 * rounding);
        if steps > 1 {
            let slack = 5.0 * deviation(2) + (40.0 * rounding + 1e-3 * scale) * scale;
            assert_within("tr H² / n", second, mean(2), slack);
        }
    }
}

/// The true trace is within the standard errors that are said, as often as it should be: over 200 estimates from 10
/// vectors each, beyond three in less than 5 of 100 (Student's t with 9 degrees of freedom: 1.5).
#[test]
fn the_trace_is_within_its_standard_errors() {
    let seed = rand::random();
    let mut draws = rng(seed);
    let len = 40;
    let eigenvalues: Vec<f64> = (0..len).map(|i| (i as f64).powi(2) / 100.0 - 2.0).collect();
    let truth: f64 = eigenvalues.iter().sum();
    let matrix = Matrix::new(&mut draws, eigenvalues);
    let mut optimizer = flat(config(), &vec![0.0; len]);
    let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(1, seed)).unwrap();
    let (mut beyond, mut squares) = ([0, 0], 0.0);
    for _ in 0..200 {
        let trace = spectrum.trace(&mut matrix.objective(1.0), 10).unwrap();
        let off = (trace.value - truth) / trace.standard_error;
        squares += (trace.value - truth).powi(2) / 200.0;
        beyond[0] += usize::from(off.abs() > 1.0);
        beyond[1] += usize::from(off.abs() > 3.0);
    }
    // The variance of one vector, from the matrix.
    let unit = |i: usize| (0..len).map(|j| f32::from(u8::from(i == j))).collect::<Vec<_>>();
    let columns: Vec<Vec<f64>> = (0..len).map(|i| matrix.product(&unit(i))).collect();
    let off_diagonal = (0..len).flat_map(|i| (0..len).map(move |j| (i, j))).filter(|(i, j)| i != j);
    let variance: f64 = off_diagonal.map(|(i, j)| 2.0 * columns[i][j].powi(2)).sum();
    println!("{beyond:?} of 200; deviation {} of {}", squares.sqrt(), (variance / 10.0).sqrt());
    assert!((40..110).contains(&beyond[0]) && beyond[1] < 10, "{beyond:?}");
    assert!((0.8..1.2).contains(&(squares / (variance / 10.0)).sqrt()));
}

/// Long after the Krylov space is exhausted in all but rounding: 128 steps, orthogonal to the last. Without
/// orthogonalization the largest eigenvalues come again and again, and take weight.
#[test]
fn lanczos_makes_no_copies() {
    let len = 500;
    let mut eigenvalues: Vec<f64> = (0..len).map(|i| i as f64 / len as f64).collect();
    eigenvalues[len - 2..].copy_from_slice(&[30.0, 50.0]);
    let matrix = Matrix::new(&mut rng(4), eigenvalues);
    let theta = vec![0.0; len];
    let settings = from_afar(1, 5);
    let look = |gpu: &Gpu| {
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(gpu, layout, config(), &theta).unwrap();
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        spectrum.density(&mut matrix.objective(1.0), 2, 128).unwrap()
    };
    let density = look(&gpu());
    for nodes in &density.vectors {
        assert_eq!(nodes.len(), 128);
        let beyond: Vec<f64> =
            nodes.iter().map(|node| node.eigenvalue).filter(|&x| x > 1.1).collect();
        assert_eq!(beyond.len(), 2, "{beyond:?}");
        assert_within("λ", beyond[0], 30.0, 1e-3);
        assert_within("λ", beyond[1], 50.0, 1e-3);
        // The bulk is uniform on [0, 1].
        let below: f64 =
            nodes.iter().filter(|node| node.eigenvalue < 0.5).map(|node| node.weight).sum();
        assert_within("w", below, 0.5, 0.15);
    }
    // One vector's standard error is not known, and that of two is.
    let height = density.smoothed(0.5, 0.1);
    println!("{height:?}");
    assert!((0.7..1.3).contains(&height.value) && height.standard_error < 0.3);
    assert!(density.nodes().is_sorted_by(|a, b| a.eigenvalue <= b.eigenvalue));
    assert_within("Σ w", density.nodes().iter().map(|node| node.weight).sum(), 1.0, 1e-12);
}

/// Several tensors, one out of reach, over many shards: the trace and the density of the rest, the same bits as on one, and
/// by the asynchronous twins.
#[test]
fn density_over_groups_and_shards() {
    let (len, frozen_len) = (30_000, 5000);
    let mut builder = Layout::builder();
    let frozen = builder.group(Group { dimer: false, ..Group::default() });
    builder.tensor("a", &[len / 2]).tensor_in(frozen, "b", &[frozen_len]).tensor("c", &[len / 2]);
    let layout = builder.build().unwrap();
    let h: Vec<f32> = (0..len + frozen_len)
        .map(|i| match i {
            _ if (len / 2..len / 2 + frozen_len).contains(&i) => 1e6,
            _ if i % 2 == 0 => -1.0,
            _ => 3.0,
        })
        .collect();
    let look = |gpu: &Gpu| {
        let theta = vec![0.1; len + frozen_len];
        let mut optimizer = Optimizer::new(gpu, layout.clone(), config(), &theta).unwrap();
        let mut objective = quadratic(h.clone());
        let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(1, 1)).unwrap();
        let density = spectrum.density(&mut objective, 2, 6).unwrap();
        drop(spectrum);
        let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(1, 1)).unwrap();
        let future = spectrum.density_async(&mut objective, 2, 6);
        assert_eq!(pollster::block_on(future).unwrap(), density);
        // The first two vectors are drawn.
        let trace = pollster::block_on(spectrum.trace_async(&mut objective, 2)).unwrap();
        assert_within("tr H", trace.value, len as f64, 1e-3 * len as f64);
        density
    };
    // One tile of seven vectors, and no more.
    let small =
        gpu_with(|limits| wgpu::Limits { max_storage_buffer_binding_size: 9 * 4 * 4096, ..limits });
    for workgroup_size in [32, 256] {
        let tuning = Tuning { workgroups: 32, ..*gpu().tuning() };
        let tuning = tuning.with_workgroup_size(workgroup_size);
        let [whole, sharded] =
            [gpu(), small.clone()].map(|gpu| look(&gpu.with_tuning(tuning).unwrap()));
        assert_eq!(whole, sharded);
        assert_within("tr H", whole.trace.value, len as f64, 1e-3 * len as f64);
        for nodes in &whole.vectors {
            let heavy: Vec<_> = nodes.iter().filter(|node| node.weight > 1e-3).collect();
            assert_eq!(heavy.len(), 2, "{heavy:?}");
            for (node, eigenvalue) in heavy.iter().zip([-1.0, 3.0]) {
                assert_within("λ", node.eigenvalue, eigenvalue, 1e-2);
                assert_within("w", node.weight, 0.5, 1e-2);
            }
        }
    }
}

/// A gradient that is not finite is an error, at every place, and the next estimate is sound.
#[test]
fn a_density_without_a_finite_gradient() {
    for broken in 0..8 {
        let mut calls = 0;
        let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
                *g = i as f32 * x;
            }
            if calls == broken {
                gradient[3] = f32::NAN;
            }
            calls += 1;
            0.0
        });
        let mut optimizer = flat(config(), &[0.5; 12]);
        let mut spectrum = Spectrum::with_config(&mut optimizer, from_afar(1, 0)).unwrap();
        // One at θ, then two along each of three vectors.
        let found = spectrum.density(&mut objective, 3, 2);
        assert_eq!(
            matches!(found, Err(Error::NonFinite { .. })),
            broken < 7,
            "{broken}: {found:?}"
        );
        if broken < 7 {
            let after = spectrum.density(&mut objective, 2, 2).unwrap();
            assert_within("tr H", after.trace.value, 66.0, 1e-3);
        }
    }
}

/// Of the digits network at three points, against torch: three eigenvalues at each end of the dense Hessian in f64, within
/// the errors that are said and 1 % of the largest; the trace within 3.5 standard errors; the density within 2 % of the
/// largest eigenvalue in the first Wasserstein distance.
#[test]
fn the_spectrum_of_a_network_matches_torch() {
    let images = data::first(512);
    let layout = network::layout().unwrap();
    let rows = include_str!("../oracles/digits_spectrum.csv").lines();
    let rows: Vec<&str> = rows.filter(|row| !row.starts_with('#')).collect();
    assert_eq!(rows.len(), 3);
    for (k, row) in rows.into_iter().enumerate() {
        let row: Vec<f64> = row.split(',').map(|x| x.parse().unwrap()).collect();
        let (trace, ends, truth) = (row[0], &row[1..7], &row[7..]);
        assert_eq!(10 * truth.len(), layout.len());
        let scale = 0.1 * (k + 1) as f64;
        let point: Vec<f32> =
            (0..layout.len()).map(|i| (scale * (0.7 * i as f64 + k as f64).sin()) as f32).collect();
        let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config(), &point).unwrap();
        let mut loss = network::Training::on_all(&optimizer, &images, network::Loss::CrossEntropy);
        let settings = SpectrumConfig { lowest: 3, highest: 3, ..SpectrumConfig::default() };
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        spectrum.rotate(&mut loss, 20).unwrap();
        let found = spectrum.read().unwrap();
        let largest = ends.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        for (mode, expected) in found.iter().zip(ends) {
            let off = (f64::from(mode.curvature) - expected).abs();
            println!("{} ± {}, off by {off}", mode.curvature, mode.error);
            // Rounding that both sides of θ share: that of f32 through the layers, some 10⁻⁶.
            assert!(off < f64::from(mode.error) + 1e-5 * largest && off < 0.01 * largest);
        }
        let density = spectrum.density(&mut loss, 5, 20).unwrap();
        let off = (density.trace.value - trace) / density.trace.standard_error;
        let nodes: Vec<(f64, f64)> =
            density.nodes().iter().map(|node| (node.eigenvalue, node.weight)).collect();
        let weight = 1.0 / truth.len() as f64;
        let truth: Vec<(f64, f64)> = truth.iter().map(|&x| (x, weight)).collect();
        let distance = wasserstein(&nodes, &truth) / largest;
        println!("{:?} of {trace}, distance {distance}", density.trace);
        assert!(off.abs() < 3.5, "{off} standard errors");
        assert!(distance < 0.02, "{distance}");
    }
}

/// ∫ |F − G| of two distributions, each given by its atoms and their weights in ascending order.
fn wasserstein(one: &[(f64, f64)], two: &[(f64, f64)]) -> f64 {
    let signed = one.iter().copied().chain(two.iter().map(|&(x, weight)| (x, -weight)));
    let mut atoms: Vec<(f64, f64)> = signed.collect();
    atoms.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut apart, mut sum) = (0.0_f64, 0.0);
    for pair in atoms.windows(2) {
        apart += pair[0].1;
        sum += apart.abs() * (pair[1].0 - pair[0].0);
    }
    sum
}

/// A gradient without the loss that it promises.
struct Silent;

impl Objective for Silent {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let theta = at.read_params()?;
        at.write_gradient(&theta)
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

/// The distance is searched for along a mode whatever is asked for first, again after a search that saw no finite gradient,
/// and the loss at θ is not that of the next step.
#[test]
fn a_density_searches_as_a_rotation_does() {
    let len = 400;
    let gradient = |theta: &[f32], gradient: &mut [f32]| {
        for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
            *g = i as f32 / len as f32 * x;
        }
        let x = theta[len - 1];
        gradient[len - 1] = 20.0 * x + 3000.0 * x * x * x;
        42.0
    };
    let distance_of = |first: &dyn Fn(&mut Spectrum<'_>)| {
        let mut optimizer = flat(config(), &vec![0.1; len]);
        let settings =
            SpectrumConfig { lowest: 0, highest: 1, seed: 1, ..SpectrumConfig::default() };
        let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
        first(&mut spectrum);
        let distance = spectrum.displacement().unwrap().unwrap();
        optimizer.step(&mut Silent).unwrap();
        assert_eq!(optimizer.telemetry().unwrap()[0].loss, None);
        distance
    };
    let rotated =
        distance_of(&|spectrum| spectrum.rotate(&mut HostObjective::new(gradient), 4).unwrap());
    let sampled = distance_of(&|spectrum| {
        let density = spectrum.density(&mut HostObjective::new(gradient), 2, 8).unwrap();
        for nodes in &density.vectors {
            assert_within("λ", nodes[nodes.len() - 1].eigenvalue, 110.0, 0.1);
        }
    });
    let again = distance_of(&|spectrum| {
        let mut broken = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(f32::NAN);
            0.0
        });
        assert!(spectrum.trace(&mut broken, 1).is_err());
        assert_eq!(spectrum.displacement().unwrap(), None);
        spectrum.rotate(&mut broken, 4).unwrap();
        assert!(spectrum.read().is_err());
        spectrum.density(&mut HostObjective::new(gradient), 2, 8).unwrap();
    });
    println!("{rotated} {sampled} {again}");
    assert!((1e-5..1e-4).contains(&rotated), "{rotated}");
    assert_eq!(sampled, rotated);
    assert!((1e-5..1e-4).contains(&again), "{again}");
}
