//! `translate.wgsl`, `rotate_translate.wgsl` and `count.wgsl`: the step of the base optimizer.

use super::{APPLYING, At, BASE, Builder, Kernel, Mode, OUTCOME, Over, PerMode, STEP, Switches};

const TRANSLATE: &str = include_str!("../../shaders/translate.wgsl");
const ROTATE_TRANSLATE: &str = include_str!("../../shaders/rotate_translate.wgsl");

const COUNT: &str = include_str!("../../shaders/count.wgsl");

/// The step; in an event it turns the dimer in the same pass.
#[derive(Debug)]
pub(crate) struct Translate {
    steps: PerMode,
    /// Where steps of the base optimizer alone measure nothing, what publishes their record.
    count: Option<Kernel>,
}

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
            builder.kernel(
                label,
                Over::Vectors,
                &[OUTCOME, BASE, APPLYING, STEP, source],
                &switches,
            )
        };
        let switches = Switches { moves: true, ..Switches::of(Mode::Base) };
        let count = || builder.kernel("count", Over::Vectors, &[OUTCOME, COUNT], &switches);
        Self {
            steps: PerMode::new(builder.config, kernel),
            count: (!builder.config.measures_gradient(false)).then(count),
        }
    }

    /// Whether a step of this mode follows a gram of the same mode.
    pub(crate) fn needs_gram(&self, mode: Mode) -> bool {
        mode != Mode::Base || self.count.is_none()
    }

    /// The step and its record.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, mode: Mode) {
        self.steps.encode(pass, at, mode);
        if let Some(count) = self.count.as_ref().filter(|_| mode == Mode::Base) {
            count.encode_once(pass, at);
        }
    }
}
