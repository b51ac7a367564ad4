//! Bind groups and their layouts: what the WGSL files in `shaders/common/*_bindings.wgsl` name.

use std::ops::Range;

use crate::gpu::{Gpu, GpuSlice};
use crate::layout::{BLOCK, Layout};
use crate::state::{Shard, State, Step, workgroups};

/// The bind groups of one optimizer, made once.
#[derive(Debug)]
pub(super) struct Bindings {
    pub vectors_layout: wgpu::PipelineLayout,
    pub probe_layout: wgpu::PipelineLayout,
    pub basis_layout: wgpu::PipelineLayout,
    pub region_vectors_layout: wgpu::PipelineLayout,
    pub region_probe_layout: wgpu::PipelineLayout,
    pub step: wgpu::BindGroup,
    pub shards: Vec<ShardBindings>,
    /// None with a global dimer.
    pub regions: Option<RegionBindings>,
    /// Vectors of the workspace.
    widest: usize,
}

/// The bind group of `regions.wgsl`, the same for all shards.
#[derive(Debug)]
pub(super) struct RegionBindings {
    pub group: wgpu::BindGroup,
    /// Of a dispatch with one stream for each region of several pieces.
    pub several: u32,
    /// Of a dispatch with one thread a region, and of that where it is for regions of one piece.
    pub all: u32,
    pub single: u32,
}

#[derive(Debug)]
pub(super) struct ShardBindings {
    pub vectors: wgpu::BindGroup,
    pub probe: wgpu::BindGroup,
    pub basis: wgpu::BindGroup,
    pub tiles: u32,
    /// Of a dispatch whose streams walk its pieces.
    pub piece_workgroups: u32,
    /// The elements of the whole vector that it covers.
    pub range: Range<usize>,
}

/// How a kernel uses one entry of a bind group.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Uniform,
    /// A uniform whose offset is given with each dispatch.
    Slot,
    Read,
    Write,
}

/// In the order of `vector_bindings.wgsl`.
const VECTOR_ENTRIES: [Entry; 9] = [
    Entry::Uniform,
    Entry::Write,
    Entry::Read,
    Entry::Read,
    Entry::Read,
    Entry::Write,
    Entry::Write,
    Entry::Write,
    Entry::Write,
];

/// In the order of `probe_bindings.wgsl`.
const PROBE_ENTRIES: [Entry; 5] =
    [Entry::Uniform, Entry::Write, Entry::Read, Entry::Read, Entry::Write];

/// In the order of `basis_bindings.wgsl`.
const BASIS_ENTRIES: [Entry; 9] = [
    Entry::Uniform,
    Entry::Write,
    Entry::Read,
    // One of the two gradients is written, and they may share a buffer.
    Entry::Write,
    Entry::Write,
    Entry::Read,
    Entry::Write,
    Entry::Write,
    Entry::Write,
];

impl Bindings {
    /// With a workspace of `widest` vectors.
    pub(super) fn new(
        gpu: &Gpu,
        layout: &Layout,
        state: &State,
        shards: &[Range<usize>],
        widest: usize,
    ) -> Self {
        let vectors = group_layout(gpu, "vectors", &VECTOR_ENTRIES);
        let probe = group_layout(gpu, "probe", &PROBE_ENTRIES);
        let basis = group_layout(gpu, "basis", &BASIS_ENTRIES);
        let step = group_layout(gpu, "step", &[Entry::Slot, Entry::Uniform]);
        let regions = group_layout(gpu, "regions", &[Entry::Read, Entry::Write]);
        let slot = wgpu::BufferBinding {
            buffer: &state.steps,
            offset: 0,
            size: wgpu::BufferSize::new(size_of::<Step>() as u64),
        };
        Self {
            vectors_layout: pipeline_layout(gpu, &[&vectors, &step]),
            probe_layout: pipeline_layout(gpu, &[&probe, &step]),
            basis_layout: pipeline_layout(gpu, &[&basis, &step]),
            region_vectors_layout: pipeline_layout(gpu, &[&vectors, &step, &regions]),
            region_probe_layout: pipeline_layout(gpu, &[&probe, &step, &regions]),
            step: bind_group(
                gpu,
                &step,
                &[wgpu::BindingResource::Buffer(slot), state.tables.as_entire_binding()],
            ),
            shards: shards
                .iter()
                .enumerate()
                .map(|(index, shard)| {
                    let workspace = workspace_range(shard, widest);
                    let pieces = state.regions.as_ref().map(|regions| &regions.of_shard[index]);
                    let pieces = pieces.cloned().unwrap_or_default();
                    let layouts = [&vectors, &probe, &basis];
                    ShardBindings::new(gpu, layout, state, shard, &workspace, &pieces, layouts)
                })
                .collect(),
            regions: state.regions.as_ref().map(|buffers| {
                let size = gpu.tuning().workgroup_size;
                let all = (buffers.count() as u32).div_ceil(size);
                RegionBindings {
                    group: bind_group(
                        gpu,
                        &regions,
                        &[buffers.pieces.as_entire_binding(), buffers.regions.as_entire_binding()],
                    ),
                    several: workgroups(buffers.several, size),
                    all,
                    single: if buffers.several < buffers.count() { all } else { 0 },
                }
            }),
            widest,
        }
    }

    /// The words of the workspace that belong to `shard`.
    pub(super) fn workspace_range(&self, shard: &Range<usize>) -> Range<usize> {
        workspace_range(shard, self.widest)
    }
}

impl ShardBindings {
    fn new(
        gpu: &Gpu,
        layout: &Layout,
        state: &State,
        shard: &Range<usize>,
        workspace_range: &Range<usize>,
        pieces: &Range<usize>,
        [vectors, probe, basis]: [&wgpu::BindGroupLayout; 3],
    ) -> Self {
        let uniform = shard_uniform(gpu, &Shard::new(layout, shard, pieces));
        let part = |slice| part_binding(slice, shard, F32);
        let width = state.storage.bytes();
        let own = |slice| part_binding(slice, shard, width);
        let blocks = GpuSlice::whole(state.blocks.clone());
        let block_range = shard.start / BLOCK..shard.end / BLOCK;
        let vectors = bind_group(
            gpu,
            vectors,
            &[
                uniform.as_entire_binding(),
                state.scalars.as_entire_binding(),
                part_binding(&blocks, &block_range, F32),
                part(&state.gradient),
                part(&state.probe_gradient),
                own(&state.orientation),
                part(&state.params),
                own(&state.first_moment),
                own(&state.second_moment),
            ],
        );
        let probe = bind_group(
            gpu,
            probe,
            &[
                uniform.as_entire_binding(),
                state.scalars.as_entire_binding(),
                part(&state.params),
                own(&state.orientation),
                part(&state.probe),
            ],
        );
        let workspace = GpuSlice::whole(state.workspace.clone());
        let basis = bind_group(
            gpu,
            basis,
            &[
                uniform.as_entire_binding(),
                state.scalars.as_entire_binding(),
                part_binding(&blocks, &block_range, F32),
                part(&state.gradient),
                part(&state.probe_gradient),
                part(&state.params),
                own(&state.orientation),
                part(&state.probe),
                part_binding(&workspace, workspace_range, width),
            ],
        );
        let tiles = shard.len().div_ceil(layout.tile()) as u32;
        let piece_workgroups =
            workgroups(pieces.len(), gpu.tuning().workgroup_size).min(layout.workgroups());
        Self { vectors, probe, basis, tiles, piece_workgroups, range: shard.clone() }
    }
}

fn workspace_range(shard: &Range<usize>, widest: usize) -> Range<usize> {
    widest * shard.start..widest * shard.end
}

pub(super) fn shard_uniform(gpu: &Gpu, shard: &Shard) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("shard"),
        size: size_of::<Shard>() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, bytemuck::bytes_of(shard));
    buffer
}

/// Bytes of one element of most vectors.
pub(super) const F32: u64 = 4;

/// The elements `range` of `slice`, `width` bytes each, or all of it where it is a stub that no kernel
/// touches.
pub(super) fn part_binding<'a>(
    slice: &'a GpuSlice,
    range: &Range<usize>,
    width: u64,
) -> wgpu::BindingResource<'a> {
    let (begin, end) = (width * range.start as u64, width * range.end as u64);
    if end > slice.size {
        return slice.as_binding();
    }
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: &slice.buffer,
        offset: slice.offset + begin,
        size: wgpu::BufferSize::new(end - begin),
    })
}

pub(super) fn group_layout(gpu: &Gpu, label: &str, entries: &[Entry]) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = (0..)
        .zip(entries)
        .map(|(binding, entry)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match entry {
                    Entry::Uniform | Entry::Slot => wgpu::BufferBindingType::Uniform,
                    Entry::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Entry::Write => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: matches!(entry, Entry::Slot),
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    gpu.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(label),
        entries: &entries,
    })
}

pub(super) fn pipeline_layout(
    gpu: &Gpu,
    groups: &[&wgpu::BindGroupLayout],
) -> wgpu::PipelineLayout {
    let groups: Vec<_> = groups.iter().copied().map(Some).collect();
    gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &groups,
        immediate_size: 0,
    })
}

pub(super) fn bind_group(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    resources: &[wgpu::BindingResource<'_>],
) -> wgpu::BindGroup {
    let entries: Vec<_> = (0..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
        .collect();
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout,
        entries: &entries,
    })
}
