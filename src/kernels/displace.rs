//! `norm.wgsl` and `displace.wgsl`: places the probe.

use super::{At, Builder, Kernel, Mode, Over, Switches};
use crate::config::{Dimer, Displacement};

const NORM: &str = include_str!("../../shaders/norm.wgsl");
const DISPLACE: &str = include_str!("../../shaders/displace.wgsl");

/// The probe at θ + ΔR·N, with ΔR from ‖θ‖ where it is relative.
#[derive(Debug)]
pub(crate) struct Displace {
    norm: Option<Kernel>,
    displace: Kernel,
}

impl Displace {
    pub(super) fn new(builder: &Builder<'_>, dimer: &Dimer) -> Self {
        let switches = Switches::of(Mode::Event);
        let kernel = |label, source| builder.kernel(label, Over::Probe, &[source], &switches);
        let relative = matches!(dimer.displacement, Displacement::Relative { .. });
        Self {
            norm: relative.then(|| kernel("norm", NORM)),
            displace: kernel("displace", DISPLACE),
        }
    }

    /// Writes the probe and the distance.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        if let Some(norm) = &self.norm {
            norm.encode(pass, at);
        }
        self.displace.encode(pass, at);
    }
}
