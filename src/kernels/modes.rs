//! `shaders/modes/*.wgsl`: Rayleigh–Ritz for a block of modes.

use std::ops::Range;

use super::bindings::{
    Entry, F32, bind_group, group_layout, part_binding, pipeline_layout, shard_uniform,
};
use super::builder::{PLACES, preface};
use super::pipeline;
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};
use crate::layout::{BLOCK, Layout};
use crate::state::{PARTIAL, STEP_STRIDE, Shard, State, Step};

pub(super) const BINDINGS: &str = include_str!("../../shaders/common/modes_bindings.wgsl");
const AIM: &str = include_str!("../../shaders/modes/aim.wgsl");
const MEASURE: &str = include_str!("../../shaders/modes/measure.wgsl");
const GRAM: &str = include_str!("../../shaders/modes/gram.wgsl");
const RITZ: &str = include_str!("../../shaders/modes/ritz.wgsl");
const TURN: &str = include_str!("../../shaders/modes/turn.wgsl");

/// Twin of `MAX_MODES`.
pub(crate) const MAX_MODES: usize = 8;

/// Vectors of the basis for each mode: x, u and p.
const BASIS: usize = 3;

/// Twin of `Modes`, but for its partials.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Results {
    pub curvatures: [f32; MAX_MODES],
    pub residuals: [f32; MAX_MODES],
    inverse_residuals: [f32; MAX_MODES],
    combination: [[f32; MAX_MODES]; BASIS * MAX_MODES],
    direction: [[f32; MAX_MODES]; BASIS * MAX_MODES],
    pub valid: u32,
    padding: [u32; 3],
}

/// Twin of `Goal`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Goal {
    slot: u32,
    modes: u32,
    vectors: u32,
    padding: u32,
}

/// The buffers and kernels of one block.
#[derive(Debug)]
pub(crate) struct Modes {
    pub workspace: wgpu::Buffer,
    pub results: wgpu::Buffer,
    count: usize,
    aim: wgpu::ComputePipeline,
    measure: wgpu::ComputePipeline,
    gram: wgpu::ComputePipeline,
    ritz: wgpu::ComputePipeline,
    turn: wgpu::ComputePipeline,
    shards: Vec<ModeShard>,
    step: wgpu::BindGroup,
    goal: wgpu::BindGroup,
}

#[derive(Debug)]
struct ModeShard {
    group: wgpu::BindGroup,
    tiles: u32,
    /// The elements of the whole vector that it covers.
    range: Range<usize>,
}

const SHARD_ENTRIES: [Entry; 9] = [
    Entry::Uniform,
    Entry::Write,
    Entry::Read,
    Entry::Read,
    Entry::Read,
    Entry::Read,
    Entry::Write,
    Entry::Write,
    Entry::Write,
];

impl Modes {
    /// A block of `count` modes, at most [`MAX_MODES`].
    pub(crate) fn new(gpu: &Gpu, layout: &Layout, state: &State, count: usize) -> Result<Self> {
        let basis = BASIS * count;
        let ranges = layout.shards(&gpu.device().limits(), 2 * basis)?;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let workspace =
            gpu.allocate("the block of modes", 2 * basis as u64 * layout.bytes(), usage)?;
        let entries = basis * basis.div_ceil(4);
        let partials = (entries * layout.tiles()) as u64 * PARTIAL;
        let results = gpu.allocate("modes", size_of::<Results>() as u64 + partials, usage)?;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        // Every vector to aim at, with each number of vectors in use.
        let goals = gpu.allocate("goals", (BASIS * basis) as u64 * STEP_STRIDE, uniform)?;
        for vectors in 1..=BASIS {
            for slot in 0..basis {
                let goal = Goal {
                    slot: slot as u32,
                    modes: count as u32,
                    vectors: (vectors * count) as u32,
                    padding: 0,
                };
                let offset = ((vectors - 1) * basis + slot) as u64 * STEP_STRIDE;
                gpu.queue().write_buffer(&goals, offset, bytemuck::bytes_of(&goal));
            }
        }
        gpu.validated("the kernels of a block of modes", || {
            let shard_layout = group_layout(gpu, "modes", &SHARD_ENTRIES);
            let step_layout = group_layout(gpu, "step", &[Entry::Slot, Entry::Uniform]);
            let goal_layout = group_layout(gpu, "goal", &[Entry::Slot]);
            let layouts = pipeline_layout(gpu, &[&shard_layout, &step_layout, &goal_layout]);
            let kernel = |label, source| {
                let tuning = gpu.tuning();
                let source = [&preface(tuning), BINDINGS, PLACES, source].concat();
                let constants = [("WORKGROUP_SIZE", f64::from(tuning.workgroup_size))];
                pipeline(gpu, label, Some(&layouts), &source, &constants)
            };
            let slot = |buffer, size: usize| {
                let size = wgpu::BufferSize::new(size as u64);
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size })
            };
            let shards = ranges.iter().map(|range| {
                let shard = Shard::new(layout, range, &(0..0));
                let whole = |buffer: &wgpu::Buffer| GpuSlice::whole(buffer.clone());
                let blocks = whole(&state.blocks);
                let block_range = range.start / BLOCK..range.end / BLOCK;
                let basis_range = 2 * basis * range.start..2 * basis * range.end;
                let vectors = whole(&workspace);
                let group = bind_group(
                    gpu,
                    &shard_layout,
                    &[
                        shard_uniform(gpu, &shard).as_entire_binding(),
                        state.scalars.as_entire_binding(),
                        part_binding(&blocks, &block_range, F32),
                        part_binding(&state.gradient, range, F32),
                        part_binding(&state.probe_gradient, range, F32),
                        part_binding(&state.params, range, F32),
                        part_binding(&state.probe, range, F32),
                        part_binding(&vectors, &basis_range, F32),
                        results.as_entire_binding(),
                    ],
                );
                let tiles = range.len().div_ceil(layout.tile()) as u32;
                ModeShard { group, tiles, range: range.clone() }
            });
            let shards = shards.collect();
            let step = [slot(&state.steps, size_of::<Step>()), state.tables.as_entire_binding()];
            let goal = [slot(&goals, size_of::<Goal>())];
            Self {
                count,
                aim: kernel("modes/aim", AIM),
                measure: kernel("modes/measure", MEASURE),
                gram: kernel("modes/gram", GRAM),
                ritz: kernel("modes/ritz", RITZ),
                turn: kernel("modes/turn", TURN),
                shards,
                step: bind_group(gpu, &step_layout, &step),
                goal: bind_group(gpu, &goal_layout, &goal),
                workspace: workspace.clone(),
                results: results.clone(),
            }
        })
    }

    /// Places the probe along vector `slot` of the basis.
    pub(crate) fn aim(&self, pass: &mut wgpu::ComputePass<'_>, slot: usize) {
        self.encode(pass, &self.aim, 1, slot, |shard| [shard.tiles, 1, 1]);
    }

    /// Takes in the gradient there.
    pub(crate) fn measure(&self, pass: &mut wgpu::ComputePass<'_>, slot: usize) {
        self.encode(pass, &self.measure, 1, slot, |shard| [shard.tiles, 1, 1]);
    }

    /// Rayleigh–Ritz in the span of x, or with `parts` 2 also u, or with 3 also p.
    pub(crate) fn rotate(&self, pass: &mut wgpu::ComputePass<'_>, parts: usize) {
        let vectors = (parts * self.count) as u32;
        self.encode(pass, &self.gram, parts, 0, |shard| {
            [shard.tiles, vectors, vectors.div_ceil(4)]
        });
        self.set(pass, &self.ritz, parts, 0);
        pass.set_bind_group(0, &self.shards[0].group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        self.encode(pass, &self.turn, parts, 0, |shard| [shard.tiles, 1, 1]);
    }

    fn encode(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        kernel: &wgpu::ComputePipeline,
        parts: usize,
        slot: usize,
        workgroups: impl Fn(&ModeShard) -> [u32; 3],
    ) {
        self.set(pass, kernel, parts, slot);
        for shard in &self.shards {
            pass.set_bind_group(0, &shard.group, &[]);
            let [x, y, z] = workgroups(shard);
            pass.dispatch_workgroups(x, y, z);
        }
    }

    fn set(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        kernel: &wgpu::ComputePipeline,
        parts: usize,
        slot: usize,
    ) {
        let goal = ((parts - 1) * BASIS * self.count + slot) as u32 * STEP_STRIDE as u32;
        pass.set_pipeline(kernel);
        pass.set_bind_group(1, &self.step, &[0]);
        pass.set_bind_group(2, &self.goal, &[goal]);
    }

    /// Where mode `mode` lies in the workspace: for each shard, its bytes there and its elements.
    pub(crate) fn places(&self, mode: usize) -> impl Iterator<Item = (u64, Range<usize>)> + '_ {
        let basis = 2 * BASIS * self.count;
        self.shards.iter().map(move |ModeShard { range, .. }| {
            let first = basis * range.start + mode * range.len();
            (4 * first as u64, range.clone())
        })
    }
}
