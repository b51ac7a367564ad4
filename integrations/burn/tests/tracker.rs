//! Following the curvature while Burn's own optimizer trains.
//!
//! In a process of its own: Burn picks kernels by their speed so far, so trainings beside it change its bits.

mod common;

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use common::{Network, batch, elements, flex, shared};
use dimer::{Dimer, Mode, Schedule, Telemetry};
use dimer_burn::CurvatureTracker;

#[derive(Module, Debug)]
struct Quadratic {
    x: Param<Tensor<1>>,
}

const CURVATURES: [f32; 5] = [3.0, -2.0, 0.5, 7.0, 1.0];

impl Quadratic {
    fn new(device: &Device) -> Self {
        Self { x: Param::from_data([0.3_f32, 0.1, -0.4, 0.2, 0.6], device) }
    }

    fn loss(&self) -> Tensor<1> {
        let x = self.x.val();
        let curvatures = Tensor::<1>::from_floats(CURVATURES, &x.device());
        (x.powi_scalar(2) * curvatures).sum() * 0.5
    }
}

/// The curvatures of both ends, and where they are.
const ENDS: [(Mode, f32, usize); 2] = [(Mode::Softest, -2.0, 1), (Mode::Stiffest, 7.0, 3)];

/// The last record of each end that a tracker has.
fn last(tracker: &mut CurvatureTracker<Quadratic>, seeks: Mode) -> Telemetry {
    let records = tracker.telemetry().unwrap();
    *records.iter().rfind(|record| record.seeks == seeks).unwrap()
}

#[test]
fn it_finds_either_end() {
    for device in [shared(), flex()] {
        let module = Quadratic::new(&device.burn());
        for (seeks, curvature, element) in ENDS {
            let dimer = Dimer { seeks, schedule: Schedule::Every(1), ..Dimer::default() };
            let mut tracker = CurvatureTracker::new(&module, &device, dimer).unwrap();
            for _ in 0..30 {
                assert!(tracker.after_step(&module, Quadratic::loss).unwrap());
            }
            let record = last(&mut tracker, seeks);
            approx::assert_abs_diff_eq!(record.curvature, curvature, epsilon = 1e-2);
            assert!(record.resolved, "{record:?}");
            let end = tracker.end(seeks).unwrap();
            let mode = end.read_orientation().unwrap().unwrap_or_default();
            assert!(mode[element].abs() > 0.999, "{mode:?}");
            assert!(tracker.end(seeks.other()).is_none());
            assert_eq!(elements(module.x.val()), [0.3, 0.1, -0.4, 0.2, 0.6], "it moves nothing");

            // Probes move with the module; otherwise the difference would be between two places.
            let x = Param::from_data([1.3_f32, -0.1, 0.4, -0.7, 0.0], &device.burn());
            assert!(tracker.after_step(&Quadratic { x }, Quadratic::loss).unwrap());
            let record = last(&mut tracker, seeks);
            approx::assert_abs_diff_eq!(record.curvature, curvature, epsilon = 1e-2);
        }
    }
}

/// Both ends on one minibatch: each turns bit for bit as it would alone, and the loss is evaluated 7 times, not 8.
#[test]
fn it_follows_both_ends() {
    for device in [shared(), flex()] {
        let module = Quadratic::new(&device.burn());
        let dimer = |seeks| Dimer { seeks, schedule: Schedule::Every(2), ..Dimer::default() };
        let tracker = |seeks| CurvatureTracker::new(&module, &device, dimer(seeks)).unwrap();
        let mut both = tracker(Mode::Softest).with_other_end().unwrap();
        let mut evaluations = 0;
        for step in 0..60 {
            let event = both.after_step(&module, |module| {
                evaluations += 1;
                module.loss()
            });
            assert_eq!(event.unwrap(), step % 2 == 1);
        }
        assert_eq!(evaluations, 7 * 30);
        let records = both.telemetry().unwrap();
        assert_eq!(records.len(), 60);
        assert!(records.is_sorted_by_key(|record| record.step));
        for (seeks, curvature, _) in ENDS {
            let mut alone = tracker(seeks);
            for _ in 0..60 {
                alone.after_step(&module, Quadratic::loss).unwrap();
            }
            let of_end = |records: &[Telemetry]| {
                let records = records.iter().filter(|record| record.seeks == seeks);
                records.map(|record| record.curvature.to_bits()).collect::<Vec<_>>()
            };
            let expected = of_end(&alone.telemetry().unwrap());
            assert_eq!(of_end(&records), expected);
            approx::assert_abs_diff_eq!(f32::from_bits(expected[29]), curvature, epsilon = 1e-2);
        }
    }
}

#[test]
fn it_leaves_a_training_of_burn_alone() {
    for device in [shared(), flex()] {
        let burn = device.burn();
        let start = Network::new(16, &burn);
        let train = |mut tracker: Option<CurvatureTracker<Network>>| {
            let mut module = start.clone();
            let mut optimizer = AdamWConfig::new().init();
            let mut events = 0;
            for step in 0..20 {
                let batch = batch(step, &burn);
                let gradients = module.loss(&batch).backward();
                let gradients = GradientsParams::from_grads(gradients, &module);
                module = optimizer.step(1e-2, module, gradients);
                if let Some(tracker) = &mut tracker {
                    let event = tracker.after_step(&module, |module| module.loss(&batch)).unwrap();
                    events += usize::from(event);
                }
            }
            let records = tracker.map(|mut tracker| tracker.telemetry().unwrap());
            (elements(module.hidden.weight.val()), events, records)
        };
        let (alone, ..) = train(None);
        let dimer = Dimer { schedule: Schedule::Every(5), ..Dimer::default() };
        let (followed, events, records) =
            train(Some(CurvatureTracker::new(&start, &device, dimer).unwrap()));
        assert_eq!(alone, followed);
        assert_eq!(events, 4);
        let records = records.unwrap();
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record.curvature.is_finite() && record.residual > 0.0));
    }
}
