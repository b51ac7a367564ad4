//! Following the curvature while Burn's own optimizer trains.
//!
//! In a process of its own: Burn picks kernels by their speed so far, so trainings beside it change its bits.

mod common;

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use common::{Network, batch, elements, flex, shared};
use dimer::{Dimer, Schedule};
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

#[test]
fn it_finds_the_softest_mode() {
    for device in [shared(), flex()] {
        let module = Quadratic::new(&device.burn());
        let dimer = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
        let mut tracker = CurvatureTracker::new(&module, &device, dimer).unwrap();
        for _ in 0..30 {
            assert!(tracker.after_step(&module, Quadratic::loss).unwrap());
        }
        let last = tracker.telemetry().unwrap().pop().unwrap();
        approx::assert_abs_diff_eq!(last.curvature, -2.0, epsilon = 1e-2);
        let mode = tracker.optimizer().read_orientation().unwrap().unwrap_or_default();
        assert!(mode[1].abs() > 0.999, "{mode:?}");
        assert_eq!(elements(module.x.val()), [0.3, 0.1, -0.4, 0.2, 0.6], "it moves nothing");

        // Probes move with the module; otherwise the difference would be between two places.
        let x = Param::from_data([1.3_f32, -0.1, 0.4, -0.7, 0.0], &device.burn());
        assert!(tracker.after_step(&Quadratic { x }, Quadratic::loss).unwrap());
        let last = tracker.telemetry().unwrap().pop().unwrap();
        approx::assert_abs_diff_eq!(last.curvature, -2.0, epsilon = 1e-2);
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
