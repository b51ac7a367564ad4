//! `translate.wgsl` and `rotate_translate.wgsl`: the step of the base optimizer.

use super::{At, BASE, Builder, Mode, OUTCOME, Over, PerMode, STEP, Switches};

const TRANSLATE: &str = include_str!("../../shaders/translate.wgsl");
const ROTATE_TRANSLATE: &str = include_str!("../../shaders/rotate_translate.wgsl");

/// The step; in an event it turns the dimer in the same pass.
#[derive(Debug)]
pub(crate) struct Translate(PerMode);

impl Translate {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let kernel = |mode| {
            let (label, source) = match mode {
                Mode::Event if builder.config.rayleigh_ritz().is_none() => {
                    ("rotate_translate", ROTATE_TRANSLATE)
                }
                _ => ("translate", TRANSLATE),
            };
            let switches = Switches { moves: true, ..Switches::of(mode) };
            builder.kernel(label, Over::Vectors, &[OUTCOME, BASE, STEP, source], &switches)
        };
        Self(PerMode::new(builder.config, kernel))
    }

    /// Follows a gram of the same mode.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, mode: Mode) {
        self.0.encode(pass, at, mode);
    }
}
