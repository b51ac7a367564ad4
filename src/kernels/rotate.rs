//! `rotate.wgsl`: turns the dimer without a step.

use super::{APPLYING, At, BASE, Builder, Kernel, Mode, OUTCOME, Over, Switches};

const SOURCE: &str = include_str!("../../shaders/rotate.wgsl");

/// The rotation alone.
#[derive(Debug)]
pub(crate) struct Rotate(Kernel);

impl Rotate {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let switches = Switches::of(Mode::Event);
        Self(builder.kernel("rotate", Over::Vectors, &[OUTCOME, BASE, APPLYING, SOURCE], &switches))
    }

    /// Follows a gram of [`Mode::Event`].
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.0.encode(pass, at);
    }
}
