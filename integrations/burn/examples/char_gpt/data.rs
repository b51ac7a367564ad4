//! Text to learn: a file, or equations of modular addition.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::CONTEXT;

/// Modulus of the built-in task.
const MODULUS: u32 = 23;

/// Equations of the built-in task.
const EQUATIONS: usize = 40_000;

/// Minibatches that a validation loss is the mean of.
const VALIDATION_BATCHES: usize = 16;

/// A text as numbers of characters, the last tenth kept for validation.
pub struct Data {
    train: Vec<i32>,
    validation: Vec<i32>,
    pub vocabulary: usize,
    pub batch: usize,
}

/// Inputs and the characters that follow them, both of shape [batch, context].
pub type Minibatch = (Tensor<2, Int>, Tensor<2, Int>);

impl Data {
    pub fn new(text: &str, batch: usize) -> Result<Self, String> {
        let characters: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let number = |c| characters.binary_search(&c).map_or(0, |index| index as i32);
        let mut train: Vec<i32> = text.chars().map(number).collect();
        let validation = train.split_off(train.len() / 10 * 9);
        if validation.len() <= CONTEXT + 1 {
            return Err(format!("the text has {} characters, too few", text.len()));
        }
        Ok(Self { train, validation, vocabulary: characters.len(), batch })
    }

    pub fn read(path: &Path, batch: usize) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::new(&text, batch)
    }

    /// The minibatch of one step, which its numbers alone determine.
    pub fn minibatch(&self, seed: u64, step: u64, device: &Device) -> Minibatch {
        draw(&self.train, self.batch, &mut StdRng::seed_from_u64(seed << 32 | step), device)
    }

    /// The minibatches of every validation loss.
    pub fn validation(&self, device: &Device) -> Vec<Minibatch> {
        let mut rng = StdRng::seed_from_u64(u64::MAX);
        (0..VALIDATION_BATCHES)
            .map(|_| draw(&self.validation, self.batch, &mut rng, device))
            .collect()
    }
}

fn draw(text: &[i32], batch: usize, rng: &mut StdRng, device: &Device) -> Minibatch {
    let starts: Vec<usize> =
        (0..batch).map(|_| rng.random_range(0..text.len() - CONTEXT)).collect();
    let rows = |shift: usize| {
        let rows = starts.iter().flat_map(|start| &text[start + shift..start + shift + CONTEXT]);
        let data = TensorData::new(rows.copied().collect::<Vec<_>>(), [batch, CONTEXT]);
        Tensor::from_data(data, device)
    };
    (rows(0), rows(1))
}

/// Lines a+b=c with c = a + b modulo 23 and one letter a number. The letters of a and b cannot be
/// predicted; that of c can, once the plateau is left on which it cannot, at (3 ln 23)/6 = 1.57
/// nats a character; beyond it is (2 ln 23)/6 = 1.05.
pub fn modular_addition() -> String {
    let mut rng = StdRng::seed_from_u64(0);
    let letter = |number: u32| char::from(b'a' + number as u8);
    let equation = |_| {
        let (a, b) = (rng.random_range(0..MODULUS), rng.random_range(0..MODULUS));
        format!("{}+{}={}\n", letter(a), letter(b), letter((a + b) % MODULUS))
    };
    (0..EQUATIONS).map(equation).collect()
}
