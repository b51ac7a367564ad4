//! The fused kernels: pipelines, bind groups and dispatches, one file a family.
//!
//! [`unfused`] holds the same mathematics as chains of textbook operations.

mod bindings;
mod displace;
mod gram;
mod rotate;
#[cfg(test)]
mod tests;
mod translate;
pub(crate) mod unfused;
#[cfg(test)]
mod unfused_tests;

use crate::config::{Base, Config, Dimer, Displacement};
use crate::error::Result;
use crate::gpu::{Gpu, WORKGROUP_SIZE};
use crate::layout::Layout;
use crate::state::{STEP_SLOTS, STEP_STRIDE, State};

use bindings::Bindings;
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
const STREAMS: &str = include_str!("../../shaders/common/streams.wgsl");
const REDUCTION: &str = include_str!("../../shaders/common/reduction.wgsl");
const OUTCOME: &str = include_str!("../../shaders/common/outcome.wgsl");
const BASE: &str = include_str!("../../shaders/common/base.wgsl");
const STEP: &str = include_str!("../../shaders/common/step.wgsl");

impl Builder<'_> {
    fn kernel(&self, label: &str, over: Over, parts: &[&str], mode: Mode, moves: bool) -> Kernel {
        let vectors = match over {
            Over::Vectors => VECTORS,
            Over::Probe => PROBE,
        };
        let source = [PRELUDE, STREAMS, vectors, REDUCTION, &parts.concat()].concat();
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
        cache: gpu.pipeline_cache(),
    })
}
