//! `gram.wgsl`: the sums from which every scalar of a step follows.

use super::{At, Builder, Kernel, Mode, Over, PRODUCTS, PerMode, Switches};

const SOURCE: &str = include_str!("../../shaders/gram.wgsl");

/// Reads only the vectors that the mode of the step uses.
#[derive(Debug)]
pub(crate) struct Gram(PerMode);

impl Gram {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let kernel =
            |mode| builder.kernel("gram", Over::Vectors, &[PRODUCTS, SOURCE], &Switches::of(mode));
        Self(PerMode::new(builder.config, kernel))
    }

    /// Leaves one partial a tile in the scalars.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, mode: Mode) {
        self.0.encode(pass, at, mode);
    }
}

/// The sums over N and the difference of the gradients, whatever the rotation.
pub(super) fn differences(builder: &Builder<'_>) -> Kernel {
    let switches = Switches { differences: true, ..Switches::of(Mode::Event) };
    builder.kernel("gram", Over::Vectors, &[PRODUCTS, SOURCE], &switches)
}
