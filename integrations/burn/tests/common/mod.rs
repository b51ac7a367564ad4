//! What the tests share: a small network and its minibatches.

#![allow(dead_code, reason = "no test uses all of it")]

use std::sync::OnceLock;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData, activation};
use dimer::{Config, Dimer, LearningRate, Schedule};
use dimer_burn::DimerDevice;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub const INPUTS: usize = 16;
pub const BATCH: usize = 64;

/// tanh(x A + a) B + b, fitted to a smooth function.
#[derive(Module, Debug)]
pub struct Network {
    pub hidden: Linear,
    pub output: Linear,
}

impl Network {
    /// The same values in every run and on every device.
    pub fn new(width: usize, device: &Device) -> Self {
        let mut rng = StdRng::seed_from_u64(width as u64);
        let mut values = |shape: &[usize], bound: f32| {
            let values = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound));
            TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
        };
        let mut linear = |inputs: usize, outputs: usize| {
            let bound = 1.0 / (inputs as f32).sqrt();
            Linear {
                weight: Param::from_data(values(&[inputs, outputs], bound), device),
                bias: Some(Param::from_data(values(&[outputs], bound), device)),
            }
        };
        Self { hidden: linear(INPUTS, width), output: linear(width, 1) }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(activation::tanh(self.hidden.forward(x)))
    }

    pub fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        (self.forward(x.clone()) - y.clone()).powi_scalar(2).mean()
    }
}

/// Inputs and targets.
pub type Batch = (Tensor<2>, Tensor<2>);

/// The minibatch of step `step`, the same on every device.
pub fn batch(step: u64, device: &Device) -> Batch {
    let mut rng = StdRng::seed_from_u64(step);
    let x: Vec<f32> = (0..BATCH * INPUTS).map(|_| rng.random_range(-1.0..1.0)).collect();
    let y: Vec<f32> =
        x.chunks(INPUTS).map(|x| (2.0 * x[0]).sin() + x[1] * x[2] - 0.5 * x[3]).collect();
    (
        Tensor::from_data(TensorData::new(x, [BATCH, INPUTS]), device),
        Tensor::from_data(TensorData::new(y, [BATCH, 1]), device),
    )
}

/// Burn's wgpu device, shared.
pub fn shared() -> DimerDevice {
    DimerDevice::new().expect("a wgpu device; see the README for a driver")
}

/// Burn's CPU backend, with one device for the optimizers of all tests, so that their kernels are compiled once.
pub fn flex() -> DimerDevice {
    static GPU: OnceLock<dimer::Gpu> = OnceLock::new();
    let gpu = GPU.get_or_init(|| dimer::Gpu::new().expect("a GPU adapter"));
    DimerDevice::host(Device::flex(), gpu)
}

/// AdamW with events in every fifth step.
pub fn config() -> Config {
    let dimer = Dimer { schedule: Schedule::Every(5), ..Dimer::default() };
    Config { learning_rate: LearningRate::Fixed(1e-2), dimer: Some(dimer), ..Config::default() }
}

pub fn scalar(tensor: Tensor<1>) -> f32 {
    tensor.into_scalar::<f32>()
}

/// The elements of a tensor.
pub fn elements<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}
