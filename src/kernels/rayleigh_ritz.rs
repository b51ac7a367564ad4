//! `measure.wgsl`, `basis_gram.wgsl`, `ritz.wgsl`, `turn.wgsl` and `aim.wgsl`: Rayleigh–Ritz
//! rotations in span{N, F} and span{N, F, P}.

use super::{At, Builder, Kernel, Mode, Over, Switches};
use crate::config::{self, Regime};

const MEASURE: &str = include_str!("../../shaders/measure.wgsl");
const BASIS_GRAM: &str = include_str!("../../shaders/basis_gram.wgsl");
const RITZ: &str = include_str!("../../shaders/ritz.wgsl");
const TURN: &str = include_str!("../../shaders/turn.wgsl");
const AIM: &str = include_str!("../../shaders/aim.wgsl");

/// Slots of the products in the workspace; see `basis_bindings.wgsl`.
const HN: u32 = 2;
const HU: u32 = 3;
const HP: u32 = 5;

/// That of P.
pub(super) const DIRECTION: usize = 4;

/// The kernels of one event.
#[derive(Debug)]
pub(crate) struct RayleighRitz {
    measure_n: Kernel,
    measure_force: Kernel,
    /// In the span of N alone: from HN to F.
    start: Rotation,
    between: Between,
    last: Rotation,
}

/// What lies between the probe along N and the last rotation.
#[derive(Debug)]
enum Between {
    /// A probe along P.
    Direction { aim: Kernel, measure: Kernel },
    /// The rotations before the last: the first in span{N, F}, the others with P where the basis
    /// has it.
    Rotations { count: u32, kernels: Vec<Rotation> },
}

/// Gram, Ritz, turn.
#[derive(Debug)]
struct Rotation {
    gram: Kernel,
    ritz: Kernel,
    turn: Kernel,
}

impl RayleighRitz {
    pub(super) fn new(builder: &Builder<'_>, ritz: config::RayleighRitz) -> Self {
        let event = Switches::of(Mode::Event);
        let kernel = |label, source, switches: &Switches| {
            builder.kernel(label, Over::Basis, &[source], switches)
        };
        let rotation = |force, direction, last| {
            let switches = Switches { force, direction, last, ..event };
            Rotation {
                gram: kernel("basis_gram", BASIS_GRAM, &switches),
                ritz: kernel("ritz", RITZ, &switches),
                turn: kernel("turn", TURN, &switches),
            }
        };
        let measure = |slot| kernel("measure", MEASURE, &Switches { slot, ..event });
        let (between, last) = match ritz.regime {
            Regime::Stochastic if ritz.aims() => {
                let aim = kernel("aim", AIM, &event);
                (Between::Direction { aim, measure: measure(HP) }, rotation(true, true, true))
            }
            Regime::Stochastic => {
                let between = Between::Rotations { count: 0, kernels: Vec::new() };
                (between, rotation(true, false, true))
            }
            Regime::Deterministic { max_rotations, .. } => {
                let count = max_rotations - 1;
                // P of an earlier event belongs to another θ, so the first rotation has none.
                let kernels = [false, ritz.direction].into_iter().take(count as usize);
                let kernels = kernels.map(|direction| rotation(true, direction, false)).collect();
                let last = rotation(true, ritz.direction && count > 0, true);
                (Between::Rotations { count, kernels }, last)
            }
        };
        Self {
            measure_n: measure(HN),
            measure_force: measure(HU),
            start: rotation(false, false, false),
            between,
            last,
        }
    }

    /// Takes in the product along direction `direction` of an event, the first of which is N, and
    /// places the next probe, or after the last one turns N.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, direction: u32) {
        match (&self.between, direction) {
            (_, 0) => {
                self.measure_n.encode(pass, at);
                self.start.encode(pass, at);
            }
            (Between::Direction { aim, .. }, 1) => {
                self.measure_force.encode(pass, at);
                aim.encode(pass, at);
            }
            (Between::Direction { measure, .. }, _) => {
                measure.encode(pass, at);
                self.last.encode(pass, at);
            }
            (Between::Rotations { count, kernels }, _) => {
                self.measure_force.encode(pass, at);
                let rotation = match direction {
                    direction if direction > *count => &self.last,
                    1 => &kernels[0],
                    _ => &kernels[1],
                };
                rotation.encode(pass, at);
            }
        }
    }

    /// Whether P of one event is used by the next.
    pub(super) fn aims(&self) -> bool {
        matches!(self.between, Between::Direction { .. })
    }

    /// The slot of the product along direction `direction`.
    pub(super) fn slot(&self, direction: u32) -> u32 {
        match (&self.between, direction) {
            (_, 0) => HN,
            (Between::Direction { .. }, 2) => HP,
            _ => HU,
        }
    }
}

impl Rotation {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.gram.encode(pass, at);
        self.ritz.encode_once(pass, at);
        self.turn.encode(pass, at);
    }
}
