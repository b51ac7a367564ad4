//! [`Spectrum`]: the lowest modes of the loss at the parameters of an optimizer.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};
use crate::kernels::bindings::Bindings;
use crate::kernels::gpu_types::{BASIS, Goal, PARTIAL, Results, STEP_STRIDE};
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::plan::spectrum::SpectrumPlan;
use crate::player::{Compiled, Context, Player};
use crate::state::{BindGroups, UNIFORM, VECTOR, Workspace, orientation};

/// The k lowest eigenpairs of the Hessian at the parameters of an [`Optimizer`], found as a block by
/// Rayleigh–Ritz in the span of all modes, forces and directions (block LOBPCG, Knyazev 2001, SIAM J. Sci.
/// Comput. 23, 517). For looking at a loss, not for training: all gradients must be of the same function,
/// such as that of the full batch.
///
/// It measures by forward differences at the optimizer's [`Dimer::displacement`], and takes 6k vectors on the
/// GPU. It borrows the optimizer; the spectrum is the one at the optimizer's parameters.
///
/// [`Dimer::displacement`]: crate::Dimer::displacement
///
/// ```
/// use dimer::{Config, Dimer, Displacement, Gpu, HostObjective, Layout, Optimizer, Spectrum};
///
/// // ½ Σ hᵢ θᵢ² with h = −3, −1, 1, 3 …
/// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
///     for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
///         *g = (2.0 * i as f32 - 3.0) * x;
///     }
///     0.0
/// });
/// let dimer = Dimer { displacement: Displacement::Absolute(1.0), ..Dimer::default() };
/// let config = Config { dimer: Some(dimer), ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(20)?, config, &[0.0; 20])?;
/// let mut spectrum = Spectrum::new(&mut optimizer, 2, 0)?;
/// spectrum.rotate(&mut objective, 15)?;
/// let found = spectrum.read()?;
/// assert!((found[0].curvature + 3.0).abs() < 1e-3 && (found[1].curvature + 1.0).abs() < 1e-3);
/// assert!(found[0].orientation[0].abs() > 0.999);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct Spectrum<'a> {
    optimizer: &'a mut Optimizer,
    plan: SpectrumPlan,
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
    /// The Ritz value, in loss per parameter².
    pub curvature: f32,
    /// ‖Hx − C x‖, in the same unit; below about 10⁻³ ‖Hx‖ it is rounding.
    pub residual: f32,
    /// x, of unit length, in the order of the layout and without padding.
    pub orientation: Vec<f32>,
}

impl<'a> Spectrum<'a> {
    /// A block of `count` random modes, from 1 to 8, at the parameters of `optimizer`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any other count, and for more modes than elements under the dimer;
    /// [`Error::Unsupported`] without a dimer, and with an automatic displacement or exact products;
    /// [`Error::LimitTooSmall`], [`Error::OutOfMemory`].
    pub fn new(optimizer: &'a mut Optimizer, count: usize, seed: u64) -> Result<Self> {
        let Optimizer { gpu, layout, state, config, .. } = &*optimizer;
        let plan = SpectrumPlan::new(config, layout, gpu.tuning(), count)?;
        let basis = plan.basis();
        let limits = gpu.limits();
        limits.check_groups(&Bindings::Modes.groups(optimizer.plan.choices(gpu.tuning())))?;
        let shards = layout.shards(&limits, 2 * basis)?;
        let tiles = shards.iter().map(|shard| shard.len().div_ceil(layout.tile()));
        limits.check_workgroups(tiles.max().unwrap_or_default().max(basis) as u32)?;
        let block = |shard: &Range<usize>| {
            let bytes = (8 * basis * shard.len()) as u64;
            gpu.allocate("the block of modes", bytes, VECTOR).map(GpuSlice::whole)
        };
        let workspace: Vec<_> = shards.iter().map(block).collect::<Result<_>>()?;
        let partials = (basis * basis.div_ceil(4) * layout.tiles()) as u64 * PARTIAL;
        let bytes = size_of::<Results>() as u64 + partials;
        limits.check_binding(bytes)?;
        let results = gpu.allocate("modes", bytes, VECTOR)?;
        let goals = goals(gpu, count)?;
        let parts = Workspace {
            shards: &workspace,
            modes: Some((&results, &goals, size_of::<Goal>() as u64)),
        };
        let wanted = [Bindings::Scalars, Bindings::Probe, Bindings::Modes].into();
        let groups = BindGroups::new(gpu, layout, &optimizer.plan, state, &shards, &wanted, parts)?;
        let spectrum = Self { plan, shards, workspace, results, groups, optimizer };
        spectrum.write_random(seed);
        Ok(spectrum)
    }

    /// Improves the modes at the current parameters by this many rotations, at the cost of 1 + k + k ·
    /// `rotations` gradients, in one submission. The optimizer takes no step. Between two steps on one minibatch
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
        let program = self.plan.program(rotations);
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
            modes: self.plan.count as u32,
        };
        let mut player = Player::new(context, &program, &compiled);
        player.play(&mut encoder, objective)?;
        let evaluations = player.evaluations;
        if let Some(timer) = &mut optimizer.timer {
            timer.end(optimizer.gpu.queue(), &mut encoder, optimizer.index);
        }
        optimizer.gpu.submit("a rotation of modes", encoder)?;
        optimizer.gradient_evaluations += f64::from(evaluations);
        Ok(())
    }

    /// The optimizer at whose parameters the spectrum is.
    pub fn optimizer(&self) -> &Optimizer {
        self.optimizer
    }

    /// The modes, the softest first.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a gradient was not; [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn read(&self) -> Result<Vec<Eigenpair>> {
        let gpu = &self.optimizer.gpu;
        let results = finite(&gpu.read(&self.found())?)?;
        let modes = (0..self.plan.count).map(|mode| {
            let parts = self.places(mode).map(|(slice, range)| Ok((gpu.read(&slice)?, range)));
            Ok(self.eigenpair(&results, mode, parts.collect::<Result<_>>()?))
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
        for mode in 0..self.plan.count {
            let mut parts = Vec::new();
            for (slice, range) in self.places(mode) {
                parts.push((gpu.read_async(&slice).await?, range));
            }
            modes.push(self.eigenpair(&results, mode, parts));
        }
        Ok(modes)
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

    /// Writes the first modes: random, and orthogonal to each other.
    fn write_random(&self, seed: u64) {
        let Optimizer { gpu, layout, .. } = &*self.optimizer;
        let all: Vec<usize> = (0..layout.tensors().len()).collect();
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for mode in 0..self.plan.count {
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

    fn eigenpair(
        &self,
        results: &Results,
        mode: usize,
        parts: Vec<(Vec<u8>, Range<usize>)>,
    ) -> Eigenpair {
        let layout = &self.optimizer.layout;
        let mut padded = vec![0.0; layout.padded_len()];
        for (bytes, range) in parts {
            padded[range].copy_from_slice(&bytemuck::pod_collect_to_vec(&bytes));
        }
        Eigenpair {
            curvature: results.curvatures[mode],
            residual: results.residuals[mode],
            orientation: layout.unpad(&padded),
        }
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

/// A goal for every vector that a dispatch can aim at, with each number of vectors in use.
fn goals(gpu: &Gpu, count: usize) -> Result<wgpu::Buffer> {
    let basis = BASIS * count;
    let buffer = gpu.allocate("goals", (BASIS * basis) as u64 * STEP_STRIDE, UNIFORM)?;
    for parts in 1..=BASIS {
        for slot in 0..basis {
            let goal = Goal {
                slot: slot as u32,
                modes: count as u32,
                vectors: (parts * count) as u32,
                padding: 0,
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
