//! `norm.wgsl`, `displace.wgsl` and `opposite.wgsl`: place the probe.

use super::{At, Builder, Kernel, Mode, Over, Switches};
use crate::config::{Difference, Dimer, Displacement};

const NORM: &str = include_str!("../../shaders/norm.wgsl");
const DISPLACE: &str = include_str!("../../shaders/displace.wgsl");
const OPPOSITE: &str = include_str!("../../shaders/opposite.wgsl");

/// The probe at θ + ΔR·N, with ΔR from ‖θ‖ where it is relative or automatic.
#[derive(Debug)]
pub(crate) struct Displace {
    norm: Option<Kernel>,
    /// At twice the distance, from ‖θ‖.
    far: Option<Kernel>,
    displace: Kernel,
    opposite: Option<Kernel>,
}

impl Displace {
    pub(super) fn new(builder: &Builder<'_>, dimer: &Dimer) -> Self {
        let kernel = |label, source, far| {
            let switches = Switches { far, ..Switches::of(Mode::Event) };
            builder.kernel(label, Over::Probe, &[source], &switches)
        };
        let absolute = matches!(dimer.displacement, Displacement::Absolute(_));
        let automatic = dimer.displacement == Displacement::Automatic;
        let central = dimer.difference == Difference::Central;
        let needs_norm = !absolute && dimer.difference != Difference::Exact;
        Self {
            norm: needs_norm.then(|| kernel("norm", NORM, false)),
            far: automatic.then(|| kernel("displace", DISPLACE, true)),
            displace: kernel("displace", DISPLACE, false),
            opposite: central.then(|| kernel("opposite", OPPOSITE, false)),
        }
    }

    /// Leaves ‖θ‖ in the partials where the distance follows from it.
    pub(crate) fn encode_norm(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        // An automatic distance is that of the far probe, halved.
        if let Some(norm) = self.norm.as_ref().filter(|_| self.far.is_none()) {
            norm.encode(pass, at);
        }
    }

    /// Writes the probe and the distance.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.displace.encode(pass, at);
    }

    /// Writes a probe at twice the automatic distance.
    pub(crate) fn encode_far(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        for kernel in self.norm.iter().chain(&self.far) {
            kernel.encode(pass, at);
        }
    }

    /// Moves the probe to the other side of θ.
    pub(crate) fn encode_opposite(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        if let Some(opposite) = &self.opposite {
            opposite.encode(pass, at);
        }
    }
}
