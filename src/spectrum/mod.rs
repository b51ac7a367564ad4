//! [`Spectrum`]: both ends of the spectrum of the Hessian at the parameters of an optimizer, its trace and its density.

mod basis;
mod density;

pub use density::{Density, Estimate, Node};

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::SpectrumConfig;
use crate::error::{Error, Result};
use crate::gpu::Wait;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::kernels::gpu_types::Results;
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::plan::spectrum::SpectrumPlan;
use crate::state::orientation;

use basis::{Basis, unpadded};

/// The lowest and the highest eigenpairs of the Hessian at the parameters of an [`Optimizer`], found together as a set
/// by Davidson's method with a thick restart (GD+k; Stathopoulos, Saad 1998, Electron. Trans. Numer. Anal. 7, 163;
/// Stathopoulos, McCombs 2010, ACM Trans. Math. Softw. 37, 21). For looking at a loss, not for training: all gradients
/// must be of the same function, such as that of the full batch.
///
/// In each rotation the residual of every mode is made orthogonal to the basis, which holds the modes and what they were
/// before, and the Hessian along it is measured. Nothing that has been measured is ever scaled up, so that errors do not
/// grow with the number of rotations; and where errors are most of what a residual holds, the mode itself is measured
/// again. At the end of [`Spectrum::rotate`] every mode is measured afresh, from both sides of θ; what the two differ by
/// tells how good the products are.
///
/// [`Spectrum::trace`] and [`Spectrum::density`] look at all of the spectrum. Over many minibatches, hand it an
/// [`Accumulated`](crate::Accumulated) objective.
///
/// For k modes it takes 6k vectors on the GPU. It borrows the optimizer, which must have a dimer; the spectrum is the one
/// at the optimizer's parameters, in the groups that the dimer reaches.
///
/// ```
/// use dimer::{Config, Dimer, Gpu, HostObjective, Layout, Optimizer, Spectrum, SpectrumConfig};
///
/// // ½ Σ hᵢ θᵢ² with h = −3, −1, 1, 3, …, 35.
/// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
///     for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
///         *g = (2.0 * i as f32 - 3.0) * x;
///     }
///     0.0
/// });
/// let config = Config { dimer: Some(Dimer::default()), ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(20)?, config, &[0.5; 20])?;
/// let ends = SpectrumConfig { lowest: 2, highest: 1, ..SpectrumConfig::default() };
/// let mut spectrum = Spectrum::with_config(&mut optimizer, ends)?;
/// spectrum.rotate(&mut objective, 15)?;
/// let found = spectrum.read()?;
/// for (mode, eigenvalue) in found.iter().zip([-3.0, -1.0, 35.0]) {
///     assert!(mode.converged && (mode.curvature - eigenvalue).abs() < 1e-3);
/// }
/// assert!(found[0].orientation[0].abs() > 0.999);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct Spectrum<'a> {
    optimizer: &'a mut Optimizer,
    plan: SpectrumPlan,
    /// Whether the distance of the probes has been found; a gradient that was not finite may have spoilt the search.
    has_distance: AtomicBool,
    /// Whether the last rotation went through, so that everything that is known of the modes belongs together.
    has_modes: bool,
    /// Random vectors drawn so far for [`Spectrum::trace`] and [`Spectrum::density`].
    drawn: u64,
    basis: Basis,
}

/// One mode: an approximate eigenpair of the Hessian.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Eigenpair {
    /// x·Hx, in loss per parameter², from products on both sides of θ.
    pub curvature: f32,
    /// ‖Hx − C x‖, in the same unit.
    pub residual: f32,
    /// An eigenvalue of the Hessian lies within this of `curvature`, in the same unit: ‖Hx − C x‖ + e (Parlett 1998, *The
    /// Symmetric Eigenvalue Problem*, theorem 4.5.1). Where the other eigenvalues are further away than that, C is closer
    /// than the bound, by its square over their distance. e is half of what Hx differs by on the two sides of θ, which
    /// bounds what rounding and the change of the curvature over the displacement add to it; with exact products, whose
    /// rounding does not show, it is 0.
    pub error: f32,
    /// Whether `error` is at most [`SpectrumConfig::tolerance`] times the largest |eigenvalue| seen. A mode that is not
    /// converged needs more rotations if its residual is large, or another displacement if it is not. No method that looks
    /// at products alone can promise that no eigenvalue was missed; of more equal ones than modes, some are.
    pub converged: bool,
    /// x, of unit length, in the order of the layout and without padding.
    pub orientation: Vec<f32>,
}

impl<'a> Spectrum<'a> {
    /// The `count` lowest modes, from 1 to 8, with the other settings of [`SpectrumConfig::default`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::with_config`].
    pub fn new(optimizer: &'a mut Optimizer, count: usize, seed: u64) -> Result<Self> {
        let settings = SpectrumConfig { lowest: count, seed, ..SpectrumConfig::default() };
        Self::with_config(optimizer, settings)
    }

    /// A set of random modes at the parameters of `optimizer`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings out of range, and for more modes than elements under the dimer;
    /// [`Error::Unsupported`] without a dimer; [`Error::LimitTooSmall`], [`Error::OutOfMemory`].
    pub fn with_config(optimizer: &'a mut Optimizer, settings: SpectrumConfig) -> Result<Self> {
        let Optimizer { gpu, layout, config, .. } = &*optimizer;
        let plan = SpectrumPlan::new(config, &settings, layout, gpu.tuning())?;
        let vectors = plan.basis();
        let basis = Basis::new(optimizer, 2 * vectors, plan.sums(), &plan.arguments(), vectors)?;
        let spectrum =
            Self { plan, has_distance: false.into(), has_modes: false, drawn: 0, basis, optimizer };
        spectrum.write_random();
        Ok(spectrum)
    }

    /// Improves the modes at the current parameters by this many rotations, in one submission unless the objective itself
    /// submits. It costs
    /// 1 + k (`rotations` + 3) gradients for k modes, and the first time those of the search for a
    /// [displacement](SpectrumConfig::displacement); with central differences 1 + k (2 `rotations` + 4), and with exact
    /// products k (`rotations` + 2) of those. The optimizer takes no step. Between two steps on one minibatch
    /// ([`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch)) it uses that minibatch as well.
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`], [`Error::TooManySkips`], [`Error::TooManyPendingSteps`],
    /// [`Error::DeviceLost`]. A gradient that is not finite
    /// is found by [`Spectrum::read`]; the modes are then as they were, except for the turns before it. After an error there
    /// is nothing to read before the next rotation, which goes on from what is left.
    #[cfg(not(target_family = "wasm"))]
    pub fn rotate(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        rotations: u32,
    ) -> Result<()> {
        block_on(self.rotate_with(objective, rotations, Wait::Block))
    }

    /// The asynchronous twin of [`Spectrum::rotate`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::rotate`].
    pub async fn rotate_async(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        rotations: u32,
    ) -> Result<()> {
        self.rotate_with(objective, rotations, Wait::Yield).await
    }

    async fn rotate_with(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        rotations: u32,
        wait: Wait,
    ) -> Result<()> {
        let program = self.plan.program(rotations, !self.has_distance());
        // What is broken off may have moved some of the modes.
        self.has_modes = false;
        let what = self.words(&format!("{rotations} rotations"));
        self.basis.play(self.optimizer, objective, &program, Some(&what), wait).await?;
        self.found_distance(self.plan.has_probes());
        self.has_modes = true;
        Ok(())
    }

    /// All that decides at which points `what` is evaluated, which ranks compare.
    fn words(&self, what: &str) -> String {
        let searches = if self.has_distance() { "" } else { " after a search" };
        format!("{what}{searches} of {:?}, {} vectors drawn", self.plan, self.drawn)
    }

    /// The optimizer at whose parameters the spectrum is.
    pub fn optimizer(&self) -> &Optimizer {
        self.optimizer
    }

    /// The modes by their curvature, the lowest first, as [`Spectrum::rotate`] has left them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before the first rotation, and after one that was broken off; [`Error::NonFinite`] if a
    /// gradient was not; [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read(&self) -> Result<Vec<Eigenpair>> {
        block_on(self.read_with(Wait::Block))
    }

    /// The asynchronous twin of [`Spectrum::read`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::read`].
    pub async fn read_async(&self) -> Result<Vec<Eigenpair>> {
        self.read_with(Wait::Yield).await
    }

    async fn read_with(&self, wait: Wait) -> Result<Vec<Eigenpair>> {
        let Optimizer { gpu, layout, .. } = &*self.optimizer;
        let results = self.measured(&gpu.read(&self.basis.found(), wait).await?)?;
        let mut modes = Vec::new();
        for (mode, pair) in self.ascending(&results) {
            let mut parts = Vec::new();
            for (slice, range) in self.basis.places(mode) {
                parts.push((gpu.read(&slice, wait).await?, range));
            }
            modes.push(Eigenpair { orientation: unpadded(layout, parts), ..pair });
        }
        Ok(modes)
    }

    /// The distance of the probes, in units of the parameters, once it has been found; exact products have none.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn displacement(&self) -> Result<Option<f32>> {
        block_on(self.displacement_with(Wait::Block))
    }

    /// The asynchronous twin of [`Spectrum::displacement`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::displacement`].
    pub async fn displacement_async(&self) -> Result<Option<f32>> {
        self.displacement_with(Wait::Yield).await
    }

    async fn displacement_with(&self, wait: Wait) -> Result<Option<f32>> {
        let bytes = self.optimizer.gpu.read(&self.basis.found(), wait).await?;
        Ok(self.has_distance().then(|| bytemuck::pod_read_unaligned::<Results>(&bytes).distance))
    }

    /// Writes what the kernels begin with: the bounds of the distance, and modes that are random and orthogonal to each
    /// other.
    fn write_random(&self) {
        let Optimizer { gpu, layout, .. } = &*self.optimizer;
        let all: Vec<usize> = (0..layout.tensors().len()).collect();
        self.basis.write_bounds(gpu, self.plan.fraction, self.plan.minimum);
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for mode in 0..self.plan.modes {
            let seed = self.stream(mode as u64);
            let random = orientation::random(layout, std::slice::from_ref(&all), seed);
            let vector = orthogonal(random, &vectors);
            self.basis.write(gpu, mode, &vector);
            vectors.push(vector);
        }
    }

    /// The seed of one random vector: streams of one generator, far apart.
    fn stream(&self, vector: u64) -> u64 {
        self.plan.seed.wrapping_add(vector << 32)
    }

    fn has_distance(&self) -> bool {
        self.has_distance.load(Ordering::Relaxed)
    }

    fn found_distance(&self, is_found: bool) {
        self.has_distance.store(is_found, Ordering::Relaxed);
    }

    /// What the kernels have found, if there is something and every gradient was finite.
    fn measured(&self, bytes: &[u8]) -> Result<Results> {
        if !self.has_modes {
            return Err(Error::Unsupported {
                what: "a read of the modes",
                with: "a spectrum whose last rotation is missing or was broken off",
                instead: "call `rotate` first",
            });
        }
        let results: Results = bytemuck::pod_read_unaligned(bytes);
        if results.valid == 0 {
            self.found_distance(false);
            let what = "a gradient of the modes";
            return Err(Error::NonFinite { what, index: 0, value: f32::NAN });
        }
        Ok(results)
    }

    /// The modes in ascending order, each with what is known of it but its orientation.
    fn ascending(&self, results: &Results) -> Vec<(usize, Eigenpair)> {
        let Results { curvatures, residuals, product_errors, largest, .. } = results;
        let mut modes: Vec<usize> = (0..self.plan.modes).collect();
        modes.sort_by(|&a, &b| curvatures[a].total_cmp(&curvatures[b]));
        let pair = |mode: usize| {
            let error = residuals[mode] + product_errors[mode];
            let pair = Eigenpair {
                curvature: curvatures[mode],
                residual: residuals[mode],
                error,
                converged: f64::from(error) <= self.plan.tolerance * f64::from(*largest),
                orientation: Vec::new(),
            };
            (mode, pair)
        };
        modes.into_iter().map(pair).collect()
    }
}

/// The part of `vector` outside `others`, of unit length: with few elements, random vectors may be almost
/// parallel.
fn orthogonal(vector: Vec<f32>, others: &[Vec<f32>]) -> Vec<f32> {
    let mut wide: Vec<f64> = vector.into_iter().map(f64::from).collect();
    let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
    for other in others.iter().chain(others) {
        let along = dot(&wide, other);
        wide.iter_mut().zip(other).for_each(|(x, other)| *x -= along * f64::from(*other));
    }
    let norm = wide.iter().map(|x| x * x).sum::<f64>().sqrt();
    wide.iter().map(|x| (x / norm) as f32).collect()
}
