//! [`HostObjective`]: an objective from a closure over host slices.

use super::{Evaluation, HessianProduct, Objective, Point, UNWRITTEN};
use crate::error::{Error, Result};

/// An objective from `FnMut(params, gradient) -> loss`, run on the host.
///
/// The closure gets the parameters and fills the gradient, which is zero before, both without padding and in the order
/// of the layout. Each evaluation waits for the GPU and copies the vectors both ways: right for
/// tests, small problems and gradients that come from elsewhere.
///
/// ```
/// use dimer::{Config, Gpu, HostObjective, Layout, LearningRate, Optimizer};
///
/// let learning_rate = LearningRate::Fixed(0.1);
/// let config = Config { learning_rate, ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, config, &[1.0, -2.0])?;
/// let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
///     gradient.copy_from_slice(params);
///     params.iter().map(|x| 0.5 * x * x).sum()
/// });
/// optimizer.step(&mut objective)?;
/// assert!(optimizer.read_params()?[0] < 1.0);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct HostObjective<F, H = fn(&[f32], &[f32], &mut [f32])> {
    function: F,
    product: Option<H>,
    result: Vec<f32>,
}

impl<F: FnMut(&[f32], &mut [f32]) -> f32> HostObjective<F> {
    /// Wraps `function`.
    pub fn new(function: F) -> Self {
        Self { function, product: None, result: Vec::new() }
    }
}

impl<F, H> HostObjective<F, H> {
    /// Adds `FnMut(params, direction, product)`, which fills `product` with the Hessian at `params`
    /// times `direction`; see [`Difference::Exact`](crate::Difference::Exact).
    pub fn with_hessian_product<G>(self, product: G) -> HostObjective<F, G>
    where
        G: FnMut(&[f32], &[f32], &mut [f32]),
    {
        HostObjective { function: self.function, product: Some(product), result: self.result }
    }
}

impl<F, H> Objective for HostObjective<F, H>
where
    F: FnMut(&[f32], &mut [f32]) -> f32,
    H: FnMut(&[f32], &[f32], &mut [f32]),
{
    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        let params = at.read_params()?;
        self.result.clear();
        self.result.resize(params.len(), 0.0);
        let loss = (self.function)(&params, &mut self.result);
        if at.is_checked {
            let mut other = vec![1.0; params.len()];
            (self.function)(&params, &mut other);
            mark_unwritten(&mut self.result, &other);
        }
        if at.point == Point::Centre {
            at.write_loss(loss);
        }
        at.write_gradient(&self.result)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> Result<()> {
        let Some(product) = &mut self.product else {
            return Err(Error::objective(
                "its closure gives no product; add one with `with_hessian_product`",
            ));
        };
        let (params, direction) = at.read()?;
        self.result.clear();
        self.result.resize(params.len(), 0.0);
        product(&params, &direction, &mut self.result);
        at.write(&self.result)
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

/// Marks what a closure has left as it was, in `result` from zeros and in `other` from ones. One that adds to what lies
/// there leaves every element different, and an element without a gradient looks the same as one that was left out.
fn mark_unwritten(result: &mut [f32], other: &[f32]) {
    let sets = result.iter().zip(other).any(|(one, other)| one.to_bits() == other.to_bits());
    for (result, other) in result.iter_mut().zip(other) {
        if sets && *result == 0.0 && *other == 1.0 {
            *result = f32::from_bits(UNWRITTEN);
        }
    }
}
