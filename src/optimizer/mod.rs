//! [`Optimizer`]: the public face of the crate.

mod access;
mod both_ends;
mod check;
mod checkpoint;
mod checkpoint_file;
#[cfg(not(target_family = "wasm"))]
mod file;
mod manual;
mod pending;
mod plateau;
#[cfg(not(target_family = "wasm"))]
mod ranks;
mod saved_settings;
#[cfg(not(target_family = "wasm"))]
mod sharded;
mod skips;
mod snapshot;
mod telemetry;
#[cfg(not(target_family = "wasm"))]
mod tune;

pub use manual::{ManualStep, PointBuffers};
#[cfg(not(target_family = "wasm"))]
pub use sharded::ShardedOptimizer;
pub use telemetry::{RegionCurvature, StopReason, Telemetry};

use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{Gpu, Timer, Wait};
use crate::kernels::gpu_types::{STEP_SLOTS, STEP_STRIDE, Step};
use crate::layout::Layout;
use crate::objective::{Objective, Part, StepInfo};
use crate::parallel::{Alone, Collective};
use crate::plan::rate_clock::RateClock;
use crate::plan::slices::Slice;
use crate::plan::{Plan, RateMeasurement, StepForm, StepKind, part_of_event};
use crate::player::{Compiled, Context, Player};
use crate::state::{BindGroups, Buffers, State, Workspace, orientation};

use pending::PendingSteps;
use plateau::{Plateau, StepsBefore};
use skips::Skips;
use telemetry::Reader;

/// Steps from one liveness check of the device to the next; recording and submitting alone do not show a lost
/// device.
const LIVENESS_CHECKS: u64 = 32;

/// The index of no record.
const NO_RECORD: u32 = u32::MAX;

/// A step that only turns N.
const ROTATION: StepForm = StepForm { kind: StepKind::Rotation, rate: RateMeasurement::None };

/// Minimises an [`Objective`] on the GPU, sensing its curvature with a dimer.
///
/// Parameters, gradients, orientation and moments stay on the GPU. One step records two
/// dispatches of this crate around the work of the objective: three where a large GPU has more than 2 million parameters,
/// and a few more where the step has a probe. It waits for no value of the
/// GPU, except where a schedule looks for plateaus, with [`EarlyExit::Gradients`](crate::EarlyExit::Gradients), and at the
/// end of a rate's burn-in.
///
/// A step whose gradient has a NaN or an infinity changes nothing, and is counted in
/// [`Telemetry::skipped_steps`](crate::Telemetry::skipped_steps).
#[derive(Debug)]
pub struct Optimizer {
    pub(crate) gpu: Gpu,
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) state: State,
    groups: BindGroups,
    /// The pipelines of each form of step, made when first needed.
    compiled: [Option<Compiled>; StepForm::COUNT],
    plateau: Option<Plateau>,
    /// The hyperparameters of the next step.
    hyperparameters: Step,
    pub(crate) index: u64,
    /// In gradients of a whole minibatch.
    pub(crate) gradient_evaluations: f64,
    /// The learning rate before the factor; none from curvature.
    fixed_rate: Option<f32>,
    rate_factor: f64,
    /// Of a learning rate from curvature.
    rate_clock: Option<RateClock>,
    /// Whether the user knows where the gradient at θ lies, and can write to it at any time.
    gradient_is_known: AtomicBool,
    telemetry: Reader,
    skips: Option<Skips>,
    pub(crate) timer: Option<Timer>,
    pending: PendingSteps,
}

impl Optimizer {
    /// Allocates an optimizer whose parameters start at `params`, in the order of `layout` and
    /// without padding.
    ///
    /// ```
    /// use dimer::{Config, Gpu, Layout, Optimizer};
    ///
    /// let layout = Layout::flat(1000)?;
    /// let optimizer = Optimizer::new(&Gpu::new()?, layout, Config::default(), &[0.5; 1000])?;
    /// assert_eq!(optimizer.read_params()?, [0.5; 1000]);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] or [`Error::Unsupported`] for settings, [`Error::LengthMismatch`] or [`Error::NonFinite`]
    /// for `params`, [`Error::LimitTooSmall`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, layout: Layout, config: Config, params: &[f32]) -> Result<Self> {
        let optimizer = Self::with_buffers(gpu, layout, config, Buffers::default())?;
        optimizer.write_params(params)?;
        Ok(optimizer)
    }

    /// Works in buffers of the user, who has put the parameters there, each tensor at its
    /// [`offset`](crate::Tensor::offset). The gaps between tensors are zeroed.
    ///
    /// # Errors
    /// The same as for [`Optimizer::new`], and [`Error::InvalidBuffer`] for a slice that is too short, is not
    /// aligned, lacks a usage, or shares a buffer where it must have its own; [`Error::Foreign`] for one of
    /// another device.
    pub fn with_buffers(
        gpu: &Gpu,
        layout: Layout,
        config: Config,
        buffers: Buffers,
    ) -> Result<Self> {
        config.validate()?;
        let layout = layout.tiled(gpu.tuning());
        let slice = Slice::whole(&layout);
        Self::over(gpu, layout, slice, config, buffers)
    }

    /// One that updates a slice of valid settings and a layout that is cut into tiles.
    fn over(
        gpu: &Gpu,
        layout: Layout,
        slice: Slice,
        config: Config,
        buffers: Buffers,
    ) -> Result<Self> {
        let plan = Plan::new(&config, &layout, slice, gpu.tuning(), &gpu.limits())?;
        let gradient_is_known = AtomicBool::new(buffers.gradient.is_some());
        let state = State::new(gpu, &layout, &plan, buffers)?;
        let workspace = Workspace { shards: &state.workspace, modes: None };
        let bindings = plan.bindings();
        let groups =
            BindGroups::new(gpu, &layout, &plan, &state, &plan.shards, &bindings, workspace)?;
        let skips = plan.max_consecutive_skips.map(|limit| Skips::new(gpu, limit)).transpose()?;
        let mut optimizer = Self {
            gpu: gpu.clone(),
            plateau: Plateau::new(&plan.events),
            hyperparameters: plan.hyperparameters,
            fixed_rate: plan.fixed_rate,
            rate_clock: plan.rate_clock,
            layout,
            config,
            plan,
            state,
            groups,
            compiled: Default::default(),
            index: 0,
            gradient_evaluations: 0.0,
            rate_factor: 1.0,
            gradient_is_known,
            telemetry: Reader::default(),
            skips,
            timer: None,
            pending: PendingSteps::default(),
        };
        let forms: Vec<StepForm> = optimizer.plan.forms().collect();
        for form in forms {
            optimizer.compile(form)?;
        }
        if let Some(dimer) = optimizer.plan.dimer {
            let regions = optimizer.region_tensors();
            let first = orientation::random(&optimizer.layout, &regions, dimer.seed);
            optimizer.point_along(&first);
        }
        Ok(optimizer)
    }

    /// Takes one step: one submission, unless the objective itself submits. With a rate from curvature, the step with which the
    /// burn-in should end waits for the GPU.
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`] if it recorded invalid work,
    /// [`Error::TooManySkips`], [`Error::TooManyPendingSteps`] while a step that was recorded 256 steps before has
    /// not been submitted, [`Error::Unsupported`] if a plateau schedule has to look at steps that have not been,
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`]. Nothing has changed then, and the step can be taken again.
    #[cfg(not(target_family = "wasm"))]
    pub fn step(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(self.step_with(objective, &mut Alone, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::step`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::step`]. In a browser [`Error::Rejected`], [`Error::OutOfMemory`] and
    /// [`Error::DeviceLost`] may come from a later call, and the step counts as taken then: go on from a checkpoint.
    pub async fn step_async(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        self.step_with(objective, &mut Alone, Wait::Yield).await
    }

    async fn step_with(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        group: &mut (impl Collective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let mut encoder = self.gpu.encoder("step");
        let form = self.next_form(wait).await?;
        let recorded = self.record(&mut encoder, objective, group, form, wait).await?;
        self.gpu.submit("a step", encoder)?;
        self.advance_submitted(recorded);
        Ok(())
    }

    /// Records one step into an encoder of the user, who submits it to [`Gpu::queue`] later.
    ///
    /// Several steps can be recorded before a submission, up to 256 of them, but fewer with
    /// [`Schedule::OnPlateau`](crate::Schedule::OnPlateau), which looks at the steps before. If the encoder is
    /// dropped instead, the state stays as it was.
    ///
    /// # Errors
    /// What the objective returns, [`Error::TooManySkips`] or [`Error::TooManyPendingSteps`];
    /// [`Error::Unsupported`] if a plateau schedule has to look at steps that have not been submitted;
    /// [`Error::Rejected`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn record_step(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        let form = block_on(self.next_form(Wait::Block))?;
        block_on(self.record_for_user(encoder, objective, form, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::record_step`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::record_step`].
    pub async fn record_step_async(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        let form = self.next_form(Wait::Yield).await?;
        self.record_for_user(encoder, objective, form, Wait::Yield).await
    }

    async fn record_for_user(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        form: StepForm,
        wait: Wait,
    ) -> Result<()> {
        let recorded = self.record(encoder, objective, &mut Alone, form, wait).await?;
        self.pending.take_loss_is_stale();
        let step = self.pending.add(self.index, form.kind.turns());
        encoder.on_submitted_work_done(move || step.finish());
        self.advance(recorded);
        Ok(())
    }

    /// Turns the dimer once at the current parameters without moving them: to follow the curvature while
    /// another optimizer does the training. Costs the gradients of one event. With
    /// [`Rotation::Alternating`](crate::Rotation::Alternating), N turns in every second call.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a dimer; otherwise the same as for [`Optimizer::step`].
    #[cfg(not(target_family = "wasm"))]
    pub fn rotate(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(self.rotate_with(objective, &mut Alone, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::rotate`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::rotate`].
    pub async fn rotate_async(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        self.rotate_with(objective, &mut Alone, Wait::Yield).await
    }

    async fn rotate_with(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        group: &mut (impl Collective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let mut encoder = self.gpu.encoder("rotation");
        let recorded = self.record(&mut encoder, objective, group, ROTATION, wait).await?;
        self.gpu.submit("a rotation", encoder)?;
        self.advance_submitted(recorded);
        Ok(())
    }

    /// Records [`Optimizer::rotate`] into an encoder of the user, as [`Optimizer::record_step`] does for a
    /// step.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a dimer; otherwise the same as for [`Optimizer::record_step`].
    #[cfg(not(target_family = "wasm"))]
    pub fn record_rotation(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        block_on(self.record_for_user(encoder, objective, ROTATION, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::record_rotation`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::record_rotation`].
    pub async fn record_rotation_async(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.record_for_user(encoder, objective, ROTATION, Wait::Yield).await
    }

    /// Begins a step without callbacks.
    ///
    /// The user does the work that reads `params` and writes `gradient` of a point, on
    /// [`Gpu::queue`](crate::Gpu::queue). A step of [`Rotation::Alternating`](crate::Rotation::Alternating) has one probe
    /// and no gradient at θ, and all of them must be of one function, which nothing checks here.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with [`Difference::Exact`](crate::Difference::Exact), which needs an objective; otherwise the
    /// same as for [`Optimizer::step`], but for those of an objective.
    #[cfg(not(target_family = "wasm"))]
    pub fn begin_step(&mut self) -> Result<ManualStep<'_>> {
        block_on(self.begin_step_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::begin_step`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::begin_step`].
    pub async fn begin_step_async(&mut self) -> Result<ManualStep<'_>> {
        self.begin_step_with(Wait::Yield).await
    }

    async fn begin_step_with(&mut self, wait: Wait) -> Result<ManualStep<'_>> {
        if self.plan.dimer.is_some_and(|dimer| dimer.needs_products) {
            return Err(Error::Unsupported {
                what: "a step without an objective",
                with: "Difference::Exact, since only an objective has products",
                instead: "set `dimer.difference` to Forward or Central",
            });
        }
        let form = self.next_form(wait).await?;
        self.compile(form)?;
        self.prepare(wait).await?;
        Ok(ManualStep::new(self, form))
    }

    /// Evaluates the objective at θ twice and, where steps have probes ([`Config::has_probe`]), also as a probe at θ and at
    /// a real probe, all as part of one step. It looks for whatever makes a dimer sense something other than the
    /// curvature of the loss:
    ///
    /// - gradients that differ at the same point: a minibatch that moved, live dropout, another batch or
    ///   mode for the probe;
    /// - a gradient at the probe that equals the one at θ to the bit:
    ///   [`Evaluation::params`](crate::Evaluation::params) is not read (or the loss is linear there, and a
    ///   dimer is of no use);
    /// - elements of the gradient that are not written, or that are added to what lay there; with
    ///   [`Difference::Central`](crate::Difference::Central) on either side of θ;
    /// - a minibatch that moves where [`StepInfo::repeats_minibatch`](crate::StepInfo::repeats_minibatch) says that it
    ///   must not, or with [`Rotation::Alternating`](crate::Rotation::Alternating) from one step to the next; a loss that is
    ///   promised and not written;
    /// - parameters that the objective changes.
    ///
    /// The closure of a [`HostObjective`](crate::HostObjective) is called twice for each evaluation, with other numbers in
    /// the gradient before, to see what it leaves out.
    ///
    /// Waits for the GPU; takes no step and changes no state. With
    /// [`Difference::Exact`](crate::Difference::Exact), whose probes are not gradients, the check is the same
    /// as without a dimer.
    ///
    /// # Errors
    /// [`Error::InconsistentObjective`], which says what was found; [`Error::NonFinite`] if a gradient is
    /// not finite; [`Error::InvalidConfig`] for a displacement too small to make the probe another point
    /// in f32; what the objective returns; [`Error::Rejected`], [`Error::TooManySkips`],
    /// [`Error::TooManyPendingSteps`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn check_objective(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(check::check(self, objective, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::check_objective`]. If it is dropped before it has finished, parameters that the
    /// objective has changed stay changed.
    ///
    /// # Errors
    /// The same as for [`Optimizer::check_objective`].
    pub async fn check_objective_async(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        check::check(self, objective, Wait::Yield).await
    }

    /// What each kind of step does, stage by stage, and what it costs; the same for every step of a kind.
    ///
    /// ```
    /// use dimer::{Config, Gpu, Layout, Optimizer};
    ///
    /// let layout = Layout::flat(100)?;
    /// let optimizer = Optimizer::new(&Gpu::new()?, layout, Config::default(), &[1.0; 100])?;
    /// assert_eq!(optimizer.plan().costs()[0].bytes_per_parameter, 32.0);
    /// println!("{}", optimizer.plan());
    /// # Ok::<(), dimer::Error>(())
    /// ```
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Says that the loss of what is now played is that of no step.
    pub(crate) fn set_loss_is_stale(&self) {
        self.pending.set_loss_is_stale();
    }

    fn context(&self) -> Context<'_> {
        Context {
            gpu: &self.gpu,
            layout: &self.layout,
            plan: &self.plan,
            state: &self.state,
            groups: &self.groups,
            timer: self.timer.as_ref(),
            index: self.index,
            arguments_of_parts: 0,
            checksum: 0,
        }
    }

    /// Makes the pipelines of a form of step, if it has none yet.
    fn compile(&mut self, form: StepForm) -> Result<()> {
        let program = self.plan.program(form).ok_or_else(|| Error::no_dimer("a rotation"))?;
        let place = &mut self.compiled[form.index()];
        if place.is_none() {
            *place = Some(Compiled::new(&self.gpu, &self.plan, program)?);
        }
        Ok(())
    }

    /// Plays a step of `form` from its beginning.
    fn player(&self, form: StepForm) -> Result<Player<'_>> {
        let program = self.plan.program(form);
        match program.zip(self.compiled[form.index()].as_ref()) {
            Some((program, compiled)) => {
                let checksum = match self.plan.slice.is_whole() {
                    true => 0,
                    false => self.checksum(&form.index().to_le_bytes()),
                };
                let context = Context { checksum, ..self.context() };
                Ok(Player::new(context, program, compiled))
            }
            None => Err(Error::no_dimer("a rotation")),
        }
    }

    /// Records a whole step and counts its evaluations; nothing in `self` that a later step sees changes
    /// until [`Self::advance`].
    async fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        group: &mut (impl Collective + ?Sized),
        form: StepForm,
        wait: Wait,
    ) -> Result<Recorded> {
        let gradients = self.plan.gradients_of_a_part(form);
        let part = match self.begin(objective, form, gradients, None, wait).await {
            Ok(part) => part,
            Err(error) => {
                // Without one there is nothing that the other ranks wait in.
                if let Ok(mut player) = self.player(form) {
                    player.tell(&error, group)?;
                }
                return Err(error);
            }
        };
        let mut player = self.player(form)?;
        // Until the step is submitted, the loss that the objective may write is not that of the next try.
        self.set_loss_is_stale();
        player.play(encoder, objective, group, wait).await?;
        let evaluations = player.evaluations;
        self.finish(encoder);
        Ok(Recorded { form, evaluations, part })
    }

    /// Prepares a step of `form`, and has the objective fix its minibatch, or a part of it for so many gradients, which are
    /// also those of the optimizer `beside`.
    async fn begin(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        form: StepForm,
        gradients: Option<u32>,
        beside: Option<&Self>,
        wait: Wait,
    ) -> Result<Part> {
        self.check_deterministic(objective)?;
        self.compile(form)?;
        self.prepare(wait).await?;
        let part = gradients.map_or(Part::WHOLE, |gradients| {
            part_of_event(self.index, gradients, objective.parts())
        });
        let mut step = self.step_info(form, part);
        if let Some(other) = beside {
            let other = other.checksum(format!("{:?}", other.config).as_bytes());
            step.checksum = crc32fast::hash(bytemuck::bytes_of(&[step.checksum, other]));
        }
        objective.begin_step(step)?;
        Ok(part)
    }

    /// Refuses an objective that may change from step to step, where that is not allowed.
    pub(crate) fn check_deterministic(&self, objective: &(impl Objective + ?Sized)) -> Result<()> {
        if !self.plan.alternates || objective.is_deterministic() {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: "Rotation::Alternating",
            with: "an objective that does not say that it is deterministic",
            instead: "return true from `Objective::is_deterministic` if all gradients are of one function, or take \
                      another rotation",
        })
    }

    /// What is known of the next step before it begins.
    fn step_info(&self, form: StepForm, part: Part) -> StepInfo {
        StepInfo {
            index: self.index,
            repeats_minibatch: self.repeats_minibatch(),
            part,
            checksum: self.checksum(&form.index().to_le_bytes()),
        }
    }

    /// Of `what` is done next, and of its hyperparameters.
    pub(crate) fn checksum(&self, what: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(what);
        hasher.update(bytemuck::bytes_of(&self.hyperparameters));
        hasher.finalize()
    }

    /// What the next step does.
    async fn next_form(&mut self, wait: Wait) -> Result<StepForm> {
        let event = match (self.plan.events.is_event(self.index), &mut self.plateau) {
            (None, Some(plateau)) => {
                let steps = StepsBefore { index: self.index, pending: &self.pending };
                plateau.is_event(&self.gpu, &self.state, steps, wait).await?
            }
            (event, _) => event.unwrap_or(false),
        };
        Ok(StepForm {
            kind: self.plan.events.kind(event, self.pending.turned()),
            rate: self.next_measurement(wait).await?,
        })
    }

    /// What the next step does for the learning rate.
    async fn next_measurement(&mut self, wait: Wait) -> Result<RateMeasurement> {
        let Some(clock) = &mut self.rate_clock else { return Ok(RateMeasurement::None) };
        if clock.asks() {
            self.pending.settle(&self.gpu, &self.state, wait).await?;
            if self.pending.first().is_none() {
                let bytes = self.gpu.read(&self.state.measurements(), wait).await?;
                let [valid, lost]: [u32; 2] = bytemuck::pod_read_unaligned(&bytes);
                clock.take_in(valid + lost);
            }
        }
        Ok(clock.measurement())
    }

    /// Hands over the hyperparameters of the next step.
    pub(crate) async fn prepare(&mut self, wait: Wait) -> Result<()> {
        self.gpu.let_browser_answer().await?;
        if let Some(skips) = &self.skips {
            #[cfg(not(target_family = "wasm"))]
            if !self.plan.slice.is_whole() {
                skips.settle(&self.gpu)?;
            }
            skips.check(&self.gpu, self.index)?;
        }
        if self.index.is_multiple_of(LIVENESS_CHECKS) {
            self.gpu.check_alive()?;
        }
        if self.pending.hold_slot(self.index) {
            // A step that was submitted finishes now; any other keeps its slot.
            self.pending.settle(&self.gpu, &self.state, wait).await?;
            if self.pending.hold_slot(self.index) {
                return Err(Error::TooManyPendingSteps { pending: self.pending.len() });
            }
        }
        if self.pending.take_loss_is_stale() {
            self.state.forget_loss(self.gpu.queue());
        }
        if let Some(timer) = &mut self.timer {
            timer.begin();
        }
        self.hyperparameters.index = self.index as u32;
        let pair = self.rate_clock.and_then(|clock| clock.pair());
        self.hyperparameters.first = pair.map_or(NO_RECORD, |index| index as u32);
        let slot = self.index % u64::from(STEP_SLOTS);
        let bytes = bytemuck::bytes_of(&self.hyperparameters);
        self.gpu.queue().write_buffer(&self.state.steps, slot * STEP_STRIDE, bytes);
        Ok(())
    }

    /// Records what is kept of a step besides its work.
    fn finish(&mut self, encoder: &mut wgpu::CommandEncoder) {
        if let Some(skips) = &self.skips {
            skips.look(encoder, &self.state.streak(), self.index);
        }
        if let Some(timer) = &mut self.timer {
            timer.end(self.gpu.queue(), encoder, self.index);
        }
    }

    fn advance(&mut self, recorded: Recorded) {
        let Recorded { form, evaluations, part } = recorded;
        if let Some(clock) = self.rate_clock.as_mut().filter(|_| form != ROTATION) {
            clock.advance(form.rate, self.index);
        }
        self.index += 1;
        self.gradient_evaluations += f64::from(evaluations) / f64::from(part.of);
    }

    /// The same for a step that is submitted already.
    fn advance_submitted(&mut self, recorded: Recorded) {
        self.advance(recorded);
        self.pending.take_loss_is_stale();
        if recorded.form.kind.turns() {
            self.pending.set_turned(true);
        }
    }

    /// For each dimer, its tensors.
    fn region_tensors(&self) -> Vec<Vec<usize>> {
        match &self.plan.regions {
            Some(regions) => regions.tensors.clone(),
            None => vec![(0..self.layout.tensors().len()).collect()],
        }
    }
}

/// What a recorded step was, and how many evaluations of which part of the minibatch it has.
#[derive(Clone, Copy)]
struct Recorded {
    form: StepForm,
    evaluations: u32,
    part: Part,
}
