//! [`HostObjective`]: an objective from a closure over host slices.

use super::{Evaluation, HessianProduct, Objective, StepInfo, UNWRITTEN};
use crate::error::{Error, Result};

/// An objective from `FnMut(params, gradient) -> loss`, run on the host.
///
/// The closure gets the parameters and the gradient, both without padding and in the order of the layout. It sets every
/// element of the gradient, or adds to the zeros that lie there. Each evaluation waits for the GPU and copies the vectors
/// both ways: right for tests, small problems and gradients that come from elsewhere.
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
///
/// A closure that may fail goes into [`fallible`](Self::fallible), and [`on_step`](Self::on_step) is where a minibatch
/// is drawn:
///
/// ```
/// use std::cell::RefCell;
///
/// use dimer::{Config, Error, Gpu, HostObjective, Layout, Optimizer};
///
/// # let read_sample = |index: u64| -> std::io::Result<f32> { Ok(index as f32) };
/// let sample = RefCell::new(0.0);
/// let mut objective = HostObjective::fallible(|params: &[f32], gradient: &mut [f32]| {
///     let error = params[0] - *sample.borrow();
///     gradient[0] = error;
///     if error.is_nan() { Err(Error::objective("a sample is not a number")) } else { Ok(0.5 * error * error) }
/// })
/// .on_step(|step| {
///     // That of the step before, where the step repeats its minibatch: see `RateProbe::RepeatedMinibatch`.
///     let index = step.index - u64::from(step.repeats_minibatch);
///     *sample.borrow_mut() = read_sample(index).map_err(Error::objective)?;
///     Ok(())
/// });
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(1)?, Config::default(), &[1.0])?;
/// optimizer.step(&mut objective)?;
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct HostObjective<F, H = fn(&[f32], &[f32], &mut [f32]), S = fn(StepInfo)> {
    function: F,
    product: Option<H>,
    on_step: Option<S>,
    parts: u32,
    is_deterministic: bool,
    result: Vec<f32>,
}

impl<F: FnMut(&[f32], &mut [f32]) -> f32> HostObjective<F> {
    /// Wraps `function`, which returns the loss.
    pub fn new(function: F) -> Self {
        Self::wrap(function)
    }
}

impl<F: FnMut(&[f32], &mut [f32]) -> Result<f32>> HostObjective<F> {
    /// Wraps `function`, which returns the loss or an error, for instance one made with [`Error::objective`]. The call that
    /// asked for the gradient returns that error, and changes nothing.
    pub fn fallible(function: F) -> Self {
        Self::wrap(function)
    }
}

impl<F> HostObjective<F> {
    fn wrap(function: F) -> Self {
        Self {
            function,
            product: None,
            on_step: None,
            parts: 1,
            is_deterministic: false,
            result: Vec::new(),
        }
    }
}

impl<F, H, S> HostObjective<F, H, S> {
    /// Adds `FnMut(params, direction, product)`, which fills `product` with the Hessian at `params` times `direction`, and
    /// may return a [`Result`]; see [`Difference::Exact`](crate::Difference::Exact).
    pub fn with_hessian_product<G, R>(self, product: G) -> HostObjective<F, G, S>
    where
        G: FnMut(&[f32], &[f32], &mut [f32]) -> R,
        R: Outcome<()>,
    {
        let Self { function, on_step, parts, is_deterministic, result, .. } = self;
        HostObjective { function, product: Some(product), on_step, parts, is_deterministic, result }
    }

    /// Adds `FnMut(StepInfo)`, which is called before the evaluations of each step: [`Objective::begin_step`]. It may
    /// return a [`Result`].
    pub fn on_step<T, R>(self, on_step: T) -> HostObjective<F, H, T>
    where
        T: FnMut(StepInfo) -> R,
        R: Outcome<()>,
    {
        let Self { function, product, parts, is_deterministic, result, .. } = self;
        HostObjective { function, product, on_step: Some(on_step), parts, is_deterministic, result }
    }

    /// Says into how many equal parts the minibatch can be cut, 1 unless this is called: [`Objective::parts`]. The
    /// closures take the part that [`StepInfo::part`] names.
    pub fn with_parts(self, parts: u32) -> Self {
        Self { parts, ..self }
    }

    /// Says that the closures are the same function in every step: [`Objective::is_deterministic`].
    pub fn deterministic(self) -> Self {
        Self { is_deterministic: true, ..self }
    }
}

impl<F, H, S, L, P, B> Objective for HostObjective<F, H, S>
where
    F: FnMut(&[f32], &mut [f32]) -> L,
    H: FnMut(&[f32], &[f32], &mut [f32]) -> P,
    S: FnMut(StepInfo) -> B,
    L: Outcome<f32>,
    P: Outcome<()>,
    B: Outcome<()>,
{
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        self.on_step.as_mut().map_or(Ok(()), |on_step| on_step(step).into_result())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        let params = at.read_params()?;
        self.result.clear();
        self.result.resize(params.len(), 0.0);
        let loss = (self.function)(&params, &mut self.result).into_result()?;
        if at.is_checked {
            let mut other = vec![FILLER; params.len()];
            (self.function)(&params, &mut other).into_result()?;
            mark_unwritten(&mut self.result, &other);
        }
        if at.wants_loss() {
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
        product(&params, &direction, &mut self.result).into_result()?;
        at.write(&self.result)
    }

    fn parts(&self) -> u32 {
        self.parts
    }

    fn supplies_loss(&self) -> bool {
        true
    }

    fn is_deterministic(&self) -> bool {
        self.is_deterministic
    }
}

/// What a closure may return: a value, or a [`Result`] with one. The values are `f32` for a loss, and `()`.
pub trait Outcome<T>: sealed::Sealed {
    /// The value, or why there is none.
    #[doc(hidden)]
    fn into_result(self) -> Result<T>;
}

impl Outcome<f32> for f32 {
    fn into_result(self) -> Result<f32> {
        Ok(self)
    }
}

impl Outcome<()> for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl<T> Outcome<T> for Result<T> {
    fn into_result(self) -> Result<T> {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for () {}
    impl<T> Sealed for crate::error::Result<T> {}
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
