//! The network, and its minibatches.

use burn::data::dataloader::batcher;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use super::data::{CLASSES, Images, PIXELS};

/// One image.
#[derive(Clone, Debug)]
pub struct Digit {
    pixels: Vec<f32>,
    label: u32,
}

impl Digit {
    pub fn all(images: &Images) -> Vec<Self> {
        let pixels = images.pixels.chunks_exact(PIXELS);
        let digits = pixels.zip(&images.labels);
        digits.map(|(pixels, &label)| Self { pixels: pixels.to_vec(), label }).collect()
    }
}

/// Images and their digits.
#[derive(Clone, Debug)]
pub struct Minibatch {
    images: Tensor<2>,
    labels: Tensor<1, Int>,
}

/// Joins images.
#[derive(Clone, Debug)]
pub struct Batcher;

impl batcher::Batcher<Digit, Minibatch> for Batcher {
    fn batch(&self, items: Vec<Digit>, device: &Device) -> Minibatch {
        let pixels: Vec<f32> = items.iter().flat_map(|digit| digit.pixels.clone()).collect();
        let labels: Vec<i32> = items.iter().map(|digit| digit.label as i32).collect();
        let count = items.len();
        Minibatch {
            images: Tensor::from_data(TensorData::new(pixels, [count, PIXELS]), device),
            labels: Tensor::from_data(TensorData::new(labels, [count]), device),
        }
    }
}

/// 64-64-32-10, tanh between.
#[derive(Module, Debug)]
pub struct Model {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Model {
    /// The same weights in every run.
    pub fn new(device: &Device) -> Self {
        device.seed(0);
        Self {
            first: LinearConfig::new(PIXELS, 64).init(device),
            second: LinearConfig::new(64, 32).init(device),
            last: LinearConfig::new(32, CLASSES).init(device),
        }
    }

    fn classify(&self, batch: Minibatch) -> ClassificationOutput {
        let x = activation::tanh(self.first.forward(batch.images));
        let output = self.last.forward(activation::tanh(self.second.forward(x)));
        let loss = CrossEntropyLossConfig::new().init(&output.device());
        let loss = loss.forward(output.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, output, batch.labels)
    }

    /// Of all images at once.
    pub fn loss_and_accuracy(&self, images: &Images) -> [f64; 2] {
        let device = self.first.weight.val().device();
        let batch = batcher::Batcher::batch(&Batcher, Digit::all(images), &device);
        let labels = batch.labels.clone();
        let output = self.classify(batch);
        let right = output.output.argmax(1).reshape([-1]).equal(labels).int().float().mean();
        [output.loss, right].map(|value| value.into_scalar::<f32>().into())
    }
}

impl TrainStep for Model {
    type Input = Minibatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Minibatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Model {
    type Input = Minibatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Minibatch) -> ClassificationOutput {
        self.classify(batch)
    }
}
