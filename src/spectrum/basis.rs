//! [`Basis`]: the memory of the kernels that build a basis, and how their programs are played.

use std::ops::Range;

use bytemuck::Zeroable;

use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice, Wait};
use crate::kernels::bindings::Bindings;
use crate::kernels::gpu_types::{Arguments, PARTIAL, Results, STEP_STRIDE};
use crate::layout::Layout;
use crate::objective::{Objective, Part, StepInfo};
use crate::optimizer::Optimizer;
use crate::parallel::Alone;
use crate::plan::program::Program;
use crate::player::{Compiled, Context, Player};
use crate::state::{BindGroups, UNIFORM_USAGES, VECTOR_USAGES, Workspace};

/// Vectors of a basis on the GPU, and what the kernels find of them.
#[derive(Debug)]
pub(super) struct Basis {
    shards: Vec<Range<usize>>,
    /// All vectors, a buffer for each shard.
    workspace: Vec<GpuSlice>,
    results: wgpu::Buffer,
    groups: BindGroups,
    /// How many arguments there are for each number of parts in use.
    arguments_of_parts: u32,
}

impl Basis {
    /// Room for this many vectors, products among them, and for this many sums of all tiles at once; all arguments that a
    /// dispatch can have, `arguments_of_parts` of them for each number of parts in use.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`](crate::Error::LimitTooSmall), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn new(
        optimizer: &Optimizer,
        vectors: usize,
        sums: usize,
        arguments: &[Arguments],
        arguments_of_parts: usize,
    ) -> Result<Self> {
        let Optimizer { gpu, layout, state, plan, .. } = optimizer;
        let limits = gpu.limits();
        limits.check_groups(&Bindings::Modes.groups(plan.choices(gpu.tuning())))?;
        let shards = layout.shards(&limits, vectors, 0..layout.padded_len())?;
        let tiles = shards.iter().map(|shard| shard.len().div_ceil(layout.tile()));
        limits.check_workgroups(tiles.max().unwrap_or_default().max(sums) as u32)?;
        let of_shard = |shard: &Range<usize>| {
            let bytes = (4 * vectors * shard.len()) as u64;
            gpu.allocate("the basis of a spectrum", bytes, VECTOR_USAGES).map(GpuSlice::whole)
        };
        let workspace: Vec<_> = shards.iter().map(of_shard).collect::<Result<_>>()?;
        let partials = (sums * layout.tiles()) as u64 * PARTIAL;
        let bytes = size_of::<Results>() as u64 + partials;
        limits.check_binding(bytes)?;
        let results = gpu.allocate("a spectrum", bytes, VECTOR_USAGES)?;
        let arguments = filled(gpu, arguments)?;
        let parts = Workspace {
            shards: &workspace,
            modes: Some((&results, &arguments, size_of::<Arguments>() as u64)),
        };
        let wanted = [Bindings::Probe, Bindings::Modes].into();
        let groups = BindGroups::new(gpu, layout, plan, state, &shards, &wanted, parts)?;
        let arguments_of_parts = arguments_of_parts as u32;
        Ok(Self { shards, workspace, results, groups, arguments_of_parts })
    }

    /// Records and submits `program`. With `begins`, which says what it is of, the objective begins a step before it.
    pub(super) async fn play(
        &self,
        optimizer: &mut Optimizer,
        objective: &mut (impl Objective + ?Sized),
        program: &Program,
        begins: Option<&str>,
        wait: Wait,
    ) -> Result<()> {
        let compiled = Compiled::new(&optimizer.gpu, &optimizer.plan, program)?;
        optimizer.prepare(wait).await?;
        let played = (program, &compiled);
        optimizer.set_loss_is_stale();
        self.submit(optimizer, objective, played, begins, wait).await
    }

    async fn submit(
        &self,
        optimizer: &mut Optimizer,
        objective: &mut (impl Objective + ?Sized),
        (program, compiled): (&Program, &Compiled),
        begins: Option<&str>,
        wait: Wait,
    ) -> Result<()> {
        // Every gradient has been finite so far; what was not is no longer in the basis.
        let valid = std::mem::offset_of!(Results, valid) as u64;
        optimizer.gpu.queue().write_buffer(&self.results, valid, bytemuck::bytes_of(&1_u32));
        if let Some(what) = begins {
            objective.begin_step(StepInfo {
                index: optimizer.index,
                repeats_minibatch: optimizer.repeats_minibatch(),
                part: Part::WHOLE,
                checksum: optimizer.checksum(what.as_bytes()),
            })?;
        }
        let mut encoder = optimizer.gpu.encoder("a spectrum");
        let context = Context {
            gpu: &optimizer.gpu,
            layout: &optimizer.layout,
            plan: &optimizer.plan,
            state: &optimizer.state,
            groups: &self.groups,
            timer: optimizer.timer.as_ref(),
            index: optimizer.index,
            checksum: 0,
            arguments_of_parts: self.arguments_of_parts,
        };
        let mut player = Player::new(context, program, compiled);
        player.play(&mut encoder, objective, &mut Alone, wait).await?;
        let evaluations = player.evaluations;
        if let Some(timer) = &mut optimizer.timer {
            timer.end(optimizer.gpu.queue(), &mut encoder, optimizer.index);
        }
        optimizer.gpu.submit("a spectrum", encoder)?;
        optimizer.gradient_evaluations += f64::from(evaluations);
        Ok(())
    }

    /// What the kernels have found, without their partials.
    pub(super) fn found(&self) -> GpuSlice {
        let size = size_of::<Results>() as u64;
        GpuSlice { buffer: self.results.clone(), offset: 0, size }
    }

    /// Sets what the kernels begin with: the bounds of the distance.
    pub(super) fn write_bounds(&self, gpu: &Gpu, fraction: f32, minimum: f32) {
        let mut results = Results::zeroed();
        (results.fraction, results.minimum) = (fraction, minimum);
        gpu.queue().write_buffer(&self.results, 0, bytemuck::bytes_of(&results));
    }

    /// Takes the distance of the probes that `other` has found.
    pub(super) fn copy_distance(&self, gpu: &Gpu, other: &Self) -> Result<()> {
        let offset = std::mem::offset_of!(Results, distance) as u64;
        let mut encoder = gpu.encoder("the distance of the probes");
        encoder.copy_buffer_to_buffer(&other.results, offset, &self.results, offset, 4);
        gpu.submit("the distance of the probes", encoder).map(drop)
    }

    /// Where a vector lies: for each shard, its memory and its elements.
    pub(super) fn places(
        &self,
        vector: usize,
    ) -> impl Iterator<Item = (GpuSlice, Range<usize>)> + '_ {
        self.shards.iter().zip(&self.workspace).map(move |(shard, workspace)| {
            let size = 4 * shard.len() as u64;
            let offset = vector as u64 * size;
            (GpuSlice { buffer: workspace.buffer.clone(), offset, size }, shard.clone())
        })
    }

    /// Writes a vector, padded.
    pub(super) fn write(&self, gpu: &Gpu, vector: usize, padded: &[f32]) {
        for (slice, range) in self.places(vector) {
            let bytes = bytemuck::cast_slice(&padded[range]);
            gpu.queue().write_buffer(&slice.buffer, slice.offset, bytes);
        }
    }
}

/// One vector from its shards, without padding.
pub(super) fn unpadded(layout: &Layout, parts: Vec<(Vec<u8>, Range<usize>)>) -> Vec<f32> {
    let mut padded = vec![0.0; layout.padded_len()];
    for (bytes, range) in parts {
        padded[range].copy_from_slice(&bytemuck::pod_collect_to_vec(&bytes));
    }
    layout.unpad(&padded)
}

/// The arguments, each at an offset that a dispatch can name.
fn filled(gpu: &Gpu, arguments: &[Arguments]) -> Result<wgpu::Buffer> {
    let buffer = gpu.allocate("arguments", arguments.len() as u64 * STEP_STRIDE, UNIFORM_USAGES)?;
    for (offset, each) in (0..).step_by(STEP_STRIDE as usize).zip(arguments) {
        gpu.queue().write_buffer(&buffer, offset, bytemuck::bytes_of(each));
    }
    Ok(buffer)
}
