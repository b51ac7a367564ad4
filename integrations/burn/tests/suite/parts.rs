//! Events on a part of the minibatch.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::common::{BATCH, Network, batch, config, elements, flex, shared};
use burn::tensor::Tensor;
use dimer::{Config, CurvatureRate, Dimer, LearningRate, Part, Schedule};
use dimer_burn::{CurvatureTracker, DimerDevice, DimerOptimizer};

const STEPS: u64 = 24;

/// An event in every third step.
fn every_third() -> Config {
    let dimer = Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
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

/// Every evaluation of an event is of one part, one of at least as many as it has gradients; other steps take the whole; the
/// cost is that of a step where there are enough, as `gradient_evaluations` says; and every part is used.
#[test]
fn an_event_is_of_one_part() {
    let rate = CurvatureRate { interval: 2, burn_in: 0, ..CurvatureRate::default() };
    let every = every_third();
    let measured = Config { learning_rate: LearningRate::Curvature(rate), ..every.clone() };
    for device in [flex(), shared()] {
        let cases = [0, 2, 4, 10].map(|parts| (&every, parts));
        for (config, parts) in cases.into_iter().chain([(&measured, 8)]) {
            let (_, _, seen, cost) = run(config, &device, parts);
            let mut chosen = BTreeSet::new();
            let mut expected = 0.0;
            for (step, seen) in seen.iter().enumerate() {
                let gradients = seen.len() as u32;
                let part = seen[0];
                assert!(seen.iter().all(|other| *other == part), "step {step}: {seen:?}");
                let mut of = 1;
                if (step + 1) % 3 == 0 {
                    // The least number of parts that makes the event no dearer than a step.
                    let fits = |of: &u32| parts.is_multiple_of(*of);
                    of = (gradients..=parts).find(fits).unwrap_or(parts.max(1));
                    assert!(gradients >= 4, "step {step}: {seen:?}");
                    chosen.insert((part.of, part.index));
                }
                assert_eq!(part.of, of, "step {step}");
                expected += f64::from(gradients) / f64::from(of);
            }
            assert!((cost - expected).abs() < 1e-9, "{cost} for {expected}");
            if parts == 4 {
                assert_eq!(cost, STEPS as f64);
            }
            assert!(parts < 2 || chosen.len() > 1, "{chosen:?}");
        }
    }
}

/// The bits of steps whose events have no more than that part, and their losses.
#[test]
fn its_step_is_that_of_the_part() {
    let device = flex();
    let (with_parts, losses, seen, cost) = run(&every_third(), &device, 4);
    let module = Network::new(32, &device.burn());
    let mut optimizer = DimerOptimizer::new(module, &device, every_third()).unwrap();
    let mut given = Vec::new();
    for step in 0..STEPS {
        let part = seen[step as usize][0];
        let taken = optimizer.step(|module| loss(module, step, part, &device));
        given.push(taken.unwrap().into_scalar::<f32>());
    }
    let whole_events = optimizer.optimizer().gradient_evaluations();
    assert_eq!((cost, whole_events), (STEPS as f64, STEPS as f64 + 3.0 * (STEPS / 3) as f64));
    assert_eq!(losses, given);
    assert_eq!(with_parts, bits(&optimizer.into_module().unwrap()));
    let (whole, ..) = run(&every_third(), &device, 1);
    assert_ne!(whole, with_parts);
}

/// A tracker of both ends has 7 gradients of one part, which cost less than one of the whole.
#[test]
fn a_tracker_follows_both_ends_on_one_part() {
    for device in [flex(), shared()] {
        let module = Network::new(32, &device.burn());
        let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
        let tracker = CurvatureTracker::new(&module, &device, dimer).unwrap();
        let mut tracker = tracker.with_other_end().unwrap();
        let seen = RefCell::new(Vec::new());
        for step in 0..12 {
            seen.borrow_mut().clear();
            let event = tracker.after_step_with_parts(&module, 8, |module, part| {
                seen.borrow_mut().push(part);
                loss(module, step, part, &device)
            });
            let seen = seen.borrow();
            assert_eq!(seen.len(), if event.unwrap() { 7 } else { 0 });
            assert!(seen.iter().all(|part| part.of == 8 && *part == seen[0]), "{seen:?}");
        }
        let ends = [dimer::Mode::Softest, dimer::Mode::Stiffest];
        let cost: f64 =
            ends.map(|end| tracker.end(end).unwrap().gradient_evaluations()).iter().sum();
        assert!((cost - 6.0 * 7.0 / 8.0).abs() < 1e-9, "{cost}");
    }
}
