//! Text to learn: a file, or equations of modular addition.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use dimer::Part;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::CONTEXT;

/// Equations of the built-in task.
const EQUATIONS: usize = 40_000;

/// Characters of one.
const EQUATION: usize = 6;

/// Minibatches that a validation loss is the mean of.
const VALIDATION_BATCHES: usize = 16;

/// A text as numbers of characters, the last tenth kept for validation.
pub struct Data {
    train: Vec<i32>,
    validation: Vec<i32>,
    pub vocabulary: usize,
    pub batch: usize,
    /// Sequences start at multiples of this.
    stride: usize,
}

/// Inputs and the characters that follow them, both of shape [batch, context].
pub type Minibatch = (Tensor<2, Int>, Tensor<2, Int>);

/// A part of a minibatch.
pub fn part((x, y): &Minibatch, part: Part) -> Minibatch {
    let [sequences, _] = x.dims();
    let rows = part.range(sequences);
    (x.clone().slice([rows.clone()]), y.clone().slice([rows]))
}

impl Data {
    fn new(text: &str, batch: usize, stride: usize) -> Result<Self, String> {
        let characters: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let number = |c| characters.binary_search(&c).map_or(0, |index| index as i32);
        let mut train: Vec<i32> = text.chars().map(number).collect();
        let validation = train.split_off(train.len() / (10 * stride) * 9 * stride);
        if validation.len() <= CONTEXT + 1 {
            return Err(format!("the text has {} characters, too few", text.len()));
        }
        Ok(Self { train, validation, vocabulary: characters.len(), batch, stride })
    }

    pub fn read(path: &Path, batch: usize) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::new(&text, batch, 1)
    }

    /// Equations of modular addition.
    pub fn equations(modulus: u32, batch: usize) -> Result<Self, String> {
        Self::new(&modular_addition(modulus), batch, EQUATION)
    }

    /// The minibatch of one step, determined by `seed` and `step` alone.
    pub fn minibatch(&self, seed: u64, step: u64, device: &Device) -> Minibatch {
        self.draw(&self.train, &mut StdRng::seed_from_u64(seed << 32 | step), device)
    }

    /// The minibatches of every validation loss.
    pub fn validation(&self, device: &Device) -> Vec<Minibatch> {
        let mut rng = StdRng::seed_from_u64(u64::MAX);
        (0..VALIDATION_BATCHES).map(|_| self.draw(&self.validation, &mut rng, device)).collect()
    }

    fn draw(&self, text: &[i32], rng: &mut StdRng, device: &Device) -> Minibatch {
        let places = (text.len() - CONTEXT - 1) / self.stride + 1;
        let starts: Vec<usize> =
            (0..self.batch).map(|_| self.stride * rng.random_range(0..places)).collect();
        let rows = |shift: usize| {
            let rows = starts.iter().flat_map(|start| &text[start + shift..][..CONTEXT]);
            let data = TensorData::new(rows.copied().collect::<Vec<_>>(), [self.batch, CONTEXT]);
            Tensor::from_data(data, device)
        };
        (rows(0), rows(1))
    }
}

/// Lines a+b=c with c = a + b modulo `modulus`, at most 26, and one letter per number. The letters of a
/// and b cannot be predicted. That of c can, but on the plateau, at (3 ln m)/6 nats per character, it still
/// looks as random as they are; beyond it lie (2 ln m)/6.
fn modular_addition(modulus: u32) -> String {
    let mut rng = StdRng::seed_from_u64(0);
    let letter = |number: u32| char::from(b'a' + number as u8);
    let equation = |_| {
        let (a, b) = (rng.random_range(0..modulus), rng.random_range(0..modulus));
        format!("{}+{}={}\n", letter(a), letter(b), letter((a + b) % modulus))
    };
    (0..EQUATIONS).map(equation).collect()
}
