//! The fused kernels: pipelines, bind groups and dispatches, one file a family.
//!
//! [`unfused`] holds the same mathematics as chains of textbook operations.

mod bindings;
mod calibrate;
mod displace;
mod gram;
pub(crate) mod modes;
mod rayleigh_ritz;
mod rotate;
mod scope;
#[cfg(test)]
mod tests;
mod translate;
pub(crate) mod unfused;
#[cfg(test)]
mod unfused_tests;

use std::ops::Range;

use crate::config::{Base, Config, Difference, Displacement, RayleighRitz as Ritz, Translation};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice, WORKGROUP_SIZE};
use crate::layout::Layout;
use crate::state::{STEP_SLOTS, STEP_STRIDE, State};

use bindings::{Bindings, ShardBindings};
use calibrate::Calibrate;
use displace::Displace;
use gram::Gram;
use rayleigh_ritz::{DIRECTION, RayleighRitz};
use rotate::Rotate;
use scope::Scope;
use translate::Translate;

/// What a step does with the dimer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The base optimizer alone.
    Base,
    /// Corrects the gradient along the last N.
    Corrected,
    /// Turns N by gradients at probes, then corrects along it.
    Event,
}

/// Every fused kernel that one configuration needs.
#[derive(Debug)]
pub(crate) struct Kernels {
    pub calibrate: Option<Calibrate>,
    pub displace: Option<Displace>,
    pub gram: Gram,
    pub rayleigh_ritz: Option<RayleighRitz>,
    pub rotate: Option<Rotate>,
    pub scope: Option<Scope>,
    pub translate: Translate,
    bindings: Bindings,
}

impl Kernels {
    pub(crate) fn new(gpu: &Gpu, layout: &Layout, config: &Config, state: &State) -> Result<Self> {
        let ritz = config.rayleigh_ritz();
        let widest = ritz.map_or(1, Ritz::vectors);
        let shards = layout.shards(&gpu.device().limits(), widest)?;
        gpu.validated("the kernels", || {
            let bindings = Bindings::new(gpu, layout, state, &shards, widest);
            let builder = Builder { gpu, config, bindings: &bindings };
            let dimer = config.dimer.as_ref();
            let automatic = dimer.filter(|dimer| dimer.displacement == Displacement::Automatic);
            Self {
                calibrate: automatic.map(|_| Calibrate::new(&builder)),
                displace: dimer.map(|dimer| Displace::new(&builder, dimer)),
                gram: Gram::new(&builder),
                rayleigh_ritz: ritz.map(|ritz| RayleighRitz::new(&builder, ritz)),
                rotate: dimer.map(|_| Rotate::new(&builder)),
                scope: state.regions.as_ref().map(|_| Scope::new(&builder)),
                translate: Translate::new(&builder),
                bindings,
            }
        })
    }

    /// Copies N into the workspace, where an event turns it: N itself changes only when every
    /// gradient of the event was finite.
    pub(crate) fn begin_event(&self, encoder: &mut wgpu::CommandEncoder, state: &State) {
        self.copy_to_workspace(encoder, state, &state.orientation, 0);
    }

    /// Keeps the gradient at θ + ΔR·d, for direction d number `direction` of an event, until that at
    /// θ − ΔR·d is there: in the slot of their difference.
    pub(crate) fn keep_probe_gradient(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        state: &State,
        direction: u32,
    ) {
        if let Some(ritz) = &self.rayleigh_ritz {
            self.copy_to_workspace(encoder, state, &state.probe_gradient, ritz.slot(direction));
        }
    }

    /// Where the search direction lies in the workspace, if it outlives an event: for each shard, its
    /// bytes there and its elements.
    pub(crate) fn direction_places(&self) -> impl Iterator<Item = (u64, Range<usize>)> + '_ {
        let aims = self.rayleigh_ritz.as_ref().is_some_and(RayleighRitz::aims);
        self.bindings.shards.iter().filter(move |_| aims).map(|ShardBindings { range, .. }| {
            let first = self.bindings.workspace_range(range).start + DIRECTION * range.len();
            (4 * first as u64, range.clone())
        })
    }

    fn copy_to_workspace(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        state: &State,
        vector: &GpuSlice,
        slot: u32,
    ) {
        for ShardBindings { range, .. } in &self.bindings.shards {
            let begin = self.bindings.workspace_range(range).start + slot as usize * range.len();
            encoder.copy_buffer_to_buffer(
                &vector.buffer,
                vector.offset + 4 * range.start as u64,
                &state.workspace,
                4 * begin as u64,
                4 * range.len() as u64,
            );
        }
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
    /// `basis_bindings.wgsl`
    Basis,
    /// The first two, each with `regions.wgsl`.
    RegionVectors,
    RegionProbe,
}

impl Over {
    fn of(self, shard: &ShardBindings) -> &wgpu::BindGroup {
        match self {
            Self::Vectors | Self::RegionVectors => &shard.vectors,
            Self::Probe | Self::RegionProbe => &shard.probe,
            Self::Basis => &shard.basis,
        }
    }

    fn has_regions(self) -> bool {
        matches!(self, Self::RegionVectors | Self::RegionProbe)
    }
}

impl Kernel {
    /// One workgroup, with the bindings of the first shard.
    fn encode_once(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.encode_first(pass, at, 1);
    }

    /// Streams of threads for all regions, with the bindings of the first shard.
    fn encode_regions(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        let regions = at.bindings.regions.as_ref().map_or(0, |regions| regions.workgroups);
        self.encode_first(pass, at, regions);
    }

    fn encode_first(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, workgroups: u32) {
        self.set(pass, at);
        pass.set_bind_group(0, self.over.of(&at.bindings.shards[0]), &[]);
        pass.dispatch_workgroups(workgroups, 1, 1);
    }

    /// One dispatch a shard: one workgroup a tile, or streams of threads for its pieces.
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.set(pass, at);
        for shard in &at.bindings.shards {
            pass.set_bind_group(0, self.over.of(shard), &[]);
            let workgroups =
                if self.over.has_regions() { shard.piece_workgroups } else { shard.tiles };
            pass.dispatch_workgroups(workgroups, 1, 1);
        }
    }

    fn set(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &at.bindings.step, &[at.slot * STEP_STRIDE as u32]);
        if let Some(regions) = at.bindings.regions.as_ref().filter(|_| self.over.has_regions()) {
            pass.set_bind_group(2, &regions.group, &[]);
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
const BASIS: &str = include_str!("../../shaders/common/basis_bindings.wgsl");
const PLACES: &str = include_str!("../../shaders/common/places.wgsl");
const STREAMS: &str = include_str!("../../shaders/common/streams.wgsl");
const PLACING: &str = include_str!("../../shaders/common/placing.wgsl");
const REDUCTION: &str = include_str!("../../shaders/common/reduction.wgsl");
const PRODUCTS: &str = include_str!("../../shaders/common/products.wgsl");
const REGIONS: &str = include_str!("../../shaders/common/regions.wgsl");
const REGION_OUTCOME: &str = include_str!("../../shaders/common/region_outcome.wgsl");
const OUTCOME: &str = include_str!("../../shaders/common/outcome.wgsl");
const BASE: &str = include_str!("../../shaders/common/base.wgsl");
const STEP: &str = include_str!("../../shaders/common/step.wgsl");

impl Builder<'_> {
    fn kernel(&self, label: &str, over: Over, parts: &[&str], switches: &Switches) -> Kernel {
        let (vectors, layout) = match over {
            Over::Vectors => ([VECTORS, PLACES].concat(), &self.bindings.vectors_layout),
            Over::Probe => ([PROBE, PLACING].concat(), &self.bindings.probe_layout),
            Over::Basis => ([BASIS, PLACES, PLACING].concat(), &self.bindings.basis_layout),
            Over::RegionVectors => {
                ([VECTORS, PLACES, REGIONS].concat(), &self.bindings.region_vectors_layout)
            }
            Over::RegionProbe => {
                ([PROBE, PLACING, REGIONS].concat(), &self.bindings.region_probe_layout)
            }
        };
        let source = [PRELUDE, STREAMS, &vectors, REDUCTION, &parts.concat()].concat();
        let constants = self.constants(over, switches);
        Kernel { pipeline: pipeline(self.gpu, label, Some(layout), &source, &constants), over }
    }

    /// The overrides of `switches.wgsl`.
    fn constants(&self, over: Over, switches: &Switches) -> [(&'static str, f64); 23] {
        let (adam, sophia, decoupled) = match self.config.base {
            Base::Sgd { .. } => (false, false, false),
            Base::Adam { .. } => (true, false, false),
            Base::AdamW { .. } => (true, false, true),
            Base::Sophia { .. } => (false, true, true),
        };
        let (momentum, nesterov) = match self.config.base {
            Base::Sgd { momentum, nesterov } => (momentum > 0.0, nesterov),
            _ => (false, false),
        };
        let dimer = self.config.dimer.as_ref();
        let exact = dimer.is_some_and(|dimer| dimer.difference == Difference::Exact);
        let displacement = dimer.filter(|_| !exact).map(|dimer| dimer.displacement);
        let translation = dimer.map(|dimer| dimer.translation);
        let event = switches.mode == Mode::Event;
        let ritz = self.config.rayleigh_ritz().filter(|_| event);
        // Where measure has made the mean of a central pair, the other kernels find it in place.
        let central = dimer.is_some_and(|dimer| dimer.difference == Difference::Central)
            && event
            && (ritz.is_none() || over == Over::Basis);
        let switch = |on: bool| f64::from(u8::from(on));
        [
            ("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE)),
            ("DIMER", switch(switches.mode != Mode::Base)),
            ("ROTATION", switch(event && (ritz.is_none() || switches.differences))),
            ("TRANSLATION", switch(switches.moves)),
            ("SADDLE_FREE", switch(matches!(translation, Some(Translation::SaddleFree { .. })))),
            ("CLIMB", switch(translation == Some(Translation::Climb))),
            ("ADAM", switch(adam)),
            ("SOPHIA", switch(sophia)),
            ("DECOUPLED_DECAY", switch(decoupled)),
            ("MOMENTUM", switch(momentum)),
            ("NESTEROV", switch(nesterov)),
            ("RITZ", switch(ritz.is_some())),
            ("FORCE", switch(switches.force)),
            ("DIRECTION", switch(switches.direction)),
            ("LAST", switch(switches.last)),
            ("AIMS", switch(ritz.is_some_and(Ritz::aims))),
            ("STOPS", switch(ritz.is_some_and(|ritz| ritz.stop().is_some()))),
            ("SLOT", f64::from(switches.slot)),
            ("RELATIVE", switch(matches!(displacement, Some(Displacement::Relative { .. })))),
            ("AUTOMATIC", switch(displacement == Some(Displacement::Automatic))),
            ("FAR", switch(switches.far)),
            ("CENTRAL", switch(central)),
            ("EXACT", switch(exact)),
        ]
    }
}

/// What tells the pipelines of one kernel apart, beside the configuration.
#[derive(Clone, Copy, Debug)]
struct Switches {
    mode: Mode,
    moves: bool,
    force: bool,
    direction: bool,
    last: bool,
    slot: u32,
    /// At twice the distance.
    far: bool,
    /// Sums over the difference of the gradients, whatever the rotation.
    differences: bool,
}

impl Switches {
    fn of(mode: Mode) -> Self {
        Self {
            mode,
            moves: false,
            force: false,
            direction: false,
            last: false,
            slot: 0,
            far: false,
            differences: false,
        }
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
        cache: gpu.pipeline_cache(),
    })
}
