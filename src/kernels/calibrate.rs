//! `calibrate.wgsl`: the automatic displacement.

use super::{At, Builder, Kernel, Mode, Over, Switches, gram};

const SOURCE: &str = include_str!("../../shaders/calibrate.wgsl");

/// Compares the curvatures at 2ΔR and ΔR.
#[derive(Debug)]
pub(crate) struct Calibrate {
    gram: Kernel,
    far: Kernel,
    near: Kernel,
}

impl Calibrate {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let kernel = |far| {
            let switches = Switches { far, ..Switches::of(Mode::Event) };
            builder.kernel("calibrate", Over::Probe, &[SOURCE], &switches)
        };
        Self { gram: gram::differences(builder), far: kernel(true), near: kernel(false) }
    }

    /// Takes in the gradient at the far probe, or at the near one.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, far: bool) {
        self.gram.encode(pass, at);
        if far { &self.far } else { &self.near }.encode_once(pass, at);
    }
}
