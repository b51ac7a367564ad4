//! The fused kernels: pipelines, bind groups and dispatches, one file a family.
//!
//! [`unfused`] holds the same mathematics as chains of textbook operations.

mod displace;
mod gram;
mod rotate;
mod translate;
pub mod unfused;

use crate::config::{Base, Config, Dimer, Displacement};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice, WORKGROUP_SIZE};
use crate::layout::{BLOCK, Layout};
use crate::state::{STEP_SLOTS, STEP_STRIDE, Shard, State};

use displace::Displace;
use gram::Gram;
use rotate::Rotate;
use translate::Translate;

/// What a step does with the dimer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The base optimizer alone.
    Base,
    /// Corrects the gradient along the last N.
    Corrected,
    /// Turns N by a second gradient, then corrects along it.
    Event,
}

/// Every fused kernel that one configuration needs.
#[derive(Debug)]
pub(crate) struct Kernels {
    pub displace: Option<Displace>,
    pub gram: Gram,
    pub rotate: Option<Rotate>,
    pub translate: Translate,
    bindings: Bindings,
}

impl Kernels {
    pub(crate) fn new(gpu: &Gpu, layout: &Layout, config: &Config, state: &State) -> Result<Self> {
        let shards = layout.shards(&gpu.device().limits())?;
        gpu.validated("the kernels", || {
            let bindings = Bindings::new(gpu, layout, state, &shards);
            let builder = Builder { gpu, config, bindings: &bindings };
            let dimer = config.dimer.as_ref();
            Self {
                displace: dimer.map(|dimer| Displace::new(&builder, dimer)),
                gram: Gram::new(&builder),
                rotate: dimer.map(|_| Rotate::new(&builder)),
                translate: Translate::new(&builder),
                bindings,
            }
        })
    }

    /// Where a dispatch of step `index` finds its vectors and hyperparameters.
    pub(crate) fn at(&self, index: u64) -> At<'_> {
        At { bindings: &self.bindings, slot: (index % u64::from(STEP_SLOTS)) as u32 }
    }
}

/// Bind groups, and the slot of the step's hyperparameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    bindings: &'a Bindings,
    slot: u32,
}

/// One compute pipeline over the shards of the vectors.
#[derive(Debug)]
pub(crate) struct Kernel {
    pipeline: wgpu::ComputePipeline,
    over: Over,
}

/// Which bind group a kernel uses for its vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// `vector_bindings.wgsl`
    Vectors,
    /// `probe_bindings.wgsl`
    Probe,
}

impl Kernel {
    /// One dispatch a shard, one workgroup a tile.
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &at.bindings.step, &[at.slot * STEP_STRIDE as u32]);
        for shard in &at.bindings.shards {
            let vectors = match self.over {
                Over::Vectors => &shard.vectors,
                Over::Probe => &shard.probe,
            };
            pass.set_bind_group(0, vectors, &[]);
            pass.dispatch_workgroups(shard.tiles, 1, 1);
        }
    }
}

/// One pipeline for each [`Mode`] that the configuration can reach.
#[derive(Debug)]
struct PerMode {
    base: Kernel,
    dimer: Option<[Kernel; 2]>,
}

impl PerMode {
    fn new(config: &Config, kernel: impl Fn(Mode) -> Kernel) -> Self {
        Self {
            base: kernel(Mode::Base),
            dimer: config.dimer.as_ref().map(|_| [Mode::Corrected, Mode::Event].map(&kernel)),
        }
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, mode: Mode) {
        let kernel = match (mode, &self.dimer) {
            (Mode::Corrected, Some([corrected, _])) => corrected,
            (Mode::Event, Some([_, event])) => event,
            // Without a dimer the schedule knows no other mode.
            _ => &self.base,
        };
        kernel.encode(pass, at);
    }
}

/// Makes the pipelines of one configuration.
struct Builder<'a> {
    gpu: &'a Gpu,
    config: &'a Config,
    bindings: &'a Bindings,
}

/// What precedes the source of every kernel, up to its bindings.
const PRELUDE: &str = concat!(
    include_str!("../../shaders/common/switches.wgsl"),
    include_str!("../../shaders/common/types.wgsl"),
    include_str!("../../shaders/common/step_bindings.wgsl"),
);
const VECTORS: &str = include_str!("../../shaders/common/vector_bindings.wgsl");
const PROBE: &str = include_str!("../../shaders/common/probe_bindings.wgsl");
const REDUCTION: &str = include_str!("../../shaders/common/reduction.wgsl");
const OUTCOME: &str = include_str!("../../shaders/common/outcome.wgsl");
const BASE: &str = include_str!("../../shaders/common/base.wgsl");

impl Builder<'_> {
    fn kernel(&self, label: &str, over: Over, parts: &[&str], mode: Mode, moves: bool) -> Kernel {
        let vectors = match over {
            Over::Vectors => VECTORS,
            Over::Probe => PROBE,
        };
        let source = [PRELUDE, vectors, REDUCTION, &parts.concat()].concat();
        let layout = match over {
            Over::Vectors => &self.bindings.vectors_layout,
            Over::Probe => &self.bindings.probe_layout,
        };
        let constants = self.switches(mode, moves);
        Kernel { pipeline: pipeline(self.gpu, label, Some(layout), &source, &constants), over }
    }

    /// The overrides of `switches.wgsl`.
    fn switches(&self, mode: Mode, moves: bool) -> [(&'static str, f64); 9] {
        let (adam, decoupled, momentum, nesterov) = match self.config.base {
            Base::Sgd { momentum, nesterov } => (false, false, momentum > 0.0, nesterov),
            Base::Adam { .. } => (true, false, false, false),
            Base::AdamW { .. } => (true, true, false, false),
        };
        let relative = matches!(
            self.config.dimer,
            Some(Dimer { displacement: Displacement::Relative { .. }, .. })
        );
        let switch = |on: bool| f64::from(u8::from(on));
        [
            ("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE)),
            ("DIMER", switch(mode != Mode::Base)),
            ("ROTATION", switch(mode == Mode::Event)),
            ("TRANSLATION", switch(moves)),
            ("ADAM", switch(adam)),
            ("DECOUPLED_DECAY", switch(decoupled)),
            ("MOMENTUM", switch(momentum)),
            ("NESTEROV", switch(nesterov)),
            ("RELATIVE", switch(relative)),
        ]
    }
}

/// Compiles `source`; its entry point is `main`.
fn pipeline(
    gpu: &Gpu,
    label: &str,
    layout: Option<&wgpu::PipelineLayout>,
    source: &str,
    constants: &[(&str, f64)],
) -> wgpu::ComputePipeline {
    let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants,
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    })
}

/// The bind groups of one optimizer, made once.
#[derive(Debug)]
struct Bindings {
    vectors_layout: wgpu::PipelineLayout,
    probe_layout: wgpu::PipelineLayout,
    step: wgpu::BindGroup,
    shards: Vec<ShardBindings>,
}

#[derive(Debug)]
struct ShardBindings {
    vectors: wgpu::BindGroup,
    probe: wgpu::BindGroup,
    tiles: u32,
}

/// How a kernel uses one entry of a bind group.
#[derive(Clone, Copy)]
enum Entry {
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

impl Bindings {
    fn new(gpu: &Gpu, layout: &Layout, state: &State, shards: &[std::ops::Range<usize>]) -> Self {
        let vectors = group_layout(gpu, "vectors", &VECTOR_ENTRIES);
        let probe = group_layout(gpu, "probe", &PROBE_ENTRIES);
        let step = group_layout(gpu, "step", &[Entry::Slot, Entry::Uniform]);
        let slot = wgpu::BufferBinding {
            buffer: &state.steps,
            offset: 0,
            size: wgpu::BufferSize::new(size_of::<crate::state::Step>() as u64),
        };
        Self {
            vectors_layout: pipeline_layout(gpu, &[&vectors, &step]),
            probe_layout: pipeline_layout(gpu, &[&probe, &step]),
            step: bind_group(
                gpu,
                &step,
                &[wgpu::BindingResource::Buffer(slot), state.groups.as_entire_binding()],
            ),
            shards: shards
                .iter()
                .map(|shard| ShardBindings::new(gpu, layout, state, shard, &vectors, &probe))
                .collect(),
        }
    }
}

impl ShardBindings {
    fn new(
        gpu: &Gpu,
        layout: &Layout,
        state: &State,
        shard: &std::ops::Range<usize>,
        vectors: &wgpu::BindGroupLayout,
        probe: &wgpu::BindGroupLayout,
    ) -> Self {
        let tile = layout.tile();
        let twin = Shard {
            first_tile: (shard.start / tile) as u32,
            tile_vectors: (tile / 4) as u32,
            vectors: (shard.len() / 4) as u32,
            padding: 0,
        };
        let uniform = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("shard"),
            size: size_of::<Shard>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(&twin));
        let part = |slice| part_binding(slice, shard);
        let blocks = GpuSlice::whole(state.blocks.clone());
        let block_range = shard.start / BLOCK..shard.end / BLOCK;
        let vectors = bind_group(
            gpu,
            vectors,
            &[
                uniform.as_entire_binding(),
                state.scalars.as_entire_binding(),
                part_binding(&blocks, &block_range),
                part(&state.gradient),
                part(&state.probe_gradient),
                part(&state.orientation),
                part(&state.params),
                part(&state.first_moment),
                part(&state.second_moment),
            ],
        );
        let probe = bind_group(
            gpu,
            probe,
            &[
                uniform.as_entire_binding(),
                state.scalars.as_entire_binding(),
                part(&state.params),
                part(&state.orientation),
                part(&state.probe),
            ],
        );
        Self { vectors, probe, tiles: shard.len().div_ceil(tile) as u32 }
    }
}

/// The words `range` of `slice`, or all of it where it is a stub that no kernel touches.
fn part_binding<'a>(
    slice: &'a GpuSlice,
    range: &std::ops::Range<usize>,
) -> wgpu::BindingResource<'a> {
    let (begin, end) = (4 * range.start as u64, 4 * range.end as u64);
    if end > slice.size {
        return slice.as_binding();
    }
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: &slice.buffer,
        offset: slice.offset + begin,
        size: wgpu::BufferSize::new(end - begin),
    })
}

fn group_layout(gpu: &Gpu, label: &str, entries: &[Entry]) -> wgpu::BindGroupLayout {
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

fn pipeline_layout(gpu: &Gpu, groups: &[&wgpu::BindGroupLayout]) -> wgpu::PipelineLayout {
    let groups: Vec<_> = groups.iter().copied().map(Some).collect();
    gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &groups,
        immediate_size: 0,
    })
}

fn bind_group(
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
