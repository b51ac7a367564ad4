//! Events on part of the minibatch: all their gradients are of one part, the step is that of this part, and what they
//! cost is counted in gradients of the whole.

use crate::common::checkpoints::Scratch;
use crate::common::*;
use dimer::{
    Config, CurvatureRate, Difference, Dimer, Error, Evaluation, FullBatch, Layout, LearningRate,
    Objective, Optimizer, Part, Point, RateProbe, Regime, Result, Rotation, RotationRate, Schedule,
    StepInfo,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const LEN: usize = 37;

/// A minibatch of micro-batches, a quadratic each: ½ Σ hᵢ (θᵢ − cᵢ)², new ones in every step.
struct MicroBatches {
    parts: u32,
    step: Option<StepInfo>,
    /// What every evaluation was of.
    seen: Vec<(u64, Part, Point)>,
    fails: bool,
}

impl MicroBatches {
    const COUNT: usize = 24;

    fn new(parts: u32) -> Self {
        Self { parts, step: None, seen: Vec::new(), fails: false }
    }

    /// The mean gradient over a part.
    fn mean(index: u64, part: Part, theta: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0_f64; theta.len()];
        let range = part.range(Self::COUNT);
        for micro in range.clone() {
            let mut random = StdRng::seed_from_u64(1000 * index + micro as u64);
            for (g, x) in gradient.iter_mut().zip(theta) {
                let (h, c) = (random.random_range(-0.5..1.0), random.random_range(-1.0..1.0));
                *g += h * (f64::from(*x) - c);
            }
        }
        gradient.iter().map(|g| (g / range.len() as f64) as f32).collect()
    }
}

impl Objective for MicroBatches {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        self.step = Some(step);
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        if std::mem::take(&mut self.fails) {
            return Err(Error::objective("as planned"));
        }
        let StepInfo { index, part, .. } = self.step.expect("a step was begun");
        self.seen.push((index, part, at.point));
        let theta = at.read_params()?;
        at.write_gradient(&Self::mean(index, part, &theta))
    }

    fn parts(&self) -> u32 {
        self.parts
    }
}

fn config(rotation: Rotation, schedule: Schedule) -> Config {
    let dimer = Dimer { rotation, schedule, ..Dimer::default() };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

fn start() -> Vec<f32> {
    vector(&mut rng(1), LEN, Kind::Plain)
}

fn small(config: Config, params: &[f32]) -> Optimizer {
    Optimizer::new(&quick_gpu(), Layout::flat(LEN).unwrap(), config, params).unwrap()
}

const LOCALLY_OPTIMAL: Rotation = Rotation::locally_optimal(Regime::Stochastic);

/// As many parts as the event has gradients, or the next larger divisor of what the objective offers; every gradient
/// of a step is of the same part; and the count is exact, since every number of parts divides 24.
#[test]
fn an_event_costs_no_gradient_more_than_a_step() {
    let gradient = Rotation::gradient(RotationRate::Fixed(0.1));
    let angle = Rotation::optimal_angle(Regime::Stochastic);
    for (rotation, parts, of) in [
        (LOCALLY_OPTIMAL, 1, 1),
        (LOCALLY_OPTIMAL, 2, 2),
        (LOCALLY_OPTIMAL, 3, 3),
        (LOCALLY_OPTIMAL, 4, 4),
        (LOCALLY_OPTIMAL, 6, 6),
        (LOCALLY_OPTIMAL, 8, 4),
        (LOCALLY_OPTIMAL, 24, 4),
        (gradient, 4, 2),
        (gradient, 3, 3),
        (angle, 24, 3),
        (angle, 8, 4),
    ] {
        let mut optimizer = small(config(rotation, Schedule::Every(3)), &start());
        let mut objective = MicroBatches::new(parts);
        for _ in 0..60 {
            optimizer.step(&mut objective).unwrap();
        }
        let mut chosen = vec![0; of as usize];
        let mut cost = 0.0;
        for step in 0..60 {
            let evaluations: Vec<_> =
                objective.seen.iter().filter(|(index, ..)| *index == step).collect();
            let part = evaluations[0].1;
            assert!(evaluations.iter().all(|(_, other, _)| *other == part), "{evaluations:?}");
            let event = (step + 1) % 3 == 0;
            assert_eq!(part.of, if event { of } else { 1 }, "{rotation:?}, {parts} parts");
            cost += evaluations.len() as f64 / f64::from(part.of);
            if event {
                chosen[part.index as usize] += 1;
            }
        }
        println!("{rotation:?}, {parts} parts: {chosen:?}, {cost} gradients");
        assert!(chosen.iter().all(|&times| times > 0), "every part is used at times");
        assert_within("gradients", optimizer.gradient_evaluations(), cost, 1e-9);
        if parts >= 4 {
            assert!(cost <= 60.0);
        }
    }
}

/// The same bits as an objective that has only this part to give.
#[test]
fn the_step_is_that_of_the_part() {
    struct Given(MicroBatches, Vec<Part>);
    impl Objective for Given {
        fn begin_step(&mut self, step: StepInfo) -> Result<()> {
            assert_eq!(step.part, Part::WHOLE);
            let part = self.1[step.index as usize];
            self.0.begin_step(step)?;
            self.0.step.as_mut().unwrap().part = part;
            Ok(())
        }

        fn gradient(&mut self, at: Evaluation<'_>) -> Result<()> {
            self.0.gradient(at)
        }
    }
    let config = config(LOCALLY_OPTIMAL, Schedule::Every(2));
    let mut optimizer = small(config.clone(), &start());
    let mut objective = MicroBatches::new(4);
    for _ in 0..10 {
        optimizer.step(&mut objective).unwrap();
    }
    let part_of = |step| objective.seen.iter().find(|(index, ..)| *index == step).unwrap().1;
    let parts: Vec<Part> = (0..10).map(part_of).collect();
    let mut given = small(config, &start());
    let mut only = Given(MicroBatches::new(1), parts);
    for _ in 0..10 {
        given.step(&mut only).unwrap();
    }
    assert_eq!(state(&given), state(&optimizer));
    assert_eq!((optimizer.gradient_evaluations(), given.gradient_evaluations()), (10.0, 25.0));
}

/// A retry, and a resumed run, take the part that they would have taken.
#[test]
fn a_retry_and_a_resumed_run_use_the_same_parts() {
    let config = config(LOCALLY_OPTIMAL, Schedule::Every(2));
    let mut undisturbed = small(config.clone(), &start());
    let mut objective = MicroBatches::new(6);
    for _ in 0..12 {
        undisturbed.step(&mut objective).unwrap();
    }
    let scratch = Scratch::new();
    let mut optimizer = small(config.clone(), &start());
    let mut objective = MicroBatches::new(6);
    for _ in 0..5 {
        optimizer.step(&mut objective).unwrap();
    }
    objective.fails = true;
    optimizer.step(&mut objective).unwrap_err();
    optimizer.step(&mut objective).unwrap();
    optimizer.save(scratch.file()).unwrap();
    let mut resumed = small(config.clone(), &start());
    resumed.load(scratch.file()).unwrap();
    for _ in 6..12 {
        resumed.step(&mut objective).unwrap();
    }
    assert_eq!(state(&resumed), state(&undisturbed));
    assert_eq!(resumed.gradient_evaluations(), undisturbed.gradient_evaluations());
}

/// Where the loss is one, or minibatches repeat, events are of the whole minibatch.
#[test]
fn some_events_use_the_whole_minibatch() {
    let deterministic = Regime::FullBatch(FullBatch::default());
    let full = config(Rotation::locally_optimal(deterministic), Schedule::Every(2));
    let probe = RateProbe::RepeatedMinibatch;
    let repeated = Config {
        learning_rate: LearningRate::Curvature(CurvatureRate { probe, ..CurvatureRate::default() }),
        ..config(LOCALLY_OPTIMAL, Schedule::Every(2))
    };
    for config in [full, repeated] {
        let mut optimizer = small(config, &start());
        let mut objective = MicroBatches::new(24);
        for _ in 0..8 {
            optimizer.step(&mut objective).unwrap();
        }
        assert!(objective.seen.iter().all(|(_, part, _)| *part == Part::WHOLE));
        assert_eq!(optimizer.gradient_evaluations(), objective.seen.len() as f64);
    }
}

/// With a rate from curvature, whose probe counts among the gradients of the event; by central differences; and where
/// the parameters stay.
#[test]
fn other_events_on_a_part() {
    let rate = CurvatureRate { interval: 2, burn_in: 0, ..CurvatureRate::default() };
    let measured = Config {
        learning_rate: LearningRate::Curvature(rate),
        ..config(LOCALLY_OPTIMAL, Schedule::Every(3))
    };
    let mut optimizer = small(measured, &start());
    let mut objective = MicroBatches::new(24);
    for _ in 0..12 {
        optimizer.step(&mut objective).unwrap();
    }
    // Steps 2 and 8 measure the rate and are events: 5 gradients, of a sixth each.
    let of = |step| objective.seen.iter().find(|(index, ..)| *index == step).unwrap().1.of;
    assert_eq!([2, 5, 8, 11].map(of), [6, 4, 6, 4]);
    assert_within(
        "gradients",
        optimizer.gradient_evaluations(),
        8.0 + 4.0 + 2.0 * 5.0 / 6.0 + 2.0,
        1e-9,
    );

    let mut central = config(LOCALLY_OPTIMAL, Schedule::Every(2));
    central.dimer.as_mut().unwrap().difference = Difference::Central;
    let mut optimizer = small(central, &start());
    let mut objective = MicroBatches::new(24);
    for _ in 0..2 {
        optimizer.step(&mut objective).unwrap();
    }
    let event = objective.seen.iter().filter(|(index, ..)| *index == 1);
    let part = event.clone().next().unwrap().1;
    assert_eq!((event.count(), part.of), (6, 6));

    let mut optimizer = small(config(LOCALLY_OPTIMAL, Schedule::Every(2)), &start());
    let mut objective = MicroBatches::new(4);
    optimizer.rotate(&mut objective).unwrap();
    assert_eq!((optimizer.gradient_evaluations(), objective.seen.len()), (1.0, 4));
}
