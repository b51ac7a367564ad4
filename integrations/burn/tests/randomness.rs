//! Dropout and running statistics in the evaluations of one step. In a process of its own, since
//! Burn has one random generator for all devices of a kind.

mod common;

use std::sync::Mutex;

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use common::{Batch, INPUTS, batch, config, elements, flex, scalar, shared};
use dimer::{Config, Dimer, LearningRate, Schedule};
use dimer_burn::{DimerOptimizer, Error};

static GENERATOR: Mutex<()> = Mutex::new(());

#[derive(Module, Debug)]
struct Noisy {
    hidden: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Noisy {
    fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(INPUTS, 32).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            output: LinearConfig::new(32, 1).init(device),
        }
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        let hidden = self.dropout.forward(self.hidden.forward(x.clone()).tanh());
        (self.output.forward(hidden) - y.clone()).powi_scalar(2).mean()
    }
}

#[test]
fn live_dropout_is_caught_and_repeated_dropout_is_not_live() {
    let _alone = GENERATOR.lock().unwrap();
    for device in [shared(), flex()] {
        let burn = device.burn();
        let batch = batch(0, &burn);
        let mut live = DimerOptimizer::new(Noisy::new(&burn), &device, config()).unwrap();
        let error = live.check(|module| module.loss(&batch)).unwrap_err();
        let inconsistent =
            matches!(error, Error::Dimer(dimer::Error::InconsistentObjective { .. }));
        assert!(inconsistent, "{error}");

        let repeated = DimerOptimizer::new(Noisy::new(&burn), &device, config()).unwrap();
        let mut repeated = repeated.repeat_randomness(7);
        repeated.check(|module| module.loss(&batch)).unwrap();
        // From step to step the masks differ.
        let still = Config { learning_rate: LearningRate::Fixed(0.0), dimer: None, ..config() };
        let module = Noisy::new(&burn);
        let still = DimerOptimizer::new(module, &device, still).unwrap();
        let mut still = still.repeat_randomness(7);
        let losses: Vec<_> =
            (0..4).map(|_| scalar(still.step(|module| module.loss(&batch)).unwrap())).collect();
        assert!(losses.windows(2).all(|pair| pair[0] != pair[1]), "{losses:?}");
    }
}

#[derive(Module, Debug)]
struct Normed {
    hidden: Linear,
    norm: BatchNorm,
    output: Linear,
}

impl Normed {
    fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(INPUTS, 32).init(device),
            norm: BatchNormConfig::new(32).init(device),
            output: LinearConfig::new(32, 1).init(device),
        }
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        let hidden = self.norm.forward(self.hidden.forward(x.clone())).tanh();
        (self.output.forward(hidden) - y.clone()).powi_scalar(2).mean()
    }
}

#[test]
fn running_statistics_learn_from_the_centre_only() {
    let _alone = GENERATOR.lock().unwrap();
    for device in [shared(), flex()] {
        let burn = device.burn();
        let start = Normed::new(&burn);
        let statistics = |dimer: Option<Dimer>| {
            // A rate of zero: what a step evaluates at θ is then the same with and without a dimer.
            let config = Config { learning_rate: LearningRate::Fixed(0.0), dimer, ..config() };
            let start = start.clone().valid().train();
            let mut optimizer = DimerOptimizer::new(start, &device, config).unwrap();
            for step in 0..6 {
                let batch = batch(step, &burn);
                optimizer.step(|module| module.loss(&batch)).unwrap();
            }
            let module = optimizer.into_module().unwrap();
            elements(module.norm.running_mean.value_sync())
        };
        let with = statistics(Some(Dimer { schedule: Schedule::Every(2), ..Dimer::default() }));
        let without = statistics(None);
        assert_eq!(with, without);
        assert!(with.iter().any(|mean| *mean != 0.0));
    }
}
