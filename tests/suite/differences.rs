//! How the Hessian along a direction is measured: forward, central and exact products, with every
//! rotation, against the reference; their errors; and the automatic displacement.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::reference::{self, Reference};
use dimer::{
    Config, Correction, Difference, Dimer, Displacement, Error, Evaluation, HessianProduct,
    HostObjective, Layout, LearningRate, Objective, Optimizer, Point, Regime, Rotation,
    RotationRate, Schedule,
};

const LEN: usize = 130;
const DIFFERENCES: [Difference; 3] = [Difference::Forward, Difference::Central, Difference::Exact];

/// Every rotation, with the directions that an event measures along.
fn rotations() -> [(Rotation, u64); 5] {
    [
        (Rotation::gradient(RotationRate::Fixed(0.05)), 1),
        (Rotation::optimal_angle(Regime::Stochastic), 2),
        (Rotation::locally_optimal(Regime::Stochastic), 3),
        (Rotation::optimal_angle(Regime::rotations(3)), 4),
        (Rotation::locally_optimal(Regime::rotations(3)), 4),
    ]
}

/// ½ θᵀHθ, which counts how often it is asked for what.
struct Counted<'a> {
    matrix: &'a Matrix,
    centres: u64,
    probes: u64,
    products: u64,
}

impl<'a> Counted<'a> {
    fn new(matrix: &'a Matrix) -> Self {
        Self { matrix, centres: 0, probes: 0, products: 0 }
    }
}

impl Objective for Counted<'_> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        match at.point {
            Point::Centre => self.centres += 1,
            _ => self.probes += 1,
        }
        let product = self.matrix.product(&at.read_params()?);
        at.write_gradient(&product.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        self.products += 1;
        let (_, direction) = at.read()?;
        let product = self.matrix.product(&direction);
        at.write(&product.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }
}

fn dimer(rotation: Rotation, difference: Difference) -> Dimer {
    Dimer {
        rotation,
        difference,
        schedule: Schedule::Every(2),
        correction: Correction::EveryStep,
        displacement: Displacement::Absolute(1.0),
        ..Dimer::default()
    }
}

/// Six steps of every rotation by every difference, three of them events. On a quadratic all three
/// are exact but for rounding, at a distance of 1 by 4 units of |g| ≤ 100; a Ritz value adds 20 units
/// of the spectrum's width for each rotation, as in tests/locally_optimal.rs. A rotation by gradient
/// turns that error once more, by η times the width.
#[test]
fn match_the_reference() {
    let mut rng = rng(3);
    let eigenvalues: Vec<f64> = (0..LEN).map(|i| i as f64 / 13.0 - 2.0).collect();
    let matrix = Matrix::new(&mut rng, eigenvalues);
    let start = vector(&mut rng, LEN, Kind::Plain);
    let layout = Layout::flat(LEN).unwrap();
    for (rotation, directions) in rotations() {
        for difference in DIFFERENCES {
            let dimer = dimer(rotation, difference);
            let config = Config {
                learning_rate: LearningRate::Fixed(1e-4),
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let mut optimizer = flat(config.clone(), &start);
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
            let mut objective = Counted::new(&matrix);
            for step in 0..6 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| matrix.product_wide(params));
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                let bound = 20.0 * UNIT * 10.0 * f64::from(record.rotations) * 12.0;
                println!("{rotation:?} {difference:?} {step}: {record:?}, {}", reference.curvature);
                assert_within("C", record.curvature.into(), reference.curvature, bound);
            }
            let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            assert!(reference::dot(&n, &orientation).abs() < 0.99, "it turned");
            let cosine = reference::dot(&n, &reference.orientation).abs();
            assert_within("|N·N'|", cosine, 1.0, 1e-4);
            // The centre of a central event is the mean of its first pair.
            let expected = match difference {
                Difference::Forward => (6, 3 * directions, 0),
                Difference::Central => (3, 6 * directions, 0),
                Difference::Exact => (6, 0, 3 * directions),
                other => panic!("{other:?}"),
            };
            let found = (objective.centres, objective.probes, objective.products);
            assert_eq!(found, expected, "{rotation:?} {difference:?}");
            let evaluations = optimizer.gradient_evaluations();
            assert_eq!(evaluations, (expected.0 + expected.1 + expected.2) as f64);
            // θ: six steps of AdamW at 10⁻⁴, whose direction is good to the gradient's own error.
            let moved: Vec<f64> =
                reference.params.iter().zip(&start).map(|(a, b)| a - f64::from(*b)).collect();
            assert!(reference::norm(&moved) > 1e-3);
            let found = optimizer.read_params().unwrap();
            assert_all_within("θ", &found, &reference.params, |_| 6.0 * 1e-4 * 1e-2);
        }
    }
}

/// ⅙ k x³ + ½ h x² + ½ ‖y‖² along the first axis: the forward difference along it is
/// h + k x + ½ k ΔR, the central one h + k x.
fn cubic(h: f32, k: f32) -> impl Objective {
    HostObjective::new(move |theta: &[f32], gradient: &mut [f32]| {
        gradient.copy_from_slice(theta);
        gradient[0] = h * theta[0] + 0.5 * k * theta[0] * theta[0];
        0.0
    })
    .with_hessian_product(move |theta: &[f32], direction: &[f32], product: &mut [f32]| {
        product.copy_from_slice(direction);
        product[0] = (h + k * theta[0]) * direction[0];
    })
}

fn along_the_first_axis(dimer: Dimer) -> Optimizer {
    let mut theta = vec![0.0; 70];
    theta[0] = 0.5;
    let optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &theta);
    let mut axis = vec![0.0; 70];
    axis[0] = 1.0;
    optimizer.write_orientation(&axis).unwrap();
    optimizer
}

/// The error of a forward difference grows with ΔR, that of a central one with its square, and an
/// exact product has none.
#[test]
fn errors_are_of_their_order() {
    for (difference, error) in
        [(Difference::Forward, 0.5 * 0.25), (Difference::Central, 0.0), (Difference::Exact, 0.0)]
    {
        let rotation = Rotation::gradient(RotationRate::Fixed(1e-6));
        let displacement = Displacement::Absolute(0.25);
        let mut optimizer =
            along_the_first_axis(Dimer { displacement, ..dimer(rotation, difference) });
        optimizer.rotate(&mut cubic(-2.0, 1.0)).unwrap();
        let found = f64::from(optimizer.read_curvature().unwrap());
        // Values are multiples of 2⁻⁸ below 4: nothing but the last division rounds.
        assert_within("C", found, -1.5 + error, 4.0 * UNIT);
    }
}

#[test]
fn central_events_have_no_loss() {
    let rotation = Rotation::locally_optimal(Regime::Stochastic);
    let dimer = dimer(rotation, Difference::Central);
    let mut optimizer = flat(Config { dimer: Some(dimer), ..fixed_rate() }, &[1.0; 3]);
    let mut objective = quadratic(vec![1.0, 2.0, 3.0]);
    for _ in 0..4 {
        optimizer.step(&mut objective).unwrap();
    }
    let losses: Vec<bool> =
        optimizer.telemetry().unwrap().iter().map(|r| r.loss.is_some()).collect();
    assert_eq!(losses, [true, false, true, false]);
}

/// The same without callbacks; an exact product needs an objective that has one.
#[test]
fn without_callbacks() {
    let matrix = Matrix::new(&mut rng(4), (0..LEN).map(|i| i as f64 / 13.0 - 2.0).collect());
    let start = vector(&mut rng(5), LEN, Kind::Plain);
    for (rotation, _) in rotations() {
        let make = |difference| {
            let config = Config { dimer: Some(dimer(rotation, difference)), ..fixed_rate() };
            flat(config, &start)
        };
        let (mut by_callback, mut by_hand) = (make(Difference::Central), make(Difference::Central));
        for _ in 0..3 {
            by_callback.step(&mut Counted::new(&matrix)).unwrap();
            let gradient = |params: &[f32]| -> Vec<f32> {
                matrix.product(params).iter().map(|x| *x as f32).collect()
            };
            let centre = by_hand.read_params().unwrap();
            let probe_slice = by_hand.probe().unwrap().clone();
            let mut probes = Vec::new();
            let mut step = by_hand.begin_step().unwrap();
            step.write_gradient(Point::Centre, &gradient(&centre)).unwrap();
            while step.next_probe().unwrap().is_some() {
                let padded = read_from(&gpu(), &probe_slice);
                probes.push(gradient(&padded[..LEN]));
                step.write_gradient(Point::Probe, probes.last().unwrap()).unwrap();
            }
            step.finish().unwrap();
        }
        assert_eq!(
            bits(&by_callback.read_params().unwrap()),
            bits(&by_hand.read_params().unwrap())
        );
        assert_eq!(by_callback.gradient_evaluations(), by_hand.gradient_evaluations());

        let mut exact = make(Difference::Exact);
        let error = exact.begin_step().unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { what: "a step without an objective", .. }),
            "{error}"
        );
        exact.step(&mut Counted::new(&matrix)).unwrap();
        let before = bits(&exact.read_orientation().unwrap().unwrap_or_default());
        let error = exact.step(&mut matrix.objective(1.0)).unwrap_err();
        assert!(error.to_string().contains("with_hessian_product"), "{error}");
        assert_eq!(bits(&exact.read_orientation().unwrap().unwrap_or_default()), before);
        assert_eq!((exact.steps(), exact.gradient_evaluations()), (1, 1.0));
        exact.step(&mut Counted::new(&matrix)).unwrap();
    }
}

fn automatic(rotation: Rotation) -> Dimer {
    Dimer {
        displacement: Displacement::Automatic,
        schedule: Schedule::Every(1),
        ..dimer(rotation, Difference::Forward)
    }
}

/// Where the curvature changes fast, the distance shrinks; where it does not, it grows; and the error
/// that the telemetry expects is not below the true one, |C − h − k x|.
#[test]
fn automatic_displacement() {
    // A wide spread of how fast the curvature changes over a distance of 1.
    for (k, shrinks) in [(0.0, false), (1e-3, false), (10.0, false), (1e4, true)] {
        for (rotation, directions) in rotations() {
            let rotation = match rotation {
                // So slow that N stays.
                Rotation::Gradient { .. } => Rotation::gradient(RotationRate::Fixed(1e-12)),
                other => other,
            };
            let mut optimizer = along_the_first_axis(automatic(rotation));
            // The curvature is −2 at x = 0.5, the lowest, so that N stays.
            let mut objective = cubic(-2.0 - 0.5 * k, k);
            for _ in 0..12 {
                optimizer.rotate(&mut objective).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            for record in &records {
                let error = (f64::from(record.curvature) + 2.0).abs();
                let estimate = f64::from(record.difference_error);
                assert!(error <= 1.1 * estimate, "k {k}: {error:e} of {estimate:e}");
            }
            let (first, last) = (records[0].displacement, records[11].displacement);
            println!("{rotation:?} k {k}: from {first:e} to {last:e}");
            assert_within("first", first.into(), 3e-5, 1e-9);
            assert_eq!(last < first, shrinks, "k {k}: {first:e} to {last:e}");
            assert!((0.99e-6..=1.01e-2).contains(&last));
            let each = 2 + directions;
            assert_eq!(optimizer.gradient_evaluations(), (12 * each) as f64);
        }
    }
}

#[test]
fn automatic_displacement_matches_the_reference() {
    let matrix = Matrix::new(&mut rng(6), (0..LEN).map(|i| i as f64 / 13.0 - 2.0).collect());
    let start = vector(&mut rng(7), LEN, Kind::Plain);
    // A fourth power on top, so that the distance has something to adapt to.
    let gradient = |x: &[f64]| -> Vec<f64> {
        matrix.product_wide(x).iter().zip(x).map(|(h, x)| h + 50.0 * x * x * x).collect()
    };
    let mut objective = HostObjective::new(|x: &[f32], result: &mut [f32]| {
        result.iter_mut().zip(gradient(&wide(x))).for_each(|(r, g)| *r = g as f32);
        0.0
    });
    let dimer = automatic(Rotation::locally_optimal(Regime::Stochastic));
    let config = Config { dimer: Some(dimer.clone()), ..fixed_rate() };
    let mut optimizer = flat(config.clone(), &start);
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let layout = Layout::flat(LEN).unwrap();
    let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
    for _ in 0..4 {
        let distance = reference.distance(&dimer);
        optimizer.rotate(&mut objective).unwrap();
        let g1 = gradient(&reference.params);
        reference.rotate(&dimer, &g1, &mut |x| gradient(x));
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert_within("ΔR", record.displacement.into(), distance, 1e-5 * distance);
        println!("{record:?} {}", reference.difference_error);
    }
}

#[test]
fn automatic_displacement_needs_forward_differences() {
    for difference in [Difference::Central, Difference::Exact] {
        let rotation = Rotation::optimal_angle(Regime::Stochastic);
        let dimer = Dimer { difference, ..automatic(rotation) };
        let config = Config { dimer: Some(dimer), ..fixed_rate() };
        let error = config.validate().unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { what: "Displacement::Automatic", .. }),
            "{error}"
        );
    }
}
