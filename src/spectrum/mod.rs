//! [`Spectrum`]: both ends of the spectrum of the Hessian at the parameters of an optimizer.

use std::ops::Range;

use bytemuck::Zeroable;

use crate::config::SpectrumConfig;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};
use crate::kernels::bindings::Bindings;
use crate::kernels::gpu_types::{BASIS, Goal, PARTIAL, Results, STEP_STRIDE};
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::plan::spectrum::SpectrumPlan;
use crate::player::{Compiled, Context, Player};
use crate::state::{BindGroups, UNIFORM, VECTOR, Workspace, orientation};

/// The lowest and the highest eigenpairs of the Hessian at the parameters of an [`Optimizer`], found together as a block
/// by Davidson's method with a thick restart (GD+k; Stathopoulos, Saad 1998, Electron. Trans. Numer. Anal. 7, 163;
/// Stathopoulos, McCombs 2010, ACM Trans. Math. Softw. 37, 21). For looking at a loss, not for training: all gradients
/// must be of the same function, such as that of the full batch.
///
/// In each rotation the residual of every mode is made orthogonal to the basis, which holds the modes and what they were
/// before, and the Hessian along it is measured by a forward difference. Nothing that has been measured is ever scaled up,
/// so that errors do not grow with the number of rotations; and where errors are most of what a residual holds, the mode
/// itself is measured again. At the end of [`Spectrum::rotate`] every mode is measured
/// afresh, from both sides of θ; what the two differ by tells how good the products are.
///
/// For k modes it takes 6k vectors on the GPU. It borrows the optimizer; the spectrum is the one at the optimizer's
/// parameters, in the groups that the dimer reaches.
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
    /// Whether the distance of the probes has been found.
    has_distance: bool,
    shards: Vec<Range<usize>>,
    /// The basis and its products, a buffer for each shard.
    workspace: Vec<GpuSlice>,
    results: wgpu::Buffer,
    groups: BindGroups,
}

/// One mode: an approximate eigenpair of the Hessian.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Eigenpair {
    /// x·Hx, in loss per parameter², from products on both sides of θ.
    pub curvature: f32,
    /// ‖Hx − C x‖, in the same unit.
    pub residual: f32,
    /// An eigenvalue of the Hessian lies within this of `curvature`, in the same unit: ‖Hx − C x‖ + e, or where the
    /// neighbours of the mode were found as well and leave it a gap g, the smaller e + (‖Hx − C x‖ + e)²/g
    /// (Kato 1949, J. Phys. Soc. Japan 4, 334). e is half of what Hx differs by on the two sides of θ, which bounds what
    /// rounding and the change of the curvature over the displacement add to it.
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

    /// A block of random modes at the parameters of `optimizer`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings out of range, and for more modes than elements under the dimer;
    /// [`Error::Unsupported`] without a dimer and with exact products; [`Error::LimitTooSmall`], [`Error::OutOfMemory`].
    pub fn with_config(optimizer: &'a mut Optimizer, settings: SpectrumConfig) -> Result<Self> {
        let Optimizer { gpu, layout, state, config, .. } = &*optimizer;
        let plan = SpectrumPlan::new(config, &settings, layout, gpu.tuning())?;
        let basis = plan.basis();
        let limits = gpu.limits();
        limits.check_groups(&Bindings::Modes.groups(optimizer.plan.choices(gpu.tuning())))?;
        let shards = layout.shards(&limits, 2 * basis)?;
        let tiles = shards.iter().map(|shard| shard.len().div_ceil(layout.tile()));
        limits.check_workgroups(tiles.max().unwrap_or_default().max(plan.sums()) as u32)?;
        let block = |shard: &Range<usize>| {
            let bytes = (8 * basis * shard.len()) as u64;
            gpu.allocate("the block of modes", bytes, VECTOR).map(GpuSlice::whole)
        };
        let workspace: Vec<_> = shards.iter().map(block).collect::<Result<_>>()?;
        let partials = (plan.sums() * layout.tiles()) as u64 * PARTIAL;
        let bytes = size_of::<Results>() as u64 + partials;
        limits.check_binding(bytes)?;
        let results = gpu.allocate("modes", bytes, VECTOR)?;
        let goals = goals(gpu, &plan)?;
        let parts = Workspace {
            shards: &workspace,
            modes: Some((&results, &goals, size_of::<Goal>() as u64)),
        };
        let wanted = [Bindings::Probe, Bindings::Modes].into();
        let groups = BindGroups::new(gpu, layout, &optimizer.plan, state, &shards, &wanted, parts)?;
        let has_distance = false;
        let spectrum = Self { plan, has_distance, shards, workspace, results, groups, optimizer };
        spectrum.write_random();
        Ok(spectrum)
    }

    /// Improves the modes at the current parameters by this many rotations, in one submission. It costs
    /// 1 + k (`rotations` + 3) gradients for k modes, and the first time those of the search for a
    /// [displacement](SpectrumConfig::displacement). The optimizer takes no step. Between two steps on one minibatch
    /// ([`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch)) it uses that minibatch as well.
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`], [`Error::DeviceLost`]. A gradient that is not finite
    /// is found by [`Spectrum::read`]; the modes are then as they were, except for the turns before it.
    pub fn rotate(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        rotations: u32,
    ) -> Result<()> {
        let optimizer = &mut *self.optimizer;
        let program = self.plan.program(rotations, !self.has_distance);
        let compiled = Compiled::new(&optimizer.gpu, &optimizer.plan, &program)?;
        let valid = std::mem::offset_of!(Results, valid) as u64;
        optimizer.gpu.queue().write_buffer(&self.results, valid, bytemuck::bytes_of(&1_u32));
        optimizer.prepare()?;
        objective.begin_step(crate::objective::StepInfo {
            index: optimizer.index,
            repeats_minibatch: optimizer.repeats_minibatch(),
            part: crate::objective::Part::WHOLE,
        })?;
        let mut encoder = optimizer.gpu.encoder("modes");
        let context = Context {
            gpu: &optimizer.gpu,
            layout: &optimizer.layout,
            plan: &optimizer.plan,
            state: &optimizer.state,
            groups: &self.groups,
            timer: optimizer.timer.as_ref(),
            index: optimizer.index,
            modes: self.plan.modes as u32,
        };
        let mut player = Player::new(context, &program, &compiled);
        player.play(&mut encoder, objective)?;
        let evaluations = player.evaluations;
        if let Some(timer) = &mut optimizer.timer {
            timer.end(optimizer.gpu.queue(), &mut encoder, optimizer.index);
        }
        optimizer.gpu.submit("a rotation of modes", encoder)?;
        optimizer.gradient_evaluations += f64::from(evaluations);
        self.has_distance = true;
        Ok(())
    }

    /// The optimizer at whose parameters the spectrum is.
    pub fn optimizer(&self) -> &Optimizer {
        self.optimizer
    }

    /// The modes by their curvature, the lowest first, as [`Spectrum::rotate`] has left them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a gradient was not; [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn read(&self) -> Result<Vec<Eigenpair>> {
        let gpu = &self.optimizer.gpu;
        let results = finite(&gpu.read(&self.found())?)?;
        let modes = self.ascending(&results).into_iter().map(|(mode, pair)| {
            let parts = self.places(mode).map(|(slice, range)| Ok((gpu.read(&slice)?, range)));
            Ok(Eigenpair { orientation: self.unpadded(parts.collect::<Result<_>>()?), ..pair })
        });
        modes.collect()
    }

    /// The asynchronous twin of [`Spectrum::read`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::read`].
    pub async fn read_async(&self) -> Result<Vec<Eigenpair>> {
        let gpu = &self.optimizer.gpu;
        let results = finite(&gpu.read_async(&self.found()).await?)?;
        let mut modes = Vec::new();
        for (mode, pair) in self.ascending(&results) {
            let mut parts = Vec::new();
            for (slice, range) in self.places(mode) {
                parts.push((gpu.read_async(&slice).await?, range));
            }
            modes.push(Eigenpair { orientation: self.unpadded(parts), ..pair });
        }
        Ok(modes)
    }

    /// The distance of the probes, in units of the parameters, once [`Spectrum::rotate`] has found it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn displacement(&self) -> Result<Option<f32>> {
        let bytes = self.optimizer.gpu.read(&self.found())?;
        Ok(self.has_distance.then(|| bytemuck::pod_read_unaligned::<Results>(&bytes).distance))
    }

    /// The asynchronous twin of [`Spectrum::displacement`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::displacement`].
    pub async fn displacement_async(&self) -> Result<Option<f32>> {
        let bytes = self.optimizer.gpu.read_async(&self.found()).await?;
        Ok(self.has_distance.then(|| bytemuck::pod_read_unaligned::<Results>(&bytes).distance))
    }

    /// What the kernels have found, without their partials.
    fn found(&self) -> GpuSlice {
        let size = size_of::<Results>() as u64;
        GpuSlice { buffer: self.results.clone(), offset: 0, size }
    }

    /// Where mode `mode` lies: for each shard, its memory and its elements.
    fn places(&self, mode: usize) -> impl Iterator<Item = (GpuSlice, Range<usize>)> + '_ {
        self.shards.iter().zip(&self.workspace).map(move |(shard, workspace)| {
            let size = 4 * shard.len() as u64;
            let offset = mode as u64 * size;
            (GpuSlice { buffer: workspace.buffer.clone(), offset, size }, shard.clone())
        })
    }

    /// Writes what the kernels begin with: the bounds of the distance, and modes that are random and orthogonal to each
    /// other.
    fn write_random(&self) {
        let Optimizer { gpu, layout, .. } = &*self.optimizer;
        let all: Vec<usize> = (0..layout.tensors().len()).collect();
        let SpectrumPlan { fraction, minimum, seed, .. } = self.plan;
        let mut results = Results::zeroed();
        (results.fraction, results.minimum) = (fraction, minimum);
        gpu.queue().write_buffer(&self.results, 0, bytemuck::bytes_of(&results));
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for mode in 0..self.plan.modes {
            // Streams of one generator, far apart.
            let seed = seed.wrapping_add((mode as u64) << 32);
            let random = orientation::random(layout, std::slice::from_ref(&all), seed);
            let vector = orthogonal(random, &vectors);
            for (slice, range) in self.places(mode) {
                let bytes = bytemuck::cast_slice(&vector[range]);
                gpu.queue().write_buffer(&slice.buffer, slice.offset, bytes);
            }
            vectors.push(vector);
        }
    }

    /// The modes in ascending order, each with what is known of it but its orientation.
    fn ascending(&self, results: &Results) -> Vec<(usize, Eigenpair)> {
        let Results { curvatures, residuals, product_errors, largest, .. } = results;
        let mut modes: Vec<usize> = (0..self.plan.modes).collect();
        modes.sort_by(|&a, &b| curvatures[a].total_cmp(&curvatures[b]));
        let curvature = |mode: usize| f64::from(curvatures[mode]);
        let product_error = |mode: usize| f64::from(product_errors[mode]);
        let bounds: Vec<f64> =
            modes.iter().map(|&mode| f64::from(residuals[mode]) + product_error(mode)).collect();
        // What lies between the last of the lowest modes and the first of the highest was not found.
        let is_whole = modes.len() == self.optimizer.layout.dimer_len();
        let is_open = |edge: usize| edge == self.plan.lowest && !is_whole;
        let gap = |place: usize, neighbour: Option<usize>, edge: usize| match neighbour {
            _ if is_open(edge) => 0.0,
            None => f64::INFINITY,
            Some(neighbour) => {
                let between = curvature(modes[place]) - curvature(modes[neighbour]);
                between.abs() - bounds[neighbour]
            }
        };
        let pair = |(place, &mode): (usize, &usize)| {
            let next = Some(place + 1).filter(|&next| next < modes.len());
            let gap = gap(place, place.checked_sub(1), place).min(gap(place, next, place + 1));
            let bound = bounds[place];
            let by_gap = product_error(mode) + bound * bound / gap;
            let error = if gap > 0.0 { bound.min(by_gap) } else { bound };
            let pair = Eigenpair {
                curvature: curvatures[mode],
                residual: residuals[mode],
                error: error as f32,
                converged: error <= self.plan.tolerance * f64::from(*largest),
                orientation: Vec::new(),
            };
            (mode, pair)
        };
        modes.iter().enumerate().map(pair).collect()
    }

    /// One mode from its shards.
    fn unpadded(&self, parts: Vec<(Vec<u8>, Range<usize>)>) -> Vec<f32> {
        let layout = &self.optimizer.layout;
        let mut padded = vec![0.0; layout.padded_len()];
        for (bytes, range) in parts {
            padded[range].copy_from_slice(&bytemuck::pod_collect_to_vec(&bytes));
        }
        layout.unpad(&padded)
    }
}

/// What the kernels have found, if every gradient was finite.
fn finite(bytes: &[u8]) -> Result<Results> {
    let results: Results = bytemuck::pod_read_unaligned(bytes);
    if results.valid == 0 {
        let what = "a gradient of the modes";
        return Err(Error::NonFinite { what, index: 0, value: f32::NAN });
    }
    Ok(results)
}

/// A goal for every vector that a dispatch can be for, with each number of vectors in use.
fn goals(gpu: &Gpu, plan: &SpectrumPlan) -> Result<wgpu::Buffer> {
    let basis = plan.basis();
    let buffer = gpu.allocate("goals", (BASIS * basis) as u64 * STEP_STRIDE, UNIFORM)?;
    for parts in 1..=BASIS {
        for slot in 0..basis {
            let goal = Goal {
                slot: slot as u32,
                modes: plan.modes as u32,
                lowest: plan.lowest as u32,
                vectors: (parts * plan.modes) as u32,
            };
            let offset = ((parts - 1) * basis + slot) as u64 * STEP_STRIDE;
            gpu.queue().write_buffer(&buffer, offset, bytemuck::bytes_of(&goal));
        }
    }
    Ok(buffer)
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
