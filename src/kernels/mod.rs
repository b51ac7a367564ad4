//! The fused kernels: pipelines, bind groups and dispatches, one file a family.
//!
//! [`unfused`] holds the same mathematics as chains of textbook operations.

mod bindings;
mod builder;
mod calibrate;
mod displace;
mod gram;
pub(crate) mod modes;
mod rayleigh_ritz;
mod rotate;
mod scope;
#[cfg(test)]
mod tests;
mod timer;
#[cfg(test)]
mod traffic_tests;
mod translate;
pub(crate) mod unfused;
#[cfg(test)]
mod unfused_tests;

use std::ops::Range;

use crate::config::{Config, Displacement, RayleighRitz as Ritz};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};
use crate::layout::Layout;
use crate::state::{STEP_SLOTS, STEP_STRIDE, State};

use bindings::{Bindings, RegionBindings, ShardBindings};
use builder::{Builder, Switches};
use calibrate::Calibrate;
use displace::Displace;
use gram::Gram;
use rayleigh_ritz::{DIRECTION, RayleighRitz};
use rotate::Rotate;
use scope::Scope;
pub use timer::KernelTime;
pub(crate) use timer::Timer;
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
    /// While the user wants to know how long kernels take.
    pub timer: Option<Timer>,
    bindings: Bindings,
}

const PRODUCTS: &str = include_str!("../../shaders/common/products.wgsl");
const REGION_OUTCOME: &str = include_str!("../../shaders/common/region_outcome.wgsl");
const OUTCOME: &str = include_str!("../../shaders/common/outcome.wgsl");
const BASE: &str = include_str!("../../shaders/common/base.wgsl");
const APPLYING: &str = include_str!("../../shaders/common/applying.wgsl");
const STEP: &str = include_str!("../../shaders/common/step.wgsl");

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
                timer: None,
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
    /// first element there, and its elements.
    pub(crate) fn direction_places(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let aims = self.rayleigh_ritz.as_ref().is_some_and(RayleighRitz::aims);
        self.bindings.shards.iter().filter(move |_| aims).map(|ShardBindings { range, .. }| {
            let first = self.bindings.workspace_range(range).start + DIRECTION * range.len();
            (first, range.clone())
        })
    }

    fn copy_to_workspace(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        state: &State,
        vector: &GpuSlice,
        slot: u32,
    ) {
        // A vector of f32 is copied only where the workspace is of f32 as well.
        let width = state.storage.bytes();
        #[cfg(test)]
        traffic_tests::note("copy", 2.0 * width as f64);
        for ShardBindings { range, .. } in &self.bindings.shards {
            let begin = self.bindings.workspace_range(range).start + slot as usize * range.len();
            encoder.copy_buffer_to_buffer(
                &vector.buffer,
                vector.offset + width * range.start as u64,
                &state.workspace,
                width * begin as u64,
                width * range.len() as u64,
            );
        }
    }

    /// Where a dispatch of step `index` finds its vectors and hyperparameters.
    pub(crate) fn at(&self, index: u64) -> At<'_> {
        At {
            bindings: &self.bindings,
            slot: (index % u64::from(STEP_SLOTS)) as u32,
            timer: self.timer.as_ref(),
        }
    }
}

/// Bind groups, and the slot of the step's hyperparameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    bindings: &'a Bindings,
    slot: u32,
    timer: Option<&'a Timer>,
}

/// One compute pipeline over the shards of the vectors.
#[derive(Debug)]
pub(crate) struct Kernel {
    pipeline: wgpu::ComputePipeline,
    over: Over,
    label: &'static str,
    #[cfg(test)]
    traffic: traffic_tests::Traffic,
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

    /// As many workgroups as `count` says, with the bindings of the first shard.
    fn encode_regions(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        at: At<'_>,
        count: impl Fn(&RegionBindings) -> u32,
    ) {
        let workgroups = at.bindings.regions.as_ref().map_or(0, count);
        if workgroups > 0 {
            self.encode_first(pass, at, workgroups);
        }
    }

    fn encode_first(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, workgroups: u32) {
        #[cfg(test)]
        traffic_tests::note(self.label, 0.0);
        self.timed(pass, at, |pass| {
            pass.set_bind_group(0, self.over.of(&at.bindings.shards[0]), &[]);
            pass.dispatch_workgroups(workgroups, 1, 1);
        });
    }

    /// One dispatch a shard: one workgroup a tile, or streams of threads for its pieces.
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        #[cfg(test)]
        self.traffic.log(self.label, at.bindings);
        self.timed(pass, at, |pass| {
            for shard in &at.bindings.shards {
                pass.set_bind_group(0, self.over.of(shard), &[]);
                let workgroups =
                    if self.over.has_regions() { shard.piece_workgroups } else { shard.tiles };
                pass.dispatch_workgroups(workgroups, 1, 1);
            }
        });
    }

    /// Records `dispatch` with the pipeline and the groups that all shards share.
    fn timed(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        at: At<'_>,
        dispatch: impl FnOnce(&mut wgpu::ComputePass<'_>),
    ) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &at.bindings.step, &[at.slot * STEP_STRIDE as u32]);
        if let Some(regions) = at.bindings.regions.as_ref().filter(|_| self.over.has_regions()) {
            pass.set_bind_group(2, &regions.group, &[]);
        }
        match at.timer {
            Some(timer) => timer.time(pass, self.label, dispatch),
            None => dispatch(pass),
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
