//! Two dimers on one minibatch: each turns as it would alone, at the cost of one gradient at θ less, and an objective
//! that fails turns neither.

use crate::common::*;
use crate::matrix::{Matrix, Signed};
use crate::stiffest::rotations;
use dimer::{
    Base, Buffers, Config, Difference, Dimer, Displacement, Error, Evaluation, HessianProduct,
    Layout, Metric, Mode, Objective, Optimizer, Regime, RelativeDisplacement, Result, Rotation,
    Scope, StepInfo, Telemetry, Translation,
};
use rand::RngExt;

const LEN: usize = 66;
const DIFFERENCES: [Difference; 3] = [Difference::Forward, Difference::Central, Difference::Exact];
const DISPLACEMENTS: [Displacement; 3] = [
    Displacement::Absolute(0.1),
    Displacement::Relative(RelativeDisplacement { factor: 1e-2, minimum: 1e-3 }),
    Displacement::Automatic,
];

fn layout() -> Layout {
    let mut builder = Layout::builder();
    builder.tensor("a", &[5, 5]).tensor("b", &[41]);
    builder.build().unwrap()
}

fn matrix(seed: u64) -> Matrix {
    let mut rng = rng(seed);
    let eigenvalues = (0..LEN).map(|_| rng.random_range(-3.0..5.0)).collect();
    Matrix::new(&mut rng, eigenvalues)
}

fn dimer(seeks: Mode, dimer: &Dimer) -> Dimer {
    Dimer { seeks, translation: stiff_translation(dimer.difference), ..dimer.clone() }
}

/// One that goes with the stiffest mode.
fn stiff_translation(difference: Difference) -> Translation {
    match difference {
        Difference::Central => crate::stiffest::WATCHES,
        _ => Translation::None,
    }
}

fn optimizer(dimer: Dimer, params: &[f32]) -> Optimizer {
    let config = Config { base: ADAM, dimer: Some(dimer), ..fixed_rate() };
    Optimizer::new(&quick_gpu(), layout(), config, params).unwrap()
}

/// A loss that counts what it is asked for, and may fail.
struct Counted<'a> {
    inner: Signed<'a>,
    begun: Vec<StepInfo>,
    evaluations: u32,
    /// The evaluation that fails, counted from 0.
    fails: Option<u32>,
}

impl<'a> Counted<'a> {
    fn new(matrix: &'a Matrix) -> Self {
        let inner = Signed { matrix, sign: 1.0 };
        Self { inner, begun: Vec::new(), evaluations: 0, fails: None }
    }

    fn count(&mut self) -> Result<()> {
        self.evaluations += 1;
        if self.fails == Some(self.evaluations - 1) {
            self.fails = None;
            return Err(Error::objective("as planned"));
        }
        Ok(())
    }
}

impl Objective for Counted<'_> {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        self.begun.push(step);
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> Result<()> {
        self.count()?;
        self.inner.gradient(at)
    }

    fn hessian_product(&mut self, at: HessianProduct<'_>) -> Result<()> {
        self.count()?;
        self.inner.hessian_product(at)
    }
}

/// The numbers of an event that an error of any kind would change.
fn found(records: Vec<Telemetry>) -> Vec<[u32; 5]> {
    let numbers = |record: Telemetry| {
        let Telemetry { curvature, initial_curvature, residual, angle, displacement, .. } = record;
        [curvature, initial_curvature, residual, angle, displacement].map(f32::to_bits)
    };
    records.into_iter().map(numbers).collect()
}

/// Whatever the rotation, the difference, the displacement and the scope; and of the gradients, all but the second one
/// at θ.
#[test]
fn each_turns_as_it_would_alone() {
    let matrix = matrix(1);
    let params = vector(&mut rng(2), LEN, Kind::Plain);
    let mut compared = 0;
    for rotation in rotations() {
        for difference in DIFFERENCES {
            for displacement in DISPLACEMENTS {
                for scope in [Scope::Global, Scope::PerTensor] {
                    let all =
                        Dimer { rotation, difference, displacement, scope, ..Dimer::default() };
                    let ends = [Mode::Softest, Mode::Stiffest].map(|end| dimer(end, &all));
                    let config = Config { dimer: Some(ends[0].clone()), ..fixed_rate() };
                    if config.validate().is_err() {
                        continue;
                    }
                    compared += 1;
                    let alone = ends.clone().map(|dimer| {
                        let mut optimizer = optimizer(dimer, &params);
                        let mut objective = Counted::new(&matrix);
                        for _ in 0..3 {
                            optimizer.rotate(&mut objective).unwrap();
                        }
                        let evaluations = objective.evaluations;
                        (state(&optimizer), found(optimizer.telemetry().unwrap()), evaluations)
                    });
                    let [softest, stiffest] = ends;
                    let mut first = optimizer(softest, &params);
                    let mut second = first.second_dimer(stiffest).unwrap();
                    let mut objective = Counted::new(&matrix);
                    for _ in 0..3 {
                        first.rotate_both(&mut second, &mut objective).unwrap();
                    }
                    println!("{all:?}: {} evaluations", objective.evaluations);
                    let shared = if difference == Difference::Central { 0 } else { 3 };
                    let apart = alone[0].2 + alone[1].2;
                    assert_eq!(objective.evaluations, apart - shared);
                    let counted = first.gradient_evaluations() + second.gradient_evaluations();
                    assert_eq!(counted, f64::from(objective.evaluations));
                    assert_eq!(objective.begun.len(), 3, "one minibatch a rotation");
                    for (optimizer, (bits, records, _)) in
                        [&mut first, &mut second].into_iter().zip(alone)
                    {
                        assert_eq!(state(optimizer), bits);
                        let found = found(optimizer.telemetry().unwrap());
                        assert_eq!(found, records);
                    }
                }
            }
        }
    }
    assert!(compared > 30, "{compared}");
}

/// A failure at any evaluation turns neither dimer and costs nothing, and the retry gives the bits of an undisturbed
/// rotation. The objective submits at each evaluation.
#[test]
fn a_failure_turns_neither() {
    let matrix = matrix(3);
    let params = vector(&mut rng(4), LEN, Kind::Plain);
    let both = |fails: Option<u32>| {
        let ends = [Mode::Softest, Mode::Stiffest].map(|end| dimer(end, &Dimer::default()));
        let [softest, stiffest] = ends;
        let mut first = optimizer(softest, &params);
        let mut second = first.second_dimer(stiffest).unwrap();
        let mut objective = Counted::new(&matrix);
        first.rotate_both(&mut second, &mut objective).unwrap();
        let before = [state(&first), state(&second)];
        (objective.evaluations, objective.fails) = (0, fails);
        if fails.is_some() {
            let error = first.rotate_both(&mut second, &mut objective).unwrap_err();
            assert!(matches!(error, Error::Objective(_)), "{error}");
            assert_eq!([state(&first), state(&second)], before);
            assert_eq!((first.steps(), first.gradient_evaluations()), (1, 4.0));
            assert_eq!((second.steps(), second.gradient_evaluations()), (1, 3.0));
        }
        first.rotate_both(&mut second, &mut objective).unwrap();
        let records = [first.telemetry().unwrap(), second.telemetry().unwrap()].map(found);
        ([state(&first), state(&second)], records)
    };
    let undisturbed = both(None);
    for fails in 0..7 {
        assert_eq!(both(Some(fails)), undisturbed, "{fails}");
    }
}

/// A scaled loss and an objective that offers parts: the scale of the first dimer is that of both, and all 7 gradients
/// are of one part in 8, or of all where one of the dimers needs the whole minibatch.
#[test]
fn scale_and_parts_are_those_of_both() {
    struct Offers<'a>(Counted<'a>, f32);
    impl Objective for Offers<'_> {
        fn begin_step(&mut self, step: StepInfo) -> Result<()> {
            self.0.begin_step(step)
        }

        fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
            self.0.count()?;
            let theta = at.read_params()?;
            let product = self.0.inner.matrix.product(&theta);
            let scaled: Vec<f32> = product.iter().map(|x| self.1 * *x as f32).collect();
            at.write_gradient(&scaled)
        }

        fn parts(&self) -> u32 {
            24
        }
    }
    let matrix = matrix(8);
    let params = vector(&mut rng(9), LEN, Kind::Plain);
    let run = |scale: f32, stiffest: &Dimer| {
        let mut first = optimizer(dimer(Mode::Softest, &Dimer::default()), &params);
        let mut second = first.second_dimer(dimer(Mode::Stiffest, stiffest)).unwrap();
        first.set_loss_scale(scale.into()).unwrap();
        let mut objective = Offers(Counted::new(&matrix), scale);
        for _ in 0..4 {
            first.rotate_both(&mut second, &mut objective).unwrap();
        }
        let cost = first.gradient_evaluations() + second.gradient_evaluations();
        let parts: Vec<u32> = objective.0.begun.iter().map(|step| step.part.of).collect();
        let records = [first.telemetry().unwrap(), second.telemetry().unwrap()].map(found);
        (records, parts, cost)
    };
    let (plain, parts, cost) = run(1.0, &Dimer::default());
    assert_eq!(parts, [8; 4]);
    assert_within("gradients", cost, 4.0 * 7.0 / 8.0, 1e-9);
    assert_eq!(run(1024.0, &Dimer::default()).0, plain);
    let regime = Regime::rotations(3);
    let whole = Dimer { rotation: Rotation::locally_optimal(regime), ..Dimer::default() };
    assert_eq!(run(1.0, &whole).1, [1; 4]);
}

/// Both ends of a spectrum, and where the training does not need its dimer for them: the steps of the base optimizer
/// keep their bits.
#[test]
fn finds_both_ends_while_training() {
    let eigenvalues: Vec<f64> = (0..LEN as i32).map(|i| f64::from(i - 6) / 10.0).collect();
    let (low, high) = (eigenvalues[0], eigenvalues[LEN - 1]);
    let matrix = Matrix::new(&mut rng(5), eigenvalues);
    let params = vector(&mut rng(6), LEN, Kind::Plain);
    let watching = |seeks| dimer(seeks, &Dimer { schedule: NEVER, ..Dimer::default() });
    let mut first = optimizer(watching(Mode::Softest), &params);
    let mut second = first.second_dimer(watching(Mode::Stiffest)).unwrap();
    let mut alone = optimizer(watching(Mode::Softest), &params);
    let mut objective = matrix.objective(1.0);
    for _ in 0..40 {
        first.step(&mut objective).unwrap();
        first.rotate_both(&mut second, &mut objective).unwrap();
        alone.step(&mut objective).unwrap();
    }
    assert_eq!(state(&first).0, state(&alone).0);
    for (optimizer, seeks, expected) in
        [(&mut first, Mode::Softest, low), (&mut second, Mode::Stiffest, high)]
    {
        let records = optimizer.telemetry().unwrap();
        let last = records.iter().rfind(|record| record.event).unwrap();
        println!("{seeks:?}: {} of {expected}, ‖F‖ {}", last.curvature, last.residual);
        assert!(last.resolved && last.seeks == seeks);
        assert_within("C", last.curvature.into(), expected, 0.05);
    }
}

/// No step of a test comes so far.
const NEVER: dimer::Schedule = dimer::Schedule::Every(1_000_000);

#[test]
fn what_does_not_go_together() {
    let params = vec![0.5; LEN];
    let softest = dimer(Mode::Softest, &Dimer::default());
    let stiffest = dimer(Mode::Stiffest, &Dimer::default());
    let mut first = optimizer(softest.clone(), &params);
    let preconditioned = Dimer { metric: Metric::Preconditioner, ..stiffest.clone() };
    let error = first.second_dimer(preconditioned).unwrap_err();
    assert!(error.to_string().contains("Metric::Preconditioner"), "{error}");
    // What would move along N does not count.
    let moving = Dimer { seeks: Mode::Stiffest, ..Dimer::default() };
    let watching = first.second_dimer(moving).unwrap();
    assert_eq!(watching.config().dimer.as_ref().unwrap().translation, Translation::None);
    let base: Base = ADAM;
    let plain = Config { base, dimer: None, ..fixed_rate() };
    let plain = Optimizer::new(&quick_gpu(), layout(), plain, &params).unwrap();
    let error = plain.second_dimer(stiffest.clone()).unwrap_err();
    assert!(error.to_string().contains("set `dimer`"), "{error}");

    let matrix = matrix(7);
    let mut objective = Counted::new(&matrix);
    let other = optimizer(softest, &params);
    let mut second = other.second_dimer(stiffest).unwrap();
    let error = first.rotate_both(&mut second, &mut objective).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!((objective.evaluations, objective.begun.len()), (0, 0));

    // By hand, with a gradient of its own.
    let params = Some(first.params().clone());
    let buffers = Buffers { params, ..Buffers::default() };
    let config = second.config().clone();
    let mut apart = Optimizer::with_buffers(first.gpu(), layout(), config, buffers).unwrap();
    let error = first.rotate_both(&mut apart, &mut objective).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}
