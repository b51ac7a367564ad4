//! [`HostObjective`]: an objective from a closure over host slices.

use super::{Evaluation, Objective, Point};
use crate::error::Result;

/// An objective from `FnMut(params, gradient) -> loss`, run on the host.
///
/// The closure gets the parameters and fills the gradient, both without padding and in the order
/// of the layout. Each evaluation waits for the GPU and copies the vectors both ways: right for
/// tests, small problems and gradients that come from elsewhere.
///
/// ```
/// use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
///
/// let config = Config { learning_rate: 0.1, dimer: None, ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, config, &[1.0, -2.0])?;
/// let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
///     gradient.copy_from_slice(params);
///     params.iter().map(|x| 0.5 * x * x).sum()
/// });
/// optimizer.step(&mut objective)?;
/// assert!(optimizer.read_params_blocking()?[0] < 1.0);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct HostObjective<F> {
    function: F,
    gradient: Vec<f32>,
}

impl<F: FnMut(&[f32], &mut [f32]) -> f32> HostObjective<F> {
    /// Wraps `function`.
    pub fn new(function: F) -> Self {
        Self { function, gradient: Vec::new() }
    }
}

impl<F: FnMut(&[f32], &mut [f32]) -> f32> Objective for HostObjective<F> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        let params = at.read_params()?;
        self.gradient.clear();
        self.gradient.resize(params.len(), 0.0);
        let loss = (self.function)(&params, &mut self.gradient);
        if at.point == Point::Centre {
            at.write_loss(loss);
        }
        at.write_gradient(&self.gradient)
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}
