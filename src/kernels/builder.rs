//! From the WGSL files and the switches of a configuration to pipelines.

use super::bindings::Bindings;
use super::{Kernel, Mode, Over, pipeline};
use crate::config::{
    Base, Config, Difference, Displacement, RayleighRitz as Ritz, Storage, Translation,
};
use crate::gpu::{Gpu, Tuning};

/// Makes the pipelines of one configuration.
pub(super) struct Builder<'a> {
    pub gpu: &'a Gpu,
    pub config: &'a Config,
    pub bindings: &'a Bindings,
}

/// What precedes the source of every kernel, up to what [`preface`] chooses.
const PRELUDE: &str = concat!(
    include_str!("../../shaders/common/switches.wgsl"),
    include_str!("../../shaders/common/types.wgsl"),
    include_str!("../../shaders/common/step_bindings.wgsl"),
    include_str!("../../shaders/common/hash.wgsl"),
    include_str!("../../shaders/common/vectors.wgsl"),
    include_str!("../../shaders/common/streams.wgsl"),
    include_str!("../../shaders/common/reduction.wgsl"),
);
const THREADS: &str = include_str!("../../shaders/common/threads.wgsl");
const THREADS_SUBGROUP: &str = include_str!("../../shaders/common/threads_subgroup.wgsl");
pub(super) const STORED_F32: &str = include_str!("../../shaders/common/stored_f32.wgsl");
const STORED_BF16: &str = include_str!("../../shaders/common/stored_bf16.wgsl");
pub(super) const VECTORS: &str = include_str!("../../shaders/common/vector_bindings.wgsl");
const PROBE: &str = include_str!("../../shaders/common/probe_bindings.wgsl");
const BASIS: &str = include_str!("../../shaders/common/basis_bindings.wgsl");
pub(super) const PLACES: &str = include_str!("../../shaders/common/places.wgsl");
const DIRECTION: &str = include_str!("../../shaders/common/direction.wgsl");
const PLACING: &str = include_str!("../../shaders/common/placing.wgsl");
pub(super) const REGIONS: &str = include_str!("../../shaders/common/regions.wgsl");

/// What precedes the bindings of a kernel on this device.
pub(super) fn preface(tuning: &Tuning) -> String {
    [PRELUDE, if tuning.subgroups { THREADS_SUBGROUP } else { THREADS }].concat()
}

impl Builder<'_> {
    pub(super) fn kernel(
        &self,
        label: &'static str,
        over: Over,
        parts: &[&str],
        switches: &Switches,
    ) -> Kernel {
        let (vectors, layout) = match over {
            Over::Vectors => ([VECTORS, PLACES].concat(), &self.bindings.vectors_layout),
            Over::Probe => ([PROBE, PLACING].concat(), &self.bindings.probe_layout),
            Over::Basis => {
                ([BASIS, PLACES, PLACING, DIRECTION].concat(), &self.bindings.basis_layout)
            }
            Over::RegionVectors => {
                ([VECTORS, PLACES, REGIONS].concat(), &self.bindings.region_vectors_layout)
            }
            Over::RegionProbe => {
                ([PROBE, PLACING, REGIONS].concat(), &self.bindings.region_probe_layout)
            }
        };
        let stored = match self.config.storage {
            Storage::F32 => STORED_F32,
            Storage::Bf16 => STORED_BF16,
        };
        let preface = preface(self.gpu.tuning());
        let source = [&preface, stored, &vectors, &parts.concat()].concat();
        let constants = self.constants(over, switches);
        Kernel {
            pipeline: pipeline(self.gpu, label, Some(layout), &source, &constants),
            over,
            label,
            #[cfg(test)]
            traffic: super::traffic_tests::Traffic::of(&source, &constants),
        }
    }

    /// The overrides of `switches.wgsl`.
    fn constants(&self, over: Over, switches: &Switches) -> [(&'static str, f64); 24] {
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
            ("WORKGROUP_SIZE", f64::from(self.gpu.tuning().workgroup_size)),
            ("UNGUARDED", switch(!self.config.measures_gradient(switches.mode != Mode::Base))),
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
pub(super) struct Switches {
    pub mode: Mode,
    pub moves: bool,
    pub force: bool,
    pub direction: bool,
    pub last: bool,
    pub slot: u32,
    /// At twice the distance.
    pub far: bool,
    /// Sums over the difference of the gradients, whatever the rotation.
    pub differences: bool,
}

impl Switches {
    pub(super) fn of(mode: Mode) -> Self {
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
