//! Events on a part of the minibatch.

use std::collections::BTreeSet;

use crate::common::{BATCH, Network, batch, config, elements, flex, shared};
use burn::tensor::Tensor;
use dimer::{Config, CurvatureRate, Dimer, LearningRate, Mode, Optimizer, Part, Schedule};
use dimer_burn::{CurvatureTracker, DimerDevice, DimerOptimizer};

const STEPS: u64 = 40;

/// An event in every second step.
fn every_second() -> Config {
    let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
    Config { dimer: Some(dimer), ..config() }
}

/// The loss of a part of the minibatch of a step.
fn loss(module: &Network, step: u64, part: Part, device: &DimerDevice) -> Tensor<1> {
    let (x, y) = batch(step, &device.burn());
    let rows = part.range(BATCH);
    module.loss(&(x.slice([rows.clone()]), y.slice([rows])))
}

/// What the evaluations of each step were of.
type Seen = Vec<Vec<Part>>;

/// The parameters after some steps, their losses, what was evaluated and what it cost.
fn run(config: &Config, device: &DimerDevice, parts: u32) -> (Vec<u32>, Vec<f32>, Seen, f64) {
    let module = Network::new(32, &device.burn());
    let mut optimizer = DimerOptimizer::new(module, device, config.clone()).unwrap();
    let (mut losses, mut seen) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        let mut of_step = Vec::new();
        let taken = optimizer.step_with_parts(parts, |module, part| {
            of_step.push(part);
            loss(module, step, part, device)
        });
        losses.push(taken.unwrap().into_scalar::<f32>());
        seen.push(of_step);
    }
    let cost = optimizer.optimizer().gradient_evaluations();
    (bits(&optimizer.into_module().unwrap()), losses, seen, cost)
}

fn bits(module: &Network) -> Vec<u32> {
    let mut all: Vec<f32> = elements(module.hidden.weight.val());
    all.extend(elements::<2>(module.output.weight.val()));
    all.into_iter().map(f32::to_bits).collect()
}

/// Every evaluation of an event is of one part, the largest with which the event is no dearer than a step, if there is one;
/// other steps take the whole; `gradient_evaluations` counts this; and every part is used.
#[test]
fn an_event_is_of_one_part() {
    let rate = CurvatureRate { interval: 3, burn_in: 0, ..CurvatureRate::default() };
    let every = every_second();
    let measured = Config { learning_rate: LearningRate::Curvature(rate), ..every.clone() };
    let on_flex = [(&every, 0), (&every, 2), (&every, 4), (&every, 10), (&measured, 8)];
    for (device, cases) in [(flex(), &on_flex[..]), (shared(), &[(&every, 4)])] {
        for &(config, parts) in cases {
            let (_, _, seen, cost) = run(config, &device, parts);
            let mut chosen = Vec::new();
            let mut expected = 0.0;
            for (step, seen) in seen.iter().enumerate() {
                let gradients = seen.len() as u32;
                let part = seen[0];
                assert!(seen.iter().all(|other| *other == part), "step {step}: {seen:?}");
                let mut of = 1;
                if (step + 1) % 2 == 0 {
                    // The least number of parts that makes the event no dearer than a step.
                    let fits = |of: &u32| parts.is_multiple_of(*of);
                    of = (gradients..=parts).find(fits).unwrap_or(parts.max(1));
                    assert!(gradients >= 4, "step {step}: {seen:?}");
                    chosen.push(part);
                }
                assert_eq!(part.of, of, "step {step}");
                expected += f64::from(gradients) / f64::from(of);
            }
            assert!((cost - expected).abs() < 1e-9, "{cost} for {expected}");
            if parts == 4 {
                assert_eq!(cost, STEPS as f64);
            }
            // Events that measure the rate have a gradient more.
            let several = BTreeSet::from_iter(chosen.iter().map(|part| part.of));
            assert_eq!(several.len(), if parts == 8 { 2 } else { 1 }, "{chosen:?}");
            let every = |of: u32| (0..of).all(|index| chosen.contains(&Part { index, of }));
            assert!(parts == 8 || every(chosen[0].of), "{chosen:?}");
        }
    }
}

/// The bits of steps whose events have no more than that part, and their losses.
#[test]
fn its_step_is_that_of_the_part() {
    let device = flex();
    let (with_parts, losses, seen, cost) = run(&every_second(), &device, 4);
    let module = Network::new(32, &device.burn());
    let mut optimizer = DimerOptimizer::new(module, &device, every_second()).unwrap();
    let mut given = Vec::new();
    for step in 0..STEPS {
        let part = seen[step as usize][0];
        let taken = optimizer.step(|module| loss(module, step, part, &device));
        given.push(taken.unwrap().into_scalar::<f32>());
    }
    let whole_events = optimizer.optimizer().gradient_evaluations();
    assert_eq!((cost, whole_events), (STEPS as f64, STEPS as f64 + 3.0 * (STEPS / 2) as f64));
    assert_eq!(losses, given);
    assert_eq!(with_parts, bits(&optimizer.into_module().unwrap()));
    let (whole, ..) = run(&every_second(), &device, 1);
    assert_ne!(whole, with_parts);
}

/// A tracker has 4 gradients of one part, and 7 for both ends, which cost no more than one of the whole.
#[test]
fn a_tracker_follows_the_ends_on_one_part() {
    for (device, both) in [(flex(), false), (flex(), true), (shared(), true)] {
        let module = Network::new(32, &device.burn());
        let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
        let mut tracker = CurvatureTracker::new(&module, &device, dimer).unwrap();
        if both {
            tracker = tracker.with_other_end().unwrap();
        }
        let (gradients, of) = if both { (7, 8) } else { (4, 4) };
        let mut chosen = Vec::new();
        for step in 0..12 {
            let mut seen = Vec::new();
            let event = tracker.after_step_with_parts(&module, 8, |module, part| {
                seen.push(part);
                loss(module, step, part, &device)
            });
            assert_eq!(seen.len(), if event.unwrap() { gradients } else { 0 });
            assert!(seen.iter().all(|part| part.of == of && *part == seen[0]), "{seen:?}");
            chosen.extend(seen.first().copied());
        }
        assert!(chosen.iter().any(|part| *part != chosen[0]), "{chosen:?}");
        let ends = [Mode::Softest, Mode::Stiffest];
        let costs = ends.map(|end| tracker.end(end).map_or(0.0, Optimizer::gradient_evaluations));
        let expected = 6.0 * gradients as f64 / f64::from(of);
        assert!((costs.iter().sum::<f64>() - expected).abs() < 1e-9, "{costs:?}");
    }
}
