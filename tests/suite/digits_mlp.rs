//! The demo's network: its gradient against f64, and what its training reaches.

use crate::common::*;
use crate::data::{CLASSES, Images, PIXELS};
use crate::{data, network};
use dimer::{Config, Dimer, LearningRate, Optimizer};
use rand::RngExt;

const BATCH: usize = 128;

/// Mean cross-entropy over `images`, in f64, from packed parameters.
fn loss(params: &[f64], images: &Images) -> f64 {
    let units = [PIXELS, 64, 32, CLASSES];
    let mut total = 0.0;
    for (pixels, &label) in images.pixels.chunks(PIXELS).zip(&images.labels) {
        let mut values = wide(pixels);
        let mut rest = params;
        for (layer, units) in units.windows(2).enumerate() {
            let (weight, after) = rest.split_at(units[0] * units[1]);
            let (bias, after) = after.split_at(units[1]);
            rest = after;
            values = (0..units[1])
                .map(|j| {
                    let products =
                        values.iter().enumerate().map(|(i, x)| x * weight[i * units[1] + j]);
                    let sum = bias[j] + products.sum::<f64>();
                    if layer < 2 { sum.tanh() } else { sum }
                })
                .collect();
        }
        let sum: f64 = values.iter().map(|logit| logit.exp()).sum();
        total += sum.ln() - values[label as usize];
    }
    total / images.len() as f64
}

/// The first minibatch that `Training` draws, as images.
fn first_minibatch(train: &Images) -> Images {
    let mut minibatch = Images::default();
    for index in data::Minibatches::new(train.len(), 5).draw(BATCH) {
        let first = index as usize * PIXELS;
        minibatch.pixels.extend(&train.pixels[first..first + PIXELS]);
        minibatch.labels.push(train.labels[index as usize]);
    }
    minibatch
}

/// Backward in WGSL against central differences of the f64 loss.
///
/// An element of the gradient is a mean over 128 images of products of numbers below 1, each from
/// sums of at most 64 terms: 300 units of rounding cover it. The differences are good to 1e-9.
#[test]
fn gradient_matches_f64() {
    let (train, _) = data::load();
    let params = network::initial_params(5);
    let config = Config { dimer: None, learning_rate: LearningRate::Fixed(0.0), ..fixed_rate() };
    let layout = network::layout().unwrap();
    let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config, &params).unwrap();
    let mut training = network::Training::new(&optimizer, &train, BATCH, 5);
    optimizer.step(&mut training).unwrap();
    let record = optimizer.telemetry().unwrap()[0];
    let gradient = read_slice(&optimizer, optimizer.gradient());
    let images = first_minibatch(&train);
    let params = wide(&params);
    assert_within("loss", record.loss.unwrap().into(), loss(&params, &images), 300.0 * UNIT);
    let mut rng = rng(11);
    let slots: Vec<usize> = layout
        .tensors()
        .iter()
        .flat_map(|tensor| tensor.offset..tensor.offset + tensor.len)
        .collect();
    for _ in 0..100 {
        let i = rng.random_range(0..params.len());
        let at = |delta: f64| {
            let mut moved = params.clone();
            moved[i] += delta;
            loss(&moved, &images)
        };
        let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert_within("gradient", gradient[slots[i]].into(), expected, 300.0 * UNIT);
    }
}

/// Both optimizers reach 96 % on images that they were not trained on, from any of these seeds, in a third of
/// the demo's steps.
#[test]
fn both_optimizers_reach_96_percent() {
    let (train, test) = data::load();
    for seed in 0..2 {
        for dimer in [None, Some(Dimer { seed, ..Dimer::default() })] {
            let name = if dimer.is_some() { "DEO-AdamW" } else { "AdamW" };
            let config = Config { learning_rate: LearningRate::Fixed(3e-3), dimer, ..fixed_rate() };
            let (layout, params) = (network::layout().unwrap(), network::initial_params(seed));
            let mut optimizer = Optimizer::new(&gpu(), layout, config, &params).unwrap();
            let mut training = network::Training::new(&optimizer, &train, BATCH, seed);
            optimizer.check_objective(&mut training).unwrap();
            for _ in 0..333 {
                optimizer.step(&mut training).unwrap();
            }
            let accuracy = network::Accuracy::new(&optimizer, &test).measure();
            println!("{name}, seed {seed}: {accuracy}");
            assert!(accuracy >= 0.96, "{name}, seed {seed}: {accuracy}");
        }
    }
}

/// The whole step is one submission: nothing has run before the encoder of the user is submitted.
#[test]
fn a_step_waits_for_nothing() {
    let (train, _) = data::load();
    let (layout, params) = (network::layout().unwrap(), network::initial_params(1));
    let mut optimizer = Optimizer::new(&gpu(), layout, fixed_rate(), &params).unwrap();
    let mut training = network::Training::new(&optimizer, &train, BATCH, 1);
    let gpu = gpu();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    optimizer.record_step(&mut encoder, &mut training).unwrap();
    assert_eq!(bits(&optimizer.read_params().unwrap()), bits(&params));
    gpu.queue().submit([encoder.finish()]);
    assert_ne!(bits(&optimizer.read_params().unwrap()), bits(&params));
}
