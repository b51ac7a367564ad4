//! Several dimers, displaced at once with random signs: against the reference, unbiased, and bit for
//! bit however the vector is cut.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{self, Reference, sign};
use dimer::{
    Config, Correction, Difference, Dimer, Displacement, Error, Evaluation, Group, HessianProduct,
    Layout, LearningRate, Objective, Optimizer, Projection, Regime, Rotation, RotationRate,
    SaddleFree, Schedule, Scope, Translation,
};

/// Six tensors in three groups, one of them out of the dimer's reach; 130 elements.
fn layout() -> Layout {
    let mut builder = Layout::builder();
    let other = builder.group(Group { learning_rate_scale: 2.0, ..Group::default() });
    let frozen = builder.group(Group { dimer: false, ..Group::default() });
    builder
        .tensor("a", &[5, 5])
        .tensor_in(other, "b", &[2])
        .tensor_in(frozen, "c", &[33])
        .tensor("d", &[64])
        .tensor_in(other, "e", &[5])
        .tensor("f", &[]);
    builder.build().unwrap()
}

const LEN: usize = 130;
const SCOPES: [Scope; 2] = [Scope::PerGroup, Scope::PerTensor];

fn dimer(scope: Scope) -> Dimer {
    Dimer {
        scope,
        schedule: Schedule::Every(2),
        correction: Correction::EveryStep,
        ..fixed_dimer(0.02, 1.0, 1.0)
    }
}

/// ½ θᵀHθ with its product.
struct Quadratic<'a>(&'a Matrix);

impl Objective for Quadratic<'_> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let product = self.0.product(&at.read_params()?);
        at.write_gradient(&product.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let (_, direction) = at.read()?;
        let product = self.0.product(&direction);
        at.write(&product.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }
}

fn matrix() -> Matrix {
    Matrix::new(&mut rng(1), (0..LEN).map(|i| i as f64 / 13.0 - 5.0).collect())
}

/// Eight steps, four of them events, of every scope, difference, base and translation. Products are
/// good to 64 units of |g| ≤ 100 times √B; N turns by 0.02 of that in each event, and the spectrum
/// stretches what was there by 1 + 0.02 · 10. The saddle-free step is as in tests/saddle_free.rs.
#[test]
fn matches_the_reference() {
    let (layout, matrix) = (layout(), matrix());
    let start = vector(&mut rng(2), LEN, Kind::Plain);
    let saddle_free = Translation::SaddleFree(SaddleFree {
        trust: 1.0,
        damping: 1e-2,
        kick: 0.1,
        significance: 0.0,
    });
    let project = Translation::Project(Projection { alpha: 1.0, only_negative_curvature: true });
    for scope in SCOPES {
        for (base, translation, difference, rate) in [
            (SGD, project, Difference::Forward, RotationRate::Fixed(0.02)),
            (MOMENTUM, saddle_free, Difference::Central, RotationRate::Fixed(0.02)),
            (ADAMW, saddle_free, Difference::Exact, RotationRate::Automatic),
            (ADAM, project, Difference::Central, RotationRate::Automatic),
        ] {
            let rotation = Rotation::gradient(rate);
            let dimer = Dimer { translation, difference, rotation, ..dimer(scope) };
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(1e-3),
                max_gradient_norm: Some(20.0),
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let mut optimizer =
                Optimizer::new(&gpu(), layout.clone(), config.clone(), &start).unwrap();
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
            let mut objective = Quadratic(&matrix);
            let mut opened = false;
            for step in 0..8 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| matrix.product_wide(params));
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                println!("{scope:?} {base:?} {step}: {record:?}");
                assert_within("C", record.curvature.into(), reference.curvature, 2e-3);
                let norm = f64::from(record.gradient_norm.unwrap());
                let expected = reference::norm(&matrix.product_wide(&reference.params));
                assert_within("‖g‖", norm, expected, 3.0);
                assert_eq!(u64::from(record.updates), step + 1);
                assert_eq!(u64::from(record.rotations), u64::div_ceil(step, 2));
                opened |= reference.regions.iter().any(|region| region.shift != 0.0);
            }
            assert_eq!(opened, translation == saddle_free);
            let n = optimizer.read_orientation().unwrap().unwrap_or_default();
            assert!(n[27..60].iter().all(|&n| n == 0.0), "out of reach");
            assert_all_within("N", &n, &reference.orientation, |_| 1e-3);
            let moved = reference.orientation.iter().zip(&orientation).map(|(a, b)| (a - b).abs());
            assert!(moved.fold(0.0, f64::max) > 0.02, "it turned");
            let found = optimizer.read_params().unwrap();
            let longest = 1e-3 * (64.0_f64).sqrt() + 8.0 * 1e-3;
            assert_all_within("θ", &found, &reference.params, |_| 8.0 * 3e-3 * longest);
            let regions = optimizer.read_regions().unwrap();
            assert_eq!(pollster::block_on(optimizer.read_regions_async()).unwrap(), regions);
            let expected = reference.regions.iter().filter(|region| !region.curvatures.is_empty());
            let expected: Vec<_> = expected.collect();
            assert_eq!(regions.len(), if scope == Scope::PerGroup { 2 } else { 5 });
            assert_eq!(regions.len(), expected.len());
            for (region, expected) in regions.iter().zip(expected) {
                assert_within("C", region.curvature.into(), expected.curvature, 2e-3);
                assert_within("mean", region.curvature_mean.into(), expected.curvature_mean, 2e-3);
                assert_within(
                    "error",
                    region.curvature_error.into(),
                    expected.curvature_error,
                    2e-3,
                );
                assert_within("shift", region.shift.into(), expected.shift, 1e-4);
            }
            let names: Vec<_> = regions.iter().map(|region| region.tensors.join("+")).collect();
            let expected: &[&str] = match scope {
                Scope::PerGroup => &["a+d+f", "b+e"],
                _ => &["a", "b", "d", "e", "f"],
            };
            assert_eq!(names, expected);
        }
    }
}

/// The estimate of each block's curvature, Nᵦ·Hᵦᵦ Nᵦ, over 400 events at a standing N: its mean is
/// right within four standard errors, while that of one displacement with all signs alike is off by
/// the cross-block terms, far more than that.
#[test]
fn random_signs_are_unbiased_and_a_common_sign_is_not() {
    let mut builder = Layout::builder();
    builder.tensor("a", &[10]).tensor("b", &[20]).tensor("c", &[30]);
    let layout = builder.build().unwrap();
    let bounds = [0..10, 10..30, 30..60];
    let matrix = Matrix::new(&mut rng(3), (0..60).map(|i| 0.1 * f64::from(i) - 1.0).collect());
    // So slow that N stays.
    let rotation = Rotation::gradient(RotationRate::Fixed(1e-12));
    let dimer = Dimer { rotation, schedule: Schedule::Every(1), ..dimer(Scope::PerTensor) };
    let config =
        Config { learning_rate: LearningRate::Fixed(0.0), dimer: Some(dimer), ..fixed_rate() };
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[0.0; 60]).unwrap();
    let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let mut found = [const { Vec::new() }; 3];
    for _ in 0..400 {
        optimizer.rotate(&mut Quadratic(&matrix)).unwrap();
        for (found, region) in found.iter_mut().zip(optimizer.read_regions().unwrap()) {
            found.push(f64::from(region.curvature));
        }
    }
    let naive = matrix.product_wide(&n);
    let mut biased = 0;
    for (range, found) in bounds.into_iter().zip(&found) {
        let mut block = vec![0.0; 60];
        block[range.clone()].copy_from_slice(&n[range.clone()]);
        let exact = reference::dot(&block, &matrix.product_wide(&block));
        let naive = reference::dot(&n[range.clone()], &naive[range]);
        let count = found.len() as f64;
        let mean = found.iter().sum::<f64>() / count;
        let variance = found.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let error = (variance / count).sqrt();
        println!("exact {exact:.4}, mean {mean:.4} ± {error:.4}, common sign {naive:.4}");
        assert_within("mean", mean, exact, 4.0 * error);
        assert!(error > 0.0, "the estimate is not exact");
        biased += u32::from((naive - exact).abs() > 8.0 * error);
    }
    assert!(biased >= 2, "{biased} of 3 blocks");
}

/// Signs are fair, and different from step to step and region to region.
#[test]
fn signs_are_fair() {
    let mean = |signs: &mut dyn Iterator<Item = f64>| signs.sum::<f64>() / 10_000.0;
    // Four standard errors of the mean of 10⁴ signs.
    let bound = 0.04;
    for seed in 0..3 {
        assert_within("over steps", mean(&mut (0..10_000).map(|i| sign(i, 1, seed))), 0.0, bound);
        assert_within("over regions", mean(&mut (0..10_000).map(|i| sign(1, i, seed))), 0.0, bound);
        let pairs = &mut (0..10_000).map(|i| sign(i, 1, seed) * sign(i, 2, seed));
        assert_within("together", mean(pairs), 0.0, bound);
    }
}

/// One tensor and one group equal the global dimer, but for a sign.
#[test]
fn one_region_is_the_global_dimer() {
    let matrix = matrix();
    let start = vector(&mut rng(4), LEN, Kind::Plain);
    let run = |scope| {
        let config = Config { dimer: Some(dimer(scope)), ..fixed_rate() };
        let mut optimizer = flat(config, &start);
        for _ in 0..6 {
            optimizer.step(&mut Quadratic(&matrix)).unwrap();
        }
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        (optimizer.read_params().unwrap(), n)
    };
    let (theta, n) = run(Scope::Global);
    for scope in SCOPES {
        let (found, found_n) = run(scope);
        assert_all_within("θ", &found, &wide(&theta), |_| 1e-6);
        assert_all_within("N", &found_n, &wide(&n), |_| 1e-5);
    }
}

/// A NaN in any region leaves all of them as they were.
#[test]
fn a_non_finite_region_skips_the_step() {
    struct Poisoned<'a>(&'a Matrix, Option<usize>);
    impl Objective for Poisoned<'_> {
        fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
            let mut product: Vec<f32> =
                self.0.product(&at.read_params()?).iter().map(|x| *x as f32).collect();
            if let Some(index) = self.1 {
                product[index] = f32::NAN;
            }
            at.write_gradient(&product)
        }
    }
    let matrix = matrix();
    let start = vector(&mut rng(5), LEN, Kind::Plain);
    for poisoned in [0, 26, 40, 129] {
        let config = Config { dimer: Some(dimer(Scope::PerTensor)), ..fixed_rate() };
        let mut optimizer = Optimizer::new(&gpu(), layout(), config, &start).unwrap();
        let state = |optimizer: &Optimizer| {
            let n = optimizer.read_orientation().unwrap().unwrap_or_default();
            let curvatures = optimizer.read_regions().unwrap();
            let curvatures: Vec<_> = curvatures.iter().map(|r| r.curvature.to_bits()).collect();
            (bits(&optimizer.read_params().unwrap()), bits(&n), curvatures)
        };
        for step in 0..8 {
            // An event, and a step after it.
            let poison = (step == 3 || step == 4).then_some(poisoned);
            let before = state(&optimizer);
            optimizer.step(&mut Poisoned(&matrix, poison)).unwrap();
            let last = *optimizer.telemetry().unwrap().last().unwrap();
            assert_eq!(last.skipped, poison.is_some());
            assert_eq!(state(&optimizer) == before, poison.is_some());
        }
        let last = optimizer.read_regions().unwrap();
        assert!(last.iter().all(|region| region.curvature.is_finite()));
    }
}

#[test]
fn what_a_scope_cannot_have_is_an_error() {
    let scoped = dimer(Scope::PerTensor);
    let ritz = Rotation::locally_optimal(Regime::Stochastic);
    for (dimer, refused) in [
        (Dimer { rotation: ritz, ..scoped.clone() }, "a rotation by Rayleigh-Ritz"),
        (
            Dimer { displacement: Displacement::Automatic, ..scoped.clone() },
            "Displacement::Automatic",
        ),
        (Dimer { translation: Translation::Climb, ..scoped }, "Translation::Climb"),
    ] {
        let error = Config { dimer: Some(dimer), ..fixed_rate() }.validate().unwrap_err();
        assert!(matches!(error, Error::Unsupported { what, .. } if what == refused), "{error}");
    }
}
