//! [`BindGroups`]: the bind groups of one optimizer, or of one set of modes, made once.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{State, UNIFORM_USAGES};
use crate::config::Storage;
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice, group_layout, vectors_layout};
use crate::kernels::bindings::{Bindings, Entry, Extra, Resource, STEP_GROUP, Vector, numbered};
use crate::kernels::choices::Choices;
use crate::kernels::gpu_types::{BLOCK, STEP_STRIDE, Shard, Step};
use crate::layout::Layout;
use crate::plan::Plan;

/// Vectors of which each shard has a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workspace<'a> {
    pub shards: &'a [GpuSlice],
    /// What a set of modes has found, and the arguments of its dispatches, of this many bytes each.
    pub modes: Option<(&'a wgpu::Buffer, &'a wgpu::Buffer, u64)>,
}

/// Bind groups, by what kernels ask for.
#[derive(Debug)]
pub(crate) struct BindGroups {
    shards: Vec<ShardGroups>,
    step: wgpu::BindGroup,
    extra: Option<(Extra, wgpu::BindGroup)>,
}

#[derive(Debug)]
struct ShardGroups {
    groups: Vec<(Bindings, wgpu::BindGroup)>,
    tiles: u32,
    /// Workgroups whose streams walk its pieces.
    piece_workgroups: u32,
}

impl BindGroups {
    /// The bind groups of `wanted`, over `shards`.
    pub(crate) fn new(
        gpu: &Gpu,
        layout: &Layout,
        plan: &Plan,
        state: &State,
        shards: &[Range<usize>],
        wanted: &BTreeSet<Bindings>,
        workspace: Workspace<'_>,
    ) -> Result<Self> {
        let size = gpu.tuning().workgroup_size;
        let choices = plan.choices(gpu.tuning());
        gpu.validated("the bind groups", || {
            let shard_groups = |(index, shard): (usize, &Range<usize>)| {
                let pieces = plan.regions.as_ref().map(|regions| regions.of_shard[index].clone());
                let pieces = pieces.unwrap_or_default();
                let uniform = shard_uniform(gpu, layout, plan, shard, &pieces);
                let modes = workspace.modes.map(|(found, ..)| found);
                let workspace = workspace.shards.get(index);
                let uniform = &uniform;
                let resources = ShardResources { plan, state, shard, uniform, workspace, modes };
                ShardGroups {
                    groups: wanted
                        .iter()
                        .map(|&bindings| (bindings, resources.group(gpu, bindings, choices)))
                        .collect(),
                    tiles: shard.len().div_ceil(layout.tile()) as u32,
                    piece_workgroups: crate::plan::workgroups(pieces.len(), size)
                        .min(layout.workgroups()),
                }
            };
            let shards = shards.iter().enumerate().map(shard_groups).collect();
            let step = [dynamic(&state.steps, size_of::<Step>() as u64), whole(&state.tables)];
            let extra = match (workspace.modes, &state.regions) {
                (Some((_, arguments, bytes)), _) => Some((
                    Extra::Arguments,
                    group(gpu, Extra::Arguments.group(), &[dynamic(arguments, bytes)]),
                )),
                (None, Some(buffers)) => {
                    let resources = [whole(&buffers.pieces), whole(&buffers.regions)];
                    Some((Extra::Regions, group(gpu, Extra::Regions.group(), &resources)))
                }
                (None, None) => None,
            };
            Self { shards, step: group(gpu, STEP_GROUP, &step), extra }
        })
    }

    /// How many shards there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Group 0 of `bindings` over shard number `shard`.
    pub(crate) fn vectors(&self, bindings: Bindings, shard: usize) -> Option<&wgpu::BindGroup> {
        let groups = &self.shards[shard].groups;
        groups.iter().find(|(of, _)| *of == bindings).map(|(_, group)| group)
    }

    pub(crate) fn tiles(&self, shard: usize) -> u32 {
        self.shards[shard].tiles
    }

    pub(crate) fn piece_workgroups(&self, shard: usize) -> u32 {
        self.shards[shard].piece_workgroups
    }

    /// Group 1.
    pub(crate) fn step(&self) -> &wgpu::BindGroup {
        &self.step
    }

    /// Group 2, if a kernel has one.
    pub(crate) fn extra(&self, extra: Extra) -> Option<&wgpu::BindGroup> {
        self.extra.as_ref().filter(|(of, _)| *of == extra).map(|(_, group)| group)
    }
}

/// Where the entries of one shard lie.
struct ShardResources<'a> {
    plan: &'a Plan,
    state: &'a State,
    shard: &'a Range<usize>,
    uniform: &'a wgpu::Buffer,
    workspace: Option<&'a GpuSlice>,
    modes: Option<&'a wgpu::Buffer>,
}

impl ShardResources<'_> {
    fn group(&self, gpu: &Gpu, bindings: Bindings, choices: Choices) -> wgpu::BindGroup {
        let entries = bindings.entries(choices);
        let resources: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let Entry { binding, resource, .. } = *entry;
                Some(wgpu::BindGroupEntry { binding, resource: self.resource(resource)? })
            })
            .collect();
        gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &vectors_layout(gpu, &entries),
            entries: &resources,
        })
    }

    fn resource(&self, resource: Resource) -> Option<wgpu::BindingResource<'_>> {
        let Self { state, shard, .. } = self;
        match resource {
            Resource::Shard => Some(whole(self.uniform)),
            Resource::Scalars => Some(whole(&state.scalars)),
            Resource::Blocks => {
                let blocks = shard.start / BLOCK..shard.end / BLOCK;
                Some(part(&state.blocks, 0, &blocks, Storage::F32.bytes()))
            }
            Resource::Modes => self.modes.map(whole),
            Resource::Vector(Vector::Workspace) => self.workspace.map(GpuSlice::as_binding),
            Resource::Vector(vector) => {
                let slice = state.vector(vector)?;
                let first = self.plan.kept(vector).start;
                let elements = shard.start - first..shard.end - first;
                Some(part(&slice.buffer, slice.offset, &elements, self.plan.width(vector)?))
            }
        }
    }
}

fn shard_uniform(
    gpu: &Gpu,
    layout: &Layout,
    plan: &Plan,
    range: &Range<usize>,
    pieces: &Range<usize>,
) -> wgpu::Buffer {
    let shard = Shard {
        first_tile: (range.start / layout.tile()) as u32,
        tile_vectors: (layout.tile() / 4) as u32,
        vectors: (range.len() / 4) as u32,
        first_piece: pieces.start as u32,
        end_piece: pieces.end as u32,
        zero: 0,
        leading_tile: plan.slice.tiles().start as u32,
        padding: 0,
    };
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("shard"),
        size: size_of::<Shard>() as u64,
        usage: UNIFORM_USAGES,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, bytemuck::bytes_of(&shard));
    buffer
}

/// The elements `range` of what begins at `offset`, `width` bytes each.
fn part<'a>(
    buffer: &'a wgpu::Buffer,
    offset: u64,
    range: &Range<usize>,
    width: u64,
) -> wgpu::BindingResource<'a> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: offset + width * range.start as u64,
        size: wgpu::BufferSize::new(width * range.len() as u64),
    })
}

fn whole(buffer: &wgpu::Buffer) -> wgpu::BindingResource<'_> {
    buffer.as_entire_binding()
}

/// The first of several; each dispatch says which one it wants.
fn dynamic(buffer: &wgpu::Buffer, bytes: u64) -> wgpu::BindingResource<'_> {
    debug_assert!(bytes <= STEP_STRIDE);
    let size = wgpu::BufferSize::new(bytes);
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size })
}

fn group(
    gpu: &Gpu,
    accesses: &[crate::kernels::bindings::Access],
    resources: &[wgpu::BindingResource<'_>],
) -> wgpu::BindGroup {
    let entries: Vec<_> = (0..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
        .collect();
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &group_layout(gpu, &numbered(accesses)),
        entries: &entries,
    })
}
