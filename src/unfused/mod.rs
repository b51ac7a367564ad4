//! The same step as a chain of textbook operations: the baseline that fused kernels are measured
//! against, and a second implementation to check them by.
//!
//! It makes the passes over memory that eager code makes, one operation per kernel. It covers what a
//! comparison needs and no more: one group, one dimer, a fixed rotation rate, forward differences over an absolute
//! displacement, events every K steps, projection or none, f32. It has no Sophia-like base, no clipping, and no guard
//! against non-finite gradients, whatever [`Config::skip_non_finite`] says.

mod chains;
mod learning_rate;
mod operations;
#[cfg(test)]
mod tests;

use crate::config::{
    Adam, Base, Config, CurvatureRate, Difference, Displacement, LearningRate, Lion, Metric,
    Projection, RateProbe, Rotation, RotationRate, Schedule, Scope, Sgd, Storage, Translation,
    rate_scale, shortest_update,
};
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{Gpu, GpuSlice, Wait};
use crate::layout::{Group, Layout};
use crate::objective::{Evaluation, Objective, Part, Point, StepInfo};
use crate::plan::rate_clock::RateClock;
use crate::plan::{Events, RateMeasurement, StepKind};
use crate::reference::bias_correction;
use crate::state::orientation;

use chains::Chains;
use learning_rate::RateChains;
use operations::{Dispatch, Operations};

/// Names the entries of the table of scalars.
#[derive(Clone, Copy)]
enum Scalar {
    // Written by the host before each step.
    One,
    MinusOne,
    Distance,
    InverseDistance,
    MinusRate,
    MinusAlpha,
    Momentum,
    Decay,
    Keep,
    Beta1Complement,
    Beta2,
    Beta2Complement,
    RootCorrection,
    Epsilon,
    MinusStep,
    RateFactor,
    RateDisplacement,
    /// Of the step before: what its mean was multiplied by for the update, and its root.
    PreviousStep,
    PreviousRoot,
    // Those of the rule follow each other.
    RateScale,
    Growth,
    BurnIn,
    RateBound,
    ShortestUpdate,
    // Computed on the GPU; those of the rule follow each other.
    Slope,
    StepCurvature,
    Norms,
    OwnSlope,
    PreviousSlope,
    ProbeRate,
    #[expect(dead_code, reason = "a place in the table")]
    LogMean,
    #[expect(dead_code, reason = "a place in the table")]
    Estimates,
    #[expect(dead_code, reason = "a place in the table")]
    Signal,
    #[expect(dead_code, reason = "a place in the table")]
    Signals,
    Measurements,
    #[expect(dead_code, reason = "a place in the table")]
    LastSlope,
    #[expect(dead_code, reason = "a place in the table")]
    LastCurvature,
    LastMove,
    UpdateNorm,
    #[expect(dead_code, reason = "a place in the table")]
    Longest,
    #[expect(dead_code, reason = "a place in the table")]
    Steepest,
    BaseRate,
    LearningRate,
    Curvature,
    MinusCurvature,
    Squares,
    InverseNorm,
    Projection,
    Correction,
}

/// Number of scalars that the host writes.
const CONSTANTS: usize = Scalar::Slope as usize;
const SCALARS: u64 = Scalar::Correction as u64 + 1;

/// Of every buffer.
const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// The unfused twin of [`Optimizer`](crate::Optimizer).
#[derive(Debug)]
pub struct UnfusedOptimizer {
    gpu: Gpu,
    layout: Layout,
    config: Config,
    events: Events,
    buffers: Vectors,
    table: wgpu::Buffer,
    displace: Vec<Dispatch>,
    rotate: Vec<Dispatch>,
    correct: Vec<Dispatch>,
    keep_gradient: Vec<Dispatch>,
    base: Vec<Dispatch>,
    /// Of a learning rate from curvature.
    rate: Option<RateChains>,
    progress: Progress,
    rate_factor: f64,
}

/// What the next step depends on.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    index: u64,
    /// Of a learning rate from curvature, and what the step before measured.
    rate_clock: Option<RateClock>,
    measured: RateMeasurement,
    /// Whether an event has been recorded.
    turned: bool,
}

#[derive(Clone, Debug)]
struct Vectors {
    params: GpuSlice,
    probe: GpuSlice,
    gradient: GpuSlice,
    probe_gradient: GpuSlice,
    orientation: wgpu::Buffer,
    product: wgpu::Buffer,
    force: wgpu::Buffer,
    corrected: wgpu::Buffer,
    first_moment: wgpu::Buffer,
    second_moment: wgpu::Buffer,
    root: wgpu::Buffer,
    loss: wgpu::Buffer,
}

impl UnfusedOptimizer {
    /// Like [`Optimizer::new`](crate::Optimizer::new), for the configurations that this twin supports.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what it does not support; otherwise the same as for
    /// [`Optimizer::new`](crate::Optimizer::new). One binding must hold a whole vector.
    pub fn new(gpu: &Gpu, layout: Layout, config: Config, params: &[f32]) -> Result<Self> {
        config.validate()?;
        check_supported(&layout, &config)?;
        if layout.shards(&gpu.limits(), 1, 0..layout.padded_len())?.len() > 1 {
            return Err(Error::LimitTooSmall {
                limit: "max_storage_buffer_binding_size",
                needed: layout.bytes(),
                found: gpu.device().limits().max_storage_buffer_binding_size,
            });
        }
        let padded = layout.pad("params", params)?;
        let vector = |what| gpu.allocate(what, layout.bytes(), USAGE);
        let buffers = Vectors {
            params: GpuSlice::whole(vector("params")?),
            probe: GpuSlice::whole(vector("probe")?),
            gradient: GpuSlice::whole(vector("gradient")?),
            probe_gradient: GpuSlice::whole(vector("probe_gradient")?),
            orientation: vector("orientation")?,
            product: vector("product")?,
            force: vector("force")?,
            corrected: vector("corrected")?,
            first_moment: vector("first_moment")?,
            second_moment: vector("second_moment")?,
            root: vector("root")?,
            loss: gpu.allocate("loss", 4, USAGE)?,
        };
        let table = gpu.allocate("table of scalars", 4 * SCALARS, USAGE)?;
        gpu.queue().write_buffer(&buffers.params.buffer, 0, bytemuck::cast_slice(&padded));
        if let Some(dimer) = &config.dimer {
            let all: Vec<usize> = (0..layout.tensors().len()).collect();
            let orientation = orientation::random(&layout, &[all], dimer.seed);
            gpu.queue().write_buffer(&buffers.orientation, 0, bytemuck::cast_slice(&orientation));
        }
        let operations = Operations::new(gpu, &table, (layout.padded_len() / 4) as u32)?;
        let chains = Chains { operations: &operations, vectors: &buffers };
        let rate = match config.learning_rate {
            LearningRate::Fixed(_) => None,
            LearningRate::Curvature(CurvatureRate { probe, initial, .. }) => {
                let offset = 4 * Scalar::BaseRate as u64;
                gpu.queue().write_buffer(&table, offset, bytemuck::bytes_of(&(initial as f32)));
                Some(RateChains::new(gpu, &layout, &config, probe, &operations, &buffers)?)
            }
        };
        let rate_clock = config.learning_rate.curvature().map(RateClock::new);
        Ok(Self {
            gpu: gpu.clone(),
            events: Events::new(&config),
            displace: chains.displace(),
            rotate: chains.rotate(),
            correct: chains.correct(),
            keep_gradient: chains.keep_gradient(),
            base: chains.base(&config),
            rate,
            layout,
            config,
            buffers,
            table,
            progress: Progress { rate_clock, ..Progress::default() },
            rate_factor: 1.0,
        })
    }

    /// Like [`Optimizer::step`](crate::Optimizer::step).
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn step(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(self.step_with(objective, Wait::Block))
    }

    /// The asynchronous twin of [`UnfusedOptimizer::step`].
    ///
    /// # Errors
    /// The same as for [`UnfusedOptimizer::step`].
    pub async fn step_async(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        self.step_with(objective, Wait::Yield).await
    }

    async fn step_with(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let mut encoder = self.gpu.encoder("unfused step");
        let next = self.encode_step(&mut encoder, objective, wait).await?;
        self.gpu.submit("an unfused step", encoder)?;
        self.progress = next;
        Ok(())
    }

    /// Like [`Optimizer::record_step`](crate::Optimizer::record_step), but one encoder has room for one step, and must
    /// be submitted before the next step.
    ///
    /// # Errors
    /// The same as for [`UnfusedOptimizer::step`].
    #[cfg(not(target_family = "wasm"))]
    pub fn record_step(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.progress = block_on(self.encode_step(encoder, objective, Wait::Block))?;
        Ok(())
    }

    /// The asynchronous twin of [`UnfusedOptimizer::record_step`].
    ///
    /// # Errors
    /// The same as for [`UnfusedOptimizer::step`].
    pub async fn record_step_async(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.progress = self.encode_step(encoder, objective, Wait::Yield).await?;
        Ok(())
    }

    async fn encode_step(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        wait: Wait,
    ) -> Result<Progress> {
        let Progress { index, mut rate_clock, turned, .. } = self.progress;
        let kind = self.events.kind(self.events.is_event(index).unwrap_or(false), turned);
        let mut measurement = RateMeasurement::None;
        if let Some(clock) = &mut rate_clock {
            if clock.asks() {
                clock.take_in(self.read_measurements(wait).await?);
            }
            measurement = clock.measurement();
            clock.advance(measurement, index);
        }
        self.evaluate(encoder, objective, kind, measurement)?;
        if kind == StepKind::Event {
            encode(encoder, &self.rotate);
        }
        let gradient = if kind == StepKind::Base { &self.keep_gradient } else { &self.correct };
        encode(encoder, gradient);
        encode(encoder, &self.base);
        if let Some(rate) = &self.rate {
            encode(encoder, rate.after_step(measurement));
        }
        let turned = turned || kind == StepKind::Event;
        Ok(Progress { index: index + 1, rate_clock, measured: measurement, turned })
    }

    /// How many measurements of the learning rate there were.
    async fn read_measurements(&self, wait: Wait) -> Result<u32> {
        let offset = 4 * Scalar::Measurements as u64;
        let slice = GpuSlice { buffer: self.table.clone(), offset, size: 4 };
        let bytes = self.gpu.read(&slice, wait).await?;
        Ok(bytemuck::pod_read_unaligned::<f32>(&bytes) as u32)
    }

    /// Like [`Optimizer::set_rate_factor`](crate::Optimizer::set_rate_factor), with no check.
    pub fn set_rate_factor(&mut self, factor: f64) {
        self.rate_factor = factor;
    }

    /// Like [`Optimizer::rotate`](crate::Optimizer::rotate).
    ///
    /// # Errors
    /// The same as for [`UnfusedOptimizer::step`].
    pub fn rotate(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        let mut encoder = self.gpu.encoder("unfused rotation");
        let next = self.encode_rotation(&mut encoder, objective)?;
        self.gpu.submit("an unfused rotation", encoder)?;
        self.progress = next;
        Ok(())
    }

    /// [`UnfusedOptimizer::rotate`], recorded as [`UnfusedOptimizer::record_step`] records a step.
    ///
    /// # Errors
    /// What the objective returns.
    pub fn record_rotation(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.progress = self.encode_rotation(encoder, objective)?;
        Ok(())
    }

    fn encode_rotation(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<Progress> {
        self.evaluate(encoder, objective, StepKind::Event, RateMeasurement::None)?;
        encode(encoder, &self.rotate);
        Ok(Progress { index: self.progress.index + 1, turned: true, ..self.progress })
    }

    /// θ, padded.
    pub fn params(&self) -> &GpuSlice {
        &self.buffers.params
    }

    /// Where the gradient at θ belongs; its padding must be zero.
    pub fn gradient(&self) -> &GpuSlice {
        &self.buffers.gradient
    }

    /// Where the gradient at the probe belongs; its padding must be zero.
    pub fn probe_gradient(&self) -> &GpuSlice {
        &self.buffers.probe_gradient
    }

    /// θ without padding.
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`](crate::Optimizer::read_params).
    #[cfg(not(target_family = "wasm"))]
    pub fn read_params(&self) -> Result<Vec<f32>> {
        block_on(self.read(&self.buffers.params, Wait::Block))
    }

    /// The asynchronous twin of [`UnfusedOptimizer::read_params`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`](crate::Optimizer::read_params).
    pub async fn read_params_async(&self) -> Result<Vec<f32>> {
        self.read(&self.buffers.params, Wait::Yield).await
    }

    /// N without padding.
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`](crate::Optimizer::read_params).
    #[cfg(not(target_family = "wasm"))]
    pub fn read_orientation(&self) -> Result<Vec<f32>> {
        block_on(self.read(&self.orientation(), Wait::Block))
    }

    /// The asynchronous twin of [`UnfusedOptimizer::read_orientation`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`](crate::Optimizer::read_params).
    pub async fn read_orientation_async(&self) -> Result<Vec<f32>> {
        self.read(&self.orientation(), Wait::Yield).await
    }

    fn orientation(&self) -> GpuSlice {
        GpuSlice::whole(self.buffers.orientation.clone())
    }

    async fn read(&self, slice: &GpuSlice, wait: Wait) -> Result<Vec<f32>> {
        let bytes = self.gpu.read(slice, wait).await?;
        Ok(self.layout.unpad(&bytemuck::pod_collect_to_vec(&bytes)))
    }

    /// The evaluations that the step needs, and the learning rate.
    fn evaluate(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        kind: StepKind,
        measurement: RateMeasurement,
    ) -> Result<()> {
        let constants = self.constants().map(|value| value as f32);
        self.gpu.queue().write_buffer(&self.table, 0, bytemuck::cast_slice(&constants));
        objective.begin_step(StepInfo {
            index: self.progress.index,
            repeats_minibatch: self.progress.rate_clock.is_some_and(|clock| clock.in_pair()),
            part: Part::WHOLE,
            checksum: 0,
        })?;
        objective.gradient(self.evaluation(encoder, Point::Centre))?;
        if let Some(rate) = &self.rate {
            if let Some(before_probe) = rate.before_probe(measurement) {
                before_probe.iter().for_each(|chain| encode(encoder, chain));
                objective.gradient(self.evaluation(encoder, Point::Probe))?;
            }
            rate.before_step(measurement).iter().for_each(|chain| encode(encoder, chain));
        }
        if kind == StepKind::Event {
            encode(encoder, &self.displace);
            objective.gradient(self.evaluation(encoder, Point::Probe))?;
        }
        Ok(())
    }

    fn evaluation<'a>(
        &'a self,
        encoder: &'a mut wgpu::CommandEncoder,
        point: Point,
    ) -> Evaluation<'a> {
        let Vectors { params, probe, gradient, probe_gradient, loss, .. } = &self.buffers;
        let (params, gradient) = match point {
            Point::Centre => (params, gradient),
            Point::Probe => (probe, probe_gradient),
        };
        let (gpu, layout) = (&self.gpu, &self.layout);
        let (is_checked, wants_loss) = (false, point == Point::Centre);
        Evaluation { gpu, layout, encoder, point, params, gradient, loss, is_checked, wants_loss }
    }

    /// The scalars that the host writes, in the order of [`Scalar`].
    fn constants(&self) -> [f64; CONSTANTS] {
        let weight_decay = self.config.weight_decay;
        // From curvature, the GPU multiplies by the rate.
        let learning_rate = match self.config.learning_rate {
            LearningRate::Fixed(rate) => rate * self.rate_factor,
            LearningRate::Curvature(_) => 1.0,
        };
        let mut constants = [0.0; CONSTANTS];
        let mut set = |scalar: Scalar, value: f64| constants[scalar as usize] = value;
        set(Scalar::One, 1.0);
        set(Scalar::MinusOne, -1.0);
        set(Scalar::Decay, weight_decay);
        set(Scalar::Keep, 1.0 - learning_rate * weight_decay);
        set(Scalar::MinusStep, -learning_rate);
        if let LearningRate::Curvature(rate) = self.config.learning_rate {
            let growth = if rate.probe == RateProbe::SeparateGradient { 2.0 } else { 3.0 };
            let [step, root] = self.previous_factors();
            set(Scalar::PreviousStep, -step);
            set(Scalar::PreviousRoot, root);
            set(Scalar::RateFactor, self.rate_factor);
            set(Scalar::RateDisplacement, rate.displacement);
            set(Scalar::RateScale, rate_scale(self.config.base, rate.scale));
            set(Scalar::ShortestUpdate, shortest_update(self.config.base));
            set(Scalar::Growth, growth);
            set(Scalar::BurnIn, rate.burn_in_measurements().into());
            let bounded = self.config.base.is_decoupled() && weight_decay > 0.0;
            set(Scalar::RateBound, if bounded { weight_decay.recip() } else { f32::MAX.into() });
        }
        match self.config.base {
            Base::Sgd(Sgd { momentum, .. }) => set(Scalar::Momentum, momentum),
            Base::Lion(Lion { beta1, beta2 }) => {
                set(Scalar::Beta1Complement, 1.0 - beta1);
                set(Scalar::Beta2Complement, 1.0 - beta2);
            }
            // Not supported here.
            Base::Sophia(_) => {}
            Base::Adam(Adam { beta1, beta2, epsilon })
            | Base::AdamW(Adam { beta1, beta2, epsilon }) => {
                let updates = self.progress.index + 1;
                set(Scalar::Beta1Complement, 1.0 - beta1);
                set(Scalar::Beta2, beta2);
                set(Scalar::Beta2Complement, 1.0 - beta2);
                set(Scalar::RootCorrection, bias_correction(beta2, updates).sqrt().recip());
                set(Scalar::Epsilon, epsilon);
                set(Scalar::MinusStep, -learning_rate / bias_correction(beta1, updates));
            }
        }
        if let Some(dimer) = &self.config.dimer {
            if let Translation::Project(Projection { alpha, .. }) = dimer.translation {
                set(Scalar::MinusAlpha, -alpha);
            }
            if let Rotation::Gradient { rate: RotationRate::Fixed(rate) } = dimer.rotation
                && let Displacement::Absolute(distance) = dimer.displacement
            {
                set(Scalar::MinusRate, dimer.seeks.sign() * -rate);
                set(Scalar::Distance, distance);
                set(Scalar::InverseDistance, distance.recip());
            }
        }
        constants
    }

    /// What the mean and the root of the step before were multiplied by for its update; 0 if that was not measured.
    fn previous_factors(&self) -> [f64; 2] {
        let t = self.progress.index;
        match self.config.base {
            _ if self.progress.measured != RateMeasurement::Complete => [0.0; 2],
            // The gradient that it saw ahead of the mean is taken for the mean of all.
            Base::Sgd(Sgd { momentum, nesterov: true }) => {
                [momentum + (1.0 - momentum) / bias_correction(momentum, t), 0.0]
            }
            Base::Adam(Adam { beta1, beta2, .. }) | Base::AdamW(Adam { beta1, beta2, .. }) => {
                [bias_correction(beta1, t).recip(), bias_correction(beta2, t).sqrt().recip()]
            }
            Base::Sgd(_) | Base::Lion(_) | Base::Sophia(_) => [1.0, 0.0],
        }
    }
}

fn encode(encoder: &mut wgpu::CommandEncoder, chain: &[Dispatch]) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    chain.iter().for_each(|dispatch| dispatch.encode(&mut pass));
}

fn check_supported(layout: &Layout, config: &Config) -> Result<()> {
    let unsupported =
        |what, instead| Err(Error::Unsupported { what, with: "the unfused optimizer", instead });
    if layout.groups() != [Group::default()] {
        return unsupported("a group other than the default one", "use the default group alone");
    }
    if matches!(config.base, Base::Sophia(_)) {
        return unsupported("Base::Sophia", "set `base` to another one");
    }
    if config.max_gradient_norm.is_some() {
        return unsupported("a gradient clip", "set `max_gradient_norm` to None");
    }
    if config.storage != Storage::F32 {
        return unsupported("Storage::Bf16", "set `storage` to F32");
    }
    let Some(dimer) = &config.dimer else { return Ok(()) };
    if !matches!(dimer.rotation, Rotation::Gradient { rate: RotationRate::Fixed(_) }) {
        return unsupported("this rotation", "set `dimer.rotation` to Gradient at a fixed rate");
    }
    if !matches!(dimer.schedule, Schedule::Every(_)) {
        return unsupported("Schedule::OnPlateau", "set `dimer.schedule` to Every");
    }
    if dimer.scope != Scope::Global {
        return unsupported("a scope of more than one dimer", "set `dimer.scope` to Global");
    }
    if dimer.metric != Metric::Euclidean {
        return unsupported("this metric", "set `dimer.metric` to Euclidean");
    }
    if dimer.difference != Difference::Forward {
        return unsupported("this difference", "set `dimer.difference` to Forward");
    }
    if !matches!(dimer.displacement, Displacement::Absolute(_)) {
        return unsupported("this displacement", "set `dimer.displacement` to Absolute");
    }
    if !matches!(
        dimer.translation,
        Translation::None | Translation::Project(Projection { only_negative_curvature: false, .. })
    ) {
        return unsupported(
            "this translation",
            "set `dimer.translation` to None, or to Project without `only_negative_curvature`",
        );
    }
    Ok(())
}
