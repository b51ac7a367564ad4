//! `shaders/scope/*.wgsl`: the kernels of a step with more than one dimer.

use super::{At, BASE, Builder, Kernel, Mode, OUTCOME, Over, PRODUCTS, REGION_OUTCOME, Switches};

const DISPLACE: &str = include_str!("../../shaders/scope/displace.wgsl");
const GRAM: &str = include_str!("../../shaders/scope/gram.wgsl");
const SUMS: &str = include_str!("../../shaders/scope/sums.wgsl");
const SINGLE: &str = include_str!("../../shaders/scope/single.wgsl");
const NORM: &str = include_str!("../../shaders/scope/norm.wgsl");
const OUTCOMES: &str = include_str!("../../shaders/scope/outcomes.wgsl");
const WHOLE: &str = include_str!("../../shaders/scope/whole.wgsl");
const UPDATE: &str = include_str!("../../shaders/scope/update.wgsl");
const ROTATE: &str = include_str!("../../shaders/scope/rotate.wgsl");

/// Displacement, and for each kind of step up to seven dispatches.
#[derive(Debug)]
pub(crate) struct Scope {
    displace: Kernel,
    sums: Kernel,
    single: Kernel,
    corrected: Chain,
    event: Chain,
    rotation: Chain,
}

/// Sums over pieces and regions, what follows from them, then the elements.
#[derive(Debug)]
struct Chain {
    gram: Kernel,
    norm: Kernel,
    outcomes: Kernel,
    whole: Kernel,
    elements: Kernel,
}

impl Scope {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let kernel = |label, parts: &[&str], switches: &Switches| {
            builder.kernel(label, Over::RegionVectors, parts, switches)
        };
        let chain = |mode, moves| {
            let switches = Switches { moves, ..Switches::of(mode) };
            let elements = if moves {
                kernel("scope/update", &[OUTCOME, BASE, UPDATE], &switches)
            } else {
                kernel("scope/rotate", &[ROTATE], &switches)
            };
            Chain {
                gram: kernel("scope/gram", &[PRODUCTS, GRAM], &switches),
                norm: kernel("scope/norm", &[OUTCOME, NORM], &switches),
                outcomes: kernel(
                    "scope/outcomes",
                    &[OUTCOME, BASE, REGION_OUTCOME, OUTCOMES],
                    &switches,
                ),
                whole: kernel("scope/whole", &[OUTCOME, REGION_OUTCOME, WHOLE], &switches),
                elements,
            }
        };
        let event = Switches::of(Mode::Event);
        Self {
            displace: builder.kernel("scope/displace", Over::RegionProbe, &[DISPLACE], &event),
            sums: kernel("scope/sums", &[SUMS], &event),
            single: kernel("scope/single", &[SINGLE], &event),
            corrected: chain(Mode::Corrected, true),
            event: chain(Mode::Event, true),
            rotation: chain(Mode::Event, false),
        }
    }

    /// Writes the probe and the distance.
    pub(crate) fn displace(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.displace.encode(pass, at);
    }

    /// A step of a mode that uses N.
    pub(crate) fn update(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, mode: Mode) {
        let chain = if mode == Mode::Event { &self.event } else { &self.corrected };
        self.encode(pass, at, chain);
    }

    /// A rotation alone.
    pub(crate) fn rotate(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>) {
        self.encode(pass, at, &self.rotation);
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, at: At<'_>, chain: &Chain) {
        chain.gram.encode(pass, at);
        self.sums.encode_regions(pass, at, |regions| regions.several);
        self.single.encode_regions(pass, at, |regions| regions.single);
        chain.norm.encode_once(pass, at);
        chain.outcomes.encode_regions(pass, at, |regions| regions.all);
        chain.whole.encode_once(pass, at);
        chain.elements.encode(pass, at);
    }
}
