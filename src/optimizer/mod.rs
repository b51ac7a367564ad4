//! [`Optimizer`]: the public face of the crate.

mod check;
mod checkpoint;
mod manual;
mod modes;
mod read;
mod skips;
mod times;
mod tune;
mod write;

pub use crate::kernels::KernelTime;
pub use manual::{ManualStep, PointBuffers};
pub use modes::{Eigenpair, Modes};

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::{Config, Dimer};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};
use crate::kernels::{Kernels, Mode};
use crate::layout::Layout;
use crate::objective::Objective;
use crate::orientation;
use crate::plateau::Plateau;
use crate::state::{Buffers, STEP_SLOTS, STEP_STRIDE, State, Step};
use crate::step::{Parts, Plan};
use crate::telemetry::Reader;

use skips::Skips;

/// Steps from one look at whether the device is still there to the next; recording and submitting alone
/// do not tell.
const SIGNS_OF_LIFE: u64 = 32;

/// Minimises an [`Objective`] on the GPU, sensing its curvature with a dimer.
///
/// Parameters, gradients, orientation and moments stay on the GPU. One step records two
/// dispatches of this crate, and a few more in an event, around the work of the objective, and
/// decides nothing on the host.
///
/// A step whose gradient has a NaN or an infinity changes nothing, and is counted in
/// [`Telemetry::skipped_steps`](crate::Telemetry::skipped_steps).
#[derive(Debug)]
pub struct Optimizer {
    gpu: Gpu,
    layout: Layout,
    config: Config,
    state: State,
    kernels: Kernels,
    plan: Plan,
    plateau: Option<Plateau>,
    /// The hyperparameters of the next step.
    hyperparameters: Step,
    index: u64,
    /// Whether an event has been recorded.
    turned: bool,
    gradient_evaluations: u64,
    supplies_loss: bool,
    telemetry: Reader,
    skips: Option<Skips>,
    /// Steps recorded into encoders of the user that have not finished.
    pending: Arc<AtomicU32>,
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
    /// assert_eq!(optimizer.read_params_blocking()?, [0.5; 1000]);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], [`Error::LengthMismatch`] or [`Error::NonFinite`] for `params`,
    /// [`Error::LimitTooSmall`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, layout: Layout, config: Config, params: &[f32]) -> Result<Self> {
        let optimizer = Self::with_buffers(gpu, layout, config, Buffers::default())?;
        optimizer.write_params(params)?;
        Ok(optimizer)
    }

    /// Works in buffers of the user, who has put the parameters there, each tensor at its
    /// [`offset`](crate::Tensor::offset). The gaps between tensors are zeroed.
    ///
    /// # Errors
    /// As [`Optimizer::new`], and [`Error::InvalidBuffer`] for a slice that is too short, not
    /// aligned, of another device, without the usages, or that shares a buffer which must be
    /// its own.
    pub fn with_buffers(
        gpu: &Gpu,
        layout: Layout,
        config: Config,
        buffers: Buffers,
    ) -> Result<Self> {
        config.validate()?;
        if config.dimer.is_some() && !layout.tensors().iter().any(|t| layout.group(t).dimer) {
            return Err(Error::InvalidConfig {
                field: "dimer",
                value: "set".into(),
                expected: "None, since every tensor is in a group without dimer",
            });
        }
        let layout = layout.tiled(gpu);
        let state = State::new(gpu, &layout, &config, buffers)?;
        let kernels = Kernels::new(gpu, &layout, &config, &state)?;
        let skips = config.max_consecutive_skips.map(|limit| Skips::new(gpu, limit)).transpose()?;
        let optimizer = Self {
            gpu: gpu.clone(),
            plan: Plan::new(&config),
            plateau: Plateau::new(&config),
            hyperparameters: Step {
                learning_rate: config.learning_rate as f32,
                ..Step::new(&config, &layout, state.regions.as_ref())
            },
            layout,
            config,
            state,
            kernels,
            index: 0,
            turned: false,
            gradient_evaluations: 0,
            supplies_loss: false,
            telemetry: Reader::default(),
            skips,
            pending: Arc::default(),
        };
        if let Some(Dimer { seed, .. }) = optimizer.config.dimer {
            let regions = optimizer.state.region_tensors(&optimizer.layout);
            let orientation = orientation::random(&optimizer.layout, &regions, seed);
            let storage = optimizer.state.storage;
            optimizer.write(&optimizer.state.orientation, storage, &orientation);
        }
        Ok(optimizer)
    }

    /// Takes one step: one submission, unless the objective itself submits.
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`] if it recorded invalid work,
    /// [`Error::TooManySkips`], or [`Error::DeviceLost`]. Nothing has changed then, and the step can be
    /// taken again.
    pub fn step(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        let mut encoder = self.gpu.encoder("step");
        let recorded = self.record(&mut encoder, objective, Work::Step)?;
        self.gpu.submit("a step", encoder)?;
        self.advance(recorded);
        Ok(())
    }

    /// Records one step into an encoder of the user, who submits it to [`Gpu::queue`] later.
    ///
    /// Several steps can be recorded before a submission, up to 256 of them. An encoder that is
    /// dropped instead leaves the state as it was.
    ///
    /// # Errors
    /// What the objective returns, [`Error::TooManySkips`] or [`Error::TooManyPendingSteps`].
    pub fn record_step(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.record_for_user(encoder, objective, Work::Step)
    }

    fn record_for_user(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        work: Work,
    ) -> Result<()> {
        if self.pending.load(Ordering::Acquire) >= STEP_SLOTS {
            // Those that were submitted finish now; the others keep their slots.
            self.gpu.wait()?;
        }
        let pending = self.pending.load(Ordering::Acquire);
        if pending >= STEP_SLOTS {
            return Err(Error::TooManyPendingSteps { pending });
        }
        let recorded = self.record(encoder, objective, work)?;
        let slot = PendingSlot::new(&self.pending);
        encoder.on_submitted_work_done(move || drop(slot));
        self.advance(recorded);
        Ok(())
    }

    /// Turns the dimer once at the current parameters without moving them: for following the
    /// curvature of a training that another optimizer does. Costs the gradients of one event.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] without a dimer; else as [`Optimizer::step`].
    pub fn rotate(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        let mut encoder = self.gpu.encoder("rotation");
        let recorded = self.record(&mut encoder, objective, Work::Rotation)?;
        self.gpu.submit("a rotation", encoder)?;
        self.advance(recorded);
        Ok(())
    }

    /// Records [`Optimizer::rotate`] into an encoder of the user, as
    /// [`Optimizer::record_step`] does a step.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] without a dimer; else as [`Optimizer::record_step`].
    pub fn record_rotation(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.record_for_user(encoder, objective, Work::Rotation)
    }

    /// θ on the GPU, padded; read only while a step is recorded or runs.
    pub fn params(&self) -> &GpuSlice {
        &self.state.params
    }

    /// The probe θ + ΔR·N of the last event, padded; without a dimer, a stub.
    pub fn probe(&self) -> &GpuSlice {
        &self.state.probe
    }

    /// Where the gradient at θ belongs.
    pub fn gradient(&self) -> &GpuSlice {
        &self.state.gradient
    }

    /// Where the gradient at the probe belongs; without a dimer, a stub.
    pub fn probe_gradient(&self) -> &GpuSlice {
        &self.state.probe_gradient
    }

    /// N, a unit vector, padded; zero in groups without dimer. With several dimers, one behind the
    /// other. Without a dimer, a stub. With [`Storage::Bf16`](crate::Storage::Bf16), 2 bytes an element.
    pub fn orientation(&self) -> &GpuSlice {
        &self.state.orientation
    }

    /// The device that the optimizer runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How the parameters are packed.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps and rotations recorded so far, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.index
    }

    /// Gradients, and exact Hessian-vector products, asked of objectives so far: the cost to compare
    /// optimizers by.
    pub fn gradient_evaluations(&self) -> u64 {
        self.gradient_evaluations
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            gpu: &self.gpu,
            layout: &self.layout,
            state: &self.state,
            kernels: &self.kernels,
            plan: &self.plan,
        }
    }

    /// Records a whole step or rotation and counts its evaluations; nothing of `self` that a later
    /// step sees has changed until [`Self::advance`].
    fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        work: Work,
    ) -> Result<Recorded> {
        let mode = match work {
            Work::Step => self.next_mode()?,
            Work::Rotation if self.config.dimer.is_some() => Mode::Event,
            Work::Rotation => return Err(no_dimer("set, to rotate it")),
        };
        self.prepare()?;
        let evaluations = self.parts().gradients(encoder, objective, self.index, mode)?;
        match work {
            Work::Step => self.parts().update(encoder, self.index, mode),
            Work::Rotation => self.parts().rotate(encoder, self.index),
        }
        self.finish(encoder);
        self.supplies_loss = objective.supplies_loss();
        Ok(Recorded { mode, evaluations })
    }

    /// What the next step does with the dimer.
    fn next_mode(&mut self) -> Result<Mode> {
        let event = match (self.plan.is_event(self.index), &mut self.plateau) {
            (None, Some(plateau)) => {
                plateau.is_event(&self.gpu, &self.state, self.index, self.supplies_loss)?
            }
            (event, _) => event.unwrap_or(false),
        };
        Ok(self.plan.mode(event, self.turned))
    }

    /// Hands the hyperparameters of the next step over.
    fn prepare(&mut self) -> Result<()> {
        self.check_skips()?;
        if self.index.is_multiple_of(SIGNS_OF_LIFE) {
            self.gpu.check_alive()?;
        }
        if let Some(timer) = &mut self.kernels.timer {
            timer.begin_step();
        }
        self.hyperparameters.index = self.index as u32;
        let slot = self.index % u64::from(STEP_SLOTS);
        let bytes = bytemuck::bytes_of(&self.hyperparameters);
        self.gpu.queue().write_buffer(&self.state.steps, slot * STEP_STRIDE, bytes);
        Ok(())
    }

    /// Records what is kept of a step beside its work.
    fn finish(&mut self, encoder: &mut wgpu::CommandEncoder) {
        self.look_at_skips(encoder);
        if let Some(timer) = &mut self.kernels.timer {
            timer.end_step(encoder, self.index);
        }
    }

    fn advance(&mut self, Recorded { mode, evaluations }: Recorded) {
        self.index += 1;
        self.turned |= mode == Mode::Event;
        self.gradient_evaluations += u64::from(evaluations);
    }
}

/// What a recorded step was, and how many evaluations it has.
#[derive(Clone, Copy)]
struct Recorded {
    mode: Mode,
    evaluations: u32,
}

/// What is recorded after the gradients.
#[derive(Clone, Copy)]
enum Work {
    Step,
    Rotation,
}

/// One slot of hyperparameters, given back when its step has finished or its encoder is dropped.
struct PendingSlot(Arc<AtomicU32>);

impl PendingSlot {
    fn new(pending: &Arc<AtomicU32>) -> Self {
        pending.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(pending))
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn no_dimer(expected: &'static str) -> Error {
    Error::InvalidConfig { field: "dimer", value: "None".into(), expected }
}
