//! [`HostObjective`]: an objective from a closure over host slices.

use super::{Evaluation, HessianProduct, Objective, Point, UNWRITTEN};
use crate::error::{Error, Result};

/// An objective from `FnMut(params, gradient) -> loss`, run on the host.
///
/// The closure gets the parameters and the gradient, both without padding and in the order of the layout. It sets every
/// element of the gradient, or adds to the zeros that lie there. Each evaluation waits for the GPU and copies the vectors both ways: right for
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
            let mut other = vec![FILLER; params.len()];
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

/// What lies in the gradient in the second call of a check: larger than any gradient, so that what is added to it shows.
const FILLER: f32 = 1e30;

/// Marks what a closure has left as it was, in `result` from zeros and in `other` from [`FILLER`]; unless it adds to what
/// lies there, where an element without a gradient looks the same as one that was left out.
fn mark_unwritten(result: &mut [f32], other: &[f32]) {
    let is_left = |one: f32, other: f32| one == 0.0 && other == FILLER;
    let is_set = |one: f32, other: f32| one.to_bits() == other.to_bits();
    let pairs = || result.iter().copied().zip(other.iter().copied());
    let sets = pairs().any(|(one, other)| is_set(one, other));
    let adds = pairs().any(|(one, other)| !is_set(one, other) && !is_left(one, other));
    if sets && !adds {
        let left = result.iter_mut().zip(other).filter(|(one, other)| is_left(**one, **other));
        left.for_each(|(one, _)| *one = f32::from_bits(UNWRITTEN));
    }
}
