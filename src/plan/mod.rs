//! [`Plan`]: everything that follows from settings, layout and limits before there is a device: which vectors
//! there are, how they are cut, and what each kind of step does.
//!
//! Nothing after it reads the settings of the method.

mod hyperparameters;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod rate_clock;
mod regions;
pub(crate) mod schedule;
pub(crate) mod slices;
pub(crate) mod spectrum;
mod step;
mod text;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::{
    Base, Config, Difference, Dimer, Displacement, LearningRate, RateProbe, RayleighRitz, Scope,
    Storage, Translation,
};
use crate::error::{Error, Result};
use crate::gpu::{DeviceLimits, Tuning};
use crate::kernels::bindings::{Bindings, Vector};
use crate::kernels::choices::Choices;
use crate::kernels::gpu_types::{
    PARTIAL, PARTIAL_SETS, PARTIALS_OFFSET, PIECE_WIDTH, STEP_SLOTS, STEP_STRIDE, Step, Tables,
};
use crate::kernels::switches::{BaseRule, DisplacementRule};
use crate::kernels::traffic::{VECTOR_CENTRE, VECTOR_P, VECTOR_PRODUCT, VECTOR_TURN};
use crate::layout::{Group, Layout};
use crate::objective::{Part, Point};

use program::Program;
use random::SplitMix;
use rate_clock::RateClock;
pub(crate) use regions::{Regions, check_workgroups, workgroups};
pub(crate) use schedule::Events;
use slices::Slice;

/// What a step does with the dimer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepKind {
    /// The step of the base optimizer alone.
    #[default]
    Base,
    /// Corrects the gradient along the last N.
    Corrected,
    /// Turns N by gradients at probes, then corrects along it.
    Event,
    /// Turns N and leaves the parameters alone: [`Optimizer::rotate`](crate::Optimizer::rotate).
    Rotation,
}

impl StepKind {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Base, Self::Corrected, Self::Event, Self::Rotation];

    /// Whether it evaluates probes and turns N.
    pub(crate) fn turns(self) -> bool {
        matches!(self, Self::Event | Self::Rotation)
    }
}

/// What a step does for a learning rate from curvature; see
/// [`LearningRate::Curvature`](crate::LearningRate::Curvature).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateMeasurement {
    /// Nothing; with a fixed rate always.
    #[default]
    None,
    /// It is the first of two steps on one minibatch.
    FirstHalf,
    /// It measures: by a probe of its own, or as the second of two steps on one minibatch.
    Complete,
}

impl RateMeasurement {
    /// All of them.
    pub const ALL: &[Self] = &[Self::None, Self::FirstHalf, Self::Complete];
}

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepForm {
    pub kind: StepKind,
    pub rate: RateMeasurement,
}

impl StepForm {
    fn all() -> impl Iterator<Item = Self> {
        let of = |kind| RateMeasurement::ALL.iter().map(move |&rate| Self { kind, rate });
        StepKind::ALL.iter().copied().flat_map(of)
    }

    /// Its place among all.
    pub(crate) fn index(self) -> usize {
        self.kind as usize * RateMeasurement::ALL.len() + self.rate as usize
    }

    pub(crate) const COUNT: usize = StepKind::ALL.len() * RateMeasurement::ALL.len();
}

/// What an optimizer does in each kind of step, and what that costs; see
/// [`Optimizer::plan`](crate::Optimizer::plan).
///
/// Printed, it lists the stages of each kind of step: evaluations of the objective, kernels with their
/// switches, copies, and the bytes that each moves per parameter. A kernel is named after its file in
/// `shaders/`.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) storage: Storage,
    base: BaseRule,
    pub(crate) events: Events,
    /// By [`StepForm::index`].
    programs: Vec<Option<Program>>,
    pub(crate) check: Program,
    /// What is updated here.
    pub(crate) slice: Slice,
    /// The ranges of the padded vector that one dispatch each covers: all of the slice.
    pub(crate) shards: Vec<Range<usize>>,
    /// Vectors of the workspace; 0 where no rotation keeps any.
    pub(crate) workspace: usize,
    /// Those that outlive a step.
    pub(crate) kept_vectors: &'static [KeptVector],
    /// Whether a step has one gradient, on alternate sides of θ.
    pub(crate) alternates: bool,
    /// None with a global dimer.
    pub(crate) regions: Option<Regions>,
    /// How many partials the widest reduction leaves.
    pub(crate) partials: u64,
    pub(crate) hyperparameters: Step,
    pub(crate) tables: Tables,
    has_probe: bool,
    /// None without a dimer.
    pub(crate) dimer: Option<DimerPlan>,
    /// Of a learning rate from curvature: its probe, and the clock before the first step.
    pub(crate) rate_probe: Option<RateProbe>,
    pub(crate) rate_clock: Option<RateClock>,
    /// Whether an event may use a part of the minibatch.
    cuts_minibatches: bool,
    /// The learning rate as set, until the user sets another; none from curvature.
    pub(crate) fixed_rate: Option<f32>,
    pub(crate) max_consecutive_skips: Option<u32>,
}

/// A vector of the workspace that outlives a step: its number, and its name in a checkpoint.
pub(crate) type KeptVector = (u32, &'static str);

const DIRECTION: &[KeptVector] = &[(VECTOR_P, "direction")];
const ALTERNATING: &[KeptVector] =
    &[(VECTOR_PRODUCT, "product"), (VECTOR_CENTRE, "centre_gradient"), (VECTOR_TURN, "turn")];

/// The names of all such vectors.
pub(crate) fn kept_names() -> impl Iterator<Item = &'static str> {
    DIRECTION.iter().chain(ALTERNATING).map(|(_, name)| *name)
}

/// What is left to know of the dimer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DimerPlan {
    /// Of the random first N.
    pub seed: u64,
    /// Where the step by hand cannot evaluate what an event needs.
    pub needs_products: bool,
    /// As set, for messages.
    pub displacement: Displacement,
}

/// The part of the minibatch that all `gradients` of step `index` are of, if it can be cut into `parts`: one of so many
/// that they cost no more than one gradient of the whole, where there are as many.
pub(crate) fn part_of_event(index: u64, gradients: u32, parts: u32) -> Part {
    if parts <= 1 {
        return Part::WHOLE;
    }
    let of = (gradients..parts).find(|&of| parts.is_multiple_of(of)).unwrap_or(parts);
    // An interval that shares a factor with the number of parts would use some of them only.
    Part { index: SplitMix::new(index).below(of), of }
}

/// What one kind of step costs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepCost {
    /// The kind of step.
    pub kind: StepKind,
    /// What it does for the learning rate.
    pub rate: RateMeasurement,
    /// Gradients, and exact products, that the objective is asked for; with a stop, at most.
    pub evaluations: u32,
    /// Kernels that are dispatched; with more than one shard, each once a shard.
    pub dispatches: u32,
    /// Bytes per parameter that these kernels and copies load and store; the objective's come on top.
    pub bytes_per_parameter: f64,
}

impl Plan {
    /// Resolves valid settings.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a dimer that reaches no tensor; [`Error::LimitTooSmall`] for what the device
    /// cannot do.
    pub(crate) fn new(
        config: &Config,
        layout: &Layout,
        slice: Slice,
        tuning: &Tuning,
        limits: &DeviceLimits,
    ) -> Result<Self> {
        if config.dimer.is_some() && layout.dimer_len() == 0 {
            return Err(Error::Unsupported {
                what: "a dimer",
                with: "a layout in which every tensor is frozen or in a group without dimer",
                instead: "set `dimer` to None, or let the dimer reach a group",
            });
        }
        let climbs = |dimer: &Dimer| dimer.translation == Translation::Climb;
        let decays = |group: &Group| group.weight_decay.is_some_and(|decay| decay != 0.0);
        if config.dimer.as_ref().is_some_and(climbs) && layout.groups().iter().any(decays) {
            return Err(Error::unsupported(
                "Translation::Climb",
                "a group with weight decay, which moves the saddle",
                "set `weight_decay` of every group to None or 0",
            ));
        }
        let alternates = config.alternates();
        let (workspace, kept_vectors) = match config.rayleigh_ritz() {
            _ if alternates => (ALTERNATING.len(), ALTERNATING),
            Some(ritz) if ritz.keeps_direction() => (ritz.vectors(), DIRECTION),
            ritz => (ritz.map_or(0, RayleighRitz::vectors), &[][..]),
        };
        // First, since all that follows takes time and memory with the length.
        limits.check_buffer(layout.bytes())?;
        let shards = layout.shards(limits, workspace.max(1), slice.range())?;
        let scope = config.dimer.as_ref().map_or(Scope::Global, |dimer| dimer.scope);
        if scope != Scope::Global && !slice.is_whole() {
            return Err(Error::Unsupported {
                what: "a dimer for each group or tensor",
                with: "state that is cut among ranks, since its sums are not over tiles",
                instead: "set `dimer.scope` to Global, or give each rank an optimizer of its own",
            });
        }
        let regions = Regions::new(layout, scope, &shards);
        let pieces = regions.as_ref().map_or(0, |regions| regions.pieces.len() as u64);
        let dimer = config.dimer.as_ref().map(|dimer| DimerPlan {
            seed: dimer.seed,
            needs_products: dimer.difference == Difference::Exact,
            displacement: dimer.displacement,
        });
        let sums_tiles = sums_tiles(layout, tuning);
        let plan = Self {
            storage: config.storage,
            base: base_rule(config.base),
            events: Events::new(config),
            programs: StepForm::all()
                .map(|form| {
                    let program = step::program(config, form, sums_tiles)?;
                    Some(slice.gathering(program, form.kind != StepKind::Rotation))
                })
                .collect(),
            slice,
            check: step::check(config, sums_tiles),
            shards,
            workspace,
            kept_vectors,
            alternates,
            partials: (PARTIAL_SETS * layout.tiles() as u64).max(pieces * PIECE_WIDTH),
            hyperparameters: hyperparameters::step(config, layout, regions.as_ref()),
            tables: hyperparameters::tables(config, layout),
            has_probe: config.has_probe(),
            regions,
            dimer,
            rate_probe: config.learning_rate.probe(),
            rate_clock: config.learning_rate.curvature().map(RateClock::new),
            cuts_minibatches: config.cuts_minibatches(),
            fixed_rate: match config.learning_rate {
                LearningRate::Fixed(rate) => Some(rate as f32),
                LearningRate::Curvature(_) => None,
            },
            max_consecutive_skips: config.max_consecutive_skips,
        };
        plan.check_limits(layout, tuning, limits)?;
        Ok(plan)
    }

    /// The steps that [`Optimizer::step`](crate::Optimizer::step) can come to; a rotation only comes when it is
    /// asked for.
    pub(crate) fn forms(&self) -> impl Iterator<Item = StepForm> + '_ {
        StepForm::all().filter(|&form| self.events.has(form))
    }

    /// The program of a step; none where the configuration has no such step.
    pub(crate) fn program(&self, form: StepForm) -> Option<&Program> {
        self.programs[form.index()].as_ref()
    }

    /// Those of all steps that the configuration has.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter().flatten()
    }

    /// Of how many gradients a step is that may be of one part of the minibatch; none if it must be of all.
    pub(crate) fn gradients_of_a_part(&self, form: StepForm) -> Option<u32> {
        let program = self.program(form).filter(|_| self.cuts_minibatches && form.kind.turns());
        program.map(|program| program.evaluations(None))
    }

    /// What the kernels of all programs bind.
    pub(crate) fn bindings(&self) -> BTreeSet<Bindings> {
        let dispatches = self.programs().flat_map(Program::dispatches);
        dispatches.map(|dispatch| dispatch.kernel.bindings()).collect()
    }

    /// What a step of each kind costs that the configuration can come to.
    pub fn costs(&self) -> Vec<StepCost> {
        let cost = |form: StepForm| {
            let program = self.program(form)?;
            Some(StepCost {
                kind: form.kind,
                rate: form.rate,
                evaluations: program.evaluations(None),
                dispatches: self.dispatches(program),
                bytes_per_parameter: program.sum(|stage| stage.bytes(self.storage)),
            })
        };
        let rotation = StepForm { kind: StepKind::Rotation, ..StepForm::default() };
        self.forms().chain([rotation]).filter_map(cost).collect()
    }

    /// Whether an event evaluates the centre, to which the loss belongs.
    pub(crate) fn events_have_centre(&self) -> bool {
        let event = self.program(StepForm { kind: StepKind::Event, ..StepForm::default() });
        event.is_none_or(|event| event.evaluations(Some(Point::Centre)) > 0)
    }

    pub(crate) fn choices(&self, tuning: &Tuning) -> Choices {
        Choices {
            subgroups: tuning.subgroups,
            storage: self.storage,
            dimer: self.dimer.is_some(),
            moments: self.base.moments(),
        }
    }

    /// Bytes of one element of `vector`; none where the configuration does not have it.
    pub(crate) fn width(&self, vector: Vector) -> Option<u64> {
        let wide = Storage::F32.bytes();
        let stored = self.storage.bytes();
        match vector {
            Vector::Params | Vector::Gradient => Some(wide),
            Vector::Probe => self.has_probe.then_some(wide),
            Vector::ProbeGradient => (self.has_probe && !self.alternates).then_some(wide),
            Vector::PreviousParams => {
                let keeps = self.rate_probe == Some(RateProbe::RepeatedMinibatch);
                keeps.then_some(wide)
            }
            Vector::Orientation => self.dimer.map(|_| stored),
            Vector::FirstMoment => (self.base.moments() > 0).then_some(stored),
            Vector::SecondMoment => (self.base.moments() > 1).then_some(stored),
            Vector::Workspace => (self.workspace > 0).then_some(stored),
        }
    }

    /// The elements of the padded vector that are kept of `vector`.
    pub(crate) fn kept(&self, vector: Vector) -> Range<usize> {
        match vector {
            // The objective reads and writes all of these.
            Vector::Params | Vector::Probe | Vector::Gradient | Vector::ProbeGradient => {
                self.slice.of_all()
            }
            Vector::Orientation
            | Vector::FirstMoment
            | Vector::SecondMoment
            | Vector::PreviousParams
            | Vector::Workspace => self.slice.range(),
        }
    }

    /// Bytes of the scalars, partials included.
    pub(crate) fn scalars_bytes(&self) -> u64 {
        PARTIALS_OFFSET + self.partials * PARTIAL
    }

    fn dispatches(&self, program: &Program) -> u32 {
        let counts = |stage: &program::Stage| match stage {
            program::Stage::Dispatch(dispatch) => match (dispatch.grid, &self.regions) {
                (program::Grid::RegionsOfSeveralPieces, Some(regions)) => regions.several > 0,
                (program::Grid::RegionsOfOnePiece, Some(regions)) => regions.has_single(),
                _ => true,
            },
            _ => false,
        };
        program.sum(|stage| f64::from(u8::from(counts(stage)))) as u32
    }

    /// Whether every buffer can be made, and every kernel that the configuration reaches be bound and
    /// dispatched.
    fn check_limits(&self, layout: &Layout, tuning: &Tuning, limits: &DeviceLimits) -> Result<()> {
        let choices = self.choices(tuning);
        for bindings in self.bindings() {
            limits.check_groups(&bindings.groups(choices))?;
        }
        limits.check_binding(self.scalars_bytes())?;
        limits.check_uniform(size_of::<Tables>() as u64)?;
        limits.check_buffer(u64::from(STEP_SLOTS) * STEP_STRIDE)?;
        let tiles = self.shards.iter().map(|shard| shard.len().div_ceil(layout.tile()));
        limits.check_workgroups(tiles.max().unwrap_or_default() as u32)?;
        if let Some(regions) = &self.regions {
            let pieces = regions.of_shard.iter().map(Range::len).max().unwrap_or_default();
            let streams = workgroups(pieces, tuning.workgroup_size).min(layout.workgroups());
            limits.check_workgroups(streams)?;
            limits.check_binding(size_of_val(&regions.pieces[..]) as u64)?;
            limits.check_binding(size_of_val(&regions.entries[..]) as u64)?;
            check_workgroups(regions.several, regions.entries.len(), tuning, limits)?;
        }
        Ok(())
    }
}

/// Whether one workgroup adds the partials of all tiles before a kernel whose workgroups all need the sum.
fn sums_tiles(layout: &Layout, tuning: &Tuning) -> bool {
    layout.tiles() > tuning.reread_tiles as usize
}

fn base_rule(base: Base) -> BaseRule {
    match base {
        Base::Sgd(sgd) if sgd.nesterov => BaseRule::Nesterov,
        Base::Sgd(sgd) if sgd.momentum > 0.0 => BaseRule::Momentum,
        Base::Sgd(_) => BaseRule::Sgd,
        Base::Adam(_) => BaseRule::Adam,
        Base::AdamW(_) => BaseRule::AdamW,
        Base::Sophia(_) => BaseRule::Sophia,
        Base::Lion(_) => BaseRule::Lion,
    }
}

fn displacement_rule(dimer: &Dimer) -> DisplacementRule {
    match dimer.displacement {
        // A product is already per unit of distance.
        _ if dimer.difference == Difference::Exact => DisplacementRule::Absolute,
        Displacement::Absolute(_) => DisplacementRule::Absolute,
        Displacement::Relative(_) => DisplacementRule::Relative,
        Displacement::Automatic => DisplacementRule::Automatic,
    }
}
