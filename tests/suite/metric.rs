//! Curvature in the metric of Adam's preconditioner: every rotation against the reference, and against the eigenvalues
//! of P^(−½) H P^(−½).

use crate::common::*;
use crate::matrix::{Matrix, Signed};
use crate::stiffest::rotations;
use dimer::reference::Reference;
use dimer::{
    Base, Config, Difference, Dimer, Displacement, Error, Evaluation, Group, Layout, LearningRate,
    Metric, Mode, Objective, Optimizer, Point, Regime, RelativeDisplacement, Rotation, Schedule,
    Scope, Storage, Translation,
};
use nalgebra::DMatrix;
use rand::RngExt;

/// Tensors of four groups, one of them with a rate of its own, one frozen and one without dimer.
fn layout() -> Layout {
    let mut builder = Layout::builder();
    let fast = builder.group(Group { learning_rate_scale: 4.0, ..Group::default() });
    let frozen = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
    let outside = builder.group(Group { dimer: false, ..Group::default() });
    builder.tensor("a", &[5, 5]).tensor_in(fast, "b", &[21]);
    builder.tensor_in(frozen, "c", &[3]).tensor_in(outside, "d", &[6]).tensor("e", &[70]);
    builder.build().unwrap()
}

const LEN: usize = 125;

fn matrix(seed: u64) -> Matrix {
    let mut rng = rng(seed);
    let eigenvalues = (0..LEN).map(|_| rng.random_range(-2.0..5.0)).collect();
    Matrix::new(&mut rng, eigenvalues)
}

fn gradient(matrix: &Matrix, theta: &[f64]) -> Vec<f64> {
    let product = matrix.product_wide(theta);
    product.iter().zip(theta).map(|(h, x)| h + 0.1 * x * x).collect()
}

fn watching(seeks: Mode, rotation: Rotation) -> Dimer {
    Dimer {
        seeks,
        rotation,
        metric: Metric::Preconditioner,
        displacement: Displacement::Absolute(0.1),
        translation: Translation::None,
        ..Dimer::default()
    }
}

/// Every rotation, both ends, Adam and AdamW with a clip, forward differences and exact products, at a fixed distance
/// and at one relative to ‖θ‖: C, ‖F‖, N and θ after each of six steps, of which every second is an event.
///
/// C is of the order of ‖s‖² ‖H‖ ~ 10: a rounding of |g| ~ 20 over ΔR = 0.1, times ‖s d‖ ‖s n‖ ~ 1, is 2·10⁻⁵, and N
/// follows it by that over gaps of 10⁻².
#[test]
fn matches_the_reference() {
    let matrix = matrix(1);
    let params = vector(&mut rng(2), LEN, Kind::Plain);
    let displacements = [
        Displacement::Absolute(0.1),
        Displacement::Relative(RelativeDisplacement { factor: 1e-2, minimum: 1e-3 }),
    ];
    let mut compared = 0;
    for (index, rotation) in rotations().into_iter().enumerate() {
        for seeks in [Mode::Softest, Mode::Stiffest] {
            for difference in [Difference::Forward, Difference::Exact] {
                for (displacement, base) in displacements.into_iter().zip([ADAM, ADAMW]) {
                    let schedule = Schedule::Every(2);
                    let config = Config {
                        base,
                        learning_rate: LearningRate::Fixed(1e-2),
                        max_gradient_norm: (index % 2 == 0).then_some(3.0),
                        dimer: Some(Dimer {
                            difference,
                            displacement,
                            schedule,
                            ..watching(seeks, rotation)
                        }),
                        ..fixed_rate()
                    };
                    println!("{config:?}");
                    let mut optimizer =
                        Optimizer::new(&quick_gpu(), layout(), config.clone(), &params).unwrap();
                    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
                    let mut reference =
                        Reference::new(&layout(), config, &wide(&params), &orientation);
                    let mut objective = Signed { matrix: &matrix, sign: 1.0 };
                    for _ in 0..6 {
                        optimizer.step(&mut objective).unwrap();
                        reference.step(|theta| gradient(&matrix, theta));
                        let record = *optimizer.telemetry().unwrap().last().unwrap();
                        let size = 1.0 + reference.curvature.abs();
                        let (c, residual) = (record.curvature.into(), record.residual.into());
                        assert_within("C", c, reference.curvature, 2e-3 * size);
                        assert_within("‖F‖", residual, reference.residual, 1e-2 * size);
                    }
                    let n = optimizer.read_orientation().unwrap().unwrap();
                    assert_all_within("N", &n, &reference.orientation, |_| 1e-2);
                    let theta = optimizer.read_params().unwrap();
                    assert_all_within("θ", &theta, &reference.params, |_| 1e-3);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 8 * 2 * 2 * 2);
}

/// Both ends of P^(−½) H P^(−½), with P from the moments and the eigenvalues by nalgebra, from no other code of ours.
#[test]
fn reaches_the_eigenvalues_of_the_preconditioned_hessian() {
    for (seed, base, storage) in
        [(3, ADAMW, Storage::F32), (4, ADAM, Storage::F32), (5, ADAMW, Storage::Bf16)]
    {
        let mut rng = rng(seed);
        let len = 100;
        // Curvatures and gradients of many sizes, so that the metric matters.
        let sizes: Vec<f64> = (0..len).map(|_| 10_f64.powf(rng.random_range(-2.0..1.0))).collect();
        let eigenvalues = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
        let inner = Matrix::new(&mut rng, eigenvalues);
        let hessian = DMatrix::from_fn(len, len, |i, j| {
            let unit: Vec<f64> = (0..len).map(|k| f64::from(u8::from(k == j))).collect();
            sizes[i] * inner.product_wide(&unit)[i] * sizes[j]
        });
        let product = |theta: &[f64]| {
            (&hessian * nalgebra::DVector::from_column_slice(theta)).as_slice().to_vec()
        };
        let mut objective = dimer::HostObjective::new(|theta: &[f32], g: &mut [f32]| {
            let found = product(&wide(theta));
            g.iter_mut().zip(found).for_each(|(g, x)| *g = x as f32);
            0.0
        });
        let params = vector(&mut rng, len, Kind::Plain);
        for seeks in [Mode::Softest, Mode::Stiffest] {
            let (regime, events) = match storage {
                Storage::Bf16 => (Regime::Stochastic, 60),
                _ => (Regime::rotations(40), 3),
            };
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(1e-3),
                weight_decay: 0.0,
                storage,
                dimer: Some(watching(seeks, Rotation::locally_optimal(regime))),
                ..fixed_rate()
            };
            let mut optimizer = flat(config, &params);
            // What the moments hold after these steps.
            let (mut squares, steps) = (vec![0.0_f64; len], 7);
            for _ in 0..steps {
                let g = product(&wide(&optimizer.read_params().unwrap()));
                squares.iter_mut().zip(&g).for_each(|(v, g)| *v = 0.999 * *v + 0.001 * g * g);
                optimizer.step(&mut objective).unwrap();
            }
            for _ in 0..events {
                optimizer.rotate(&mut objective).unwrap();
            }
            let correction = 1.0 - 0.999_f64.powi(steps);
            let root: Vec<f64> =
                squares.iter().map(|v| ((v / correction).sqrt() + 1e-8).sqrt().recip()).collect();
            let scaled = DMatrix::from_fn(len, len, |i, j| root[i] * hessian[(i, j)] * root[j]);
            let eigenvalues = scaled.symmetric_eigenvalues();
            let expected =
                if seeks == Mode::Softest { eigenvalues.min() } else { eigenvalues.max() };
            let curvature = f64::from(optimizer.read_curvature().unwrap());
            println!("{base:?} {storage:?} {seeks:?}: {curvature}, eigenvalue {expected}");
            // N of bf16 is off by 2⁻⁹ of its elements, in every direction.
            let bound = if storage == Storage::Bf16 { 0.05 } else { 1e-3 };
            assert_within("C", curvature, expected, bound * expected.abs());
            let last = *optimizer.telemetry().unwrap().last().unwrap();
            assert!(last.resolved, "{last:?}");
        }
    }
}

/// A quadratic that notes how far from θ it is asked.
struct Distances {
    h: Vec<f32>,
    params: Vec<f32>,
    found: Vec<f64>,
}

impl Objective for Distances {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let theta = at.read_params()?;
        match at.point {
            Point::Centre => self.params.clone_from(&theta),
            _ => {
                let squares = theta.iter().zip(&self.params).map(|(x, y)| f64::from(x - y).powi(2));
                self.found.push(squares.sum::<f64>().sqrt());
            }
        }
        let gradient: Vec<f32> = theta.iter().zip(&self.h).map(|(x, h)| h * x).collect();
        at.write_gradient(&gradient)
    }
}

/// Vectors beyond one binding: the norm of the scaled direction is taken over all shards, and so each probe lies ΔR
/// from θ.
#[test]
fn crosses_shards() {
    let (mut rng, len) = (rng(10), 100_003);
    let h: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..3.0)).collect();
    let params = vector(&mut rng, len, Kind::Plain);
    let rotation = Rotation::locally_optimal(Regime::Stochastic);
    let dimer = Dimer { schedule: Schedule::Every(2), ..watching(Mode::Stiffest, rotation) };
    let config =
        Config { learning_rate: LearningRate::Fixed(1e-3), dimer: Some(dimer), ..fixed_rate() };
    let layout = Layout::flat(len).unwrap();
    let mut optimizer =
        Optimizer::new(&small_gpu(), layout.clone(), config.clone(), &params).unwrap();
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
    let mut reference = Reference::new(&layout, config, &wide(&params), &orientation);
    let mut objective = Distances { h: h.clone(), params: Vec::new(), found: Vec::new() };
    for _ in 0..6 {
        optimizer.step(&mut objective).unwrap();
        reference.step(|theta| theta.iter().zip(&h).map(|(x, &h)| f64::from(h) * x).collect());
    }
    let curvature = f64::from(optimizer.read_curvature().unwrap());
    assert_within("C", curvature, reference.curvature, 1e-3 * reference.curvature);
    assert_eq!(objective.found.len(), 9);
    // Each element is rounded to 2⁻²⁴, of 0.1 / √len.
    objective.found.iter().for_each(|&distance| assert_within("ΔR", distance, 0.1, 1e-5));
}

/// Before the first step there are no moments, and the metric is that of the groups' rates alone.
#[test]
fn is_that_of_the_parameters_before_the_first_step() {
    let matrix = matrix(6);
    let params = vector(&mut rng(7), LEN, Kind::Plain);
    let rotation = Rotation::locally_optimal(Regime::rotations(30));
    let curvature = |metric| {
        let dimer = Dimer { metric, ..watching(Mode::Stiffest, rotation) };
        let config = Config { dimer: Some(dimer), ..fixed_rate() };
        let mut optimizer = flat(config, &params);
        optimizer.rotate(&mut Signed { matrix: &matrix, sign: 1.0 }).unwrap();
        f64::from(optimizer.read_curvature().unwrap())
    };
    let euclidean = curvature(Metric::Euclidean);
    assert_within("C", curvature(Metric::Preconditioner), euclidean, 1e-4 * euclidean);
}

/// Watching in this metric changes no bit of the steps either, in both formats, sharded and not.
#[test]
fn watching_changes_no_bit() {
    let matrix = matrix(8);
    let params = vector(&mut rng(9), LEN, Kind::Plain);
    for base in [ADAM, ADAMW] {
        for storage in [Storage::F32, Storage::Bf16] {
            for gpu in [quick_gpu(), small_gpu()] {
                let run = |dimer| {
                    let config = Config { base, storage, dimer, ..fixed_rate() };
                    let mut optimizer = Optimizer::new(&gpu, layout(), config, &params).unwrap();
                    for _ in 0..12 {
                        optimizer.step(&mut Signed { matrix: &matrix, sign: 1.0 }).unwrap();
                    }
                    bits(&optimizer.read_params().unwrap())
                };
                let rotation = Rotation::locally_optimal(Regime::Stochastic);
                let dimer =
                    Dimer { schedule: Schedule::Every(2), ..watching(Mode::Stiffest, rotation) };
                assert_eq!(run(None), run(Some(dimer)));
            }
        }
    }
}

/// What does not go together is refused, with what to do.
#[test]
fn settings_are_checked() {
    let rotation = Rotation::gradient(dimer::RotationRate::Automatic);
    let watching = watching(Mode::Stiffest, rotation);
    let refused = |base: Base, dimer: Dimer| {
        let error = Config { base, dimer: Some(dimer), ..fixed_rate() }.validate().unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { what: "Metric::Preconditioner", .. }),
            "{error}"
        );
    };
    for base in BASES {
        if matches!(base, Base::Adam(_) | Base::AdamW(_)) {
            let config = Config { base, dimer: Some(watching.clone()), ..fixed_rate() };
            config.validate().unwrap();
        } else {
            refused(base, watching.clone());
        }
    }
    let project = Translation::Project(Default::default());
    refused(ADAMW, Dimer { translation: project, ..watching.clone() });
    refused(ADAMW, Dimer { scope: Scope::PerTensor, ..watching.clone() });
    refused(ADAMW, Dimer { displacement: Displacement::Automatic, ..watching });
}
