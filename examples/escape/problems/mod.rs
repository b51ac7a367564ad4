//! Losses with saddles on the way down, each with its exact gradient in f64.

mod networks;
mod polynomials;
mod reflections;
mod staircase;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

pub use reflections::Reflections;

/// A loss, where to start, and when it counts as left behind.
pub struct Problem {
    pub name: &'static str,
    /// Elements of θ.
    pub len: usize,
    /// The loss that has to be reached.
    pub target: f64,
    start: Box<Start>,
    function: Box<Function>,
}

/// Draws a start.
type Start = dyn Fn(&mut StdRng) -> Vec<f64> + Send + Sync;

/// Writes the gradient at the first argument into the second, and returns the loss.
pub type Function = dyn Fn(&[f64], &mut [f64]) -> f64 + Send + Sync;

impl Problem {
    /// The start that belongs to `seed`.
    pub fn start(&self, seed: u64) -> Vec<f64> {
        (self.start)(&mut StdRng::seed_from_u64(seed))
    }

    /// Writes the gradient at `params` and returns the loss.
    pub fn evaluate(&self, params: &[f64], gradient: &mut [f64]) -> f64 {
        (self.function)(params, gradient)
    }
}

/// The data of a problem does not change with the seed of a run.
const DATA_SEED: u64 = 12345;

/// Every problem of the suite.
pub fn all() -> Vec<Problem> {
    let mut rng = StdRng::seed_from_u64(DATA_SEED);
    vec![
        polynomials::lifted_quartic(&mut rng),
        polynomials::stiff_saddle(&mut rng),
        polynomials::rosenbrock(),
        networks::deep_linear(&mut rng),
        networks::matrix_factorisation(&mut rng),
        networks::phase_retrieval(&mut rng),
        networks::autoencoder(&mut rng),
        staircase::octopus(&mut rng),
    ]
}

/// Standard normal numbers.
pub fn normal(rng: &mut StdRng, len: usize) -> Vec<f64> {
    StandardNormal.sample_iter(rng).take(len).collect()
}

/// A vector of this length in a random direction.
fn random_direction(rng: &mut StdRng, len: usize, length: f64) -> Vec<f64> {
    let vector = normal(rng, len);
    let norm = dimer::reference::norm(&vector);
    vector.iter().map(|x| length * x / norm).collect()
}
