//! [`ManualStep`]: a step without callbacks, for training loops that own the control flow.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Optimizer, Recorded};
use crate::config::Storage;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{GpuSlice, PendingRead, Wait};
use crate::objective::{Part, Point};
#[cfg(not(target_family = "wasm"))]
use crate::parallel::{Asked, Collective, GradientMean};
use crate::plan::StepForm;
use crate::plan::program::Cursor;
use crate::player::Pause;

/// The two vectors of one evaluation, padded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PointBuffers<'a> {
    /// Where to evaluate.
    pub params: &'a GpuSlice,
    /// Where the gradient belongs.
    pub gradient: &'a GpuSlice,
}

/// One step in the hands of the user: write the gradient at the centre, then that of each probe,
/// then [`finish`](Self::finish).
///
/// ```
/// use dimer::{Config, Gpu, Layout, Optimizer, Point};
///
/// let gradient = |params: &[f32]| params.iter().map(|x| 2.0 * x).collect::<Vec<f32>>();
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(3)?, Config::default(), &[1.0; 3])?;
/// for _ in 0..3 {
///     let mut step = optimizer.begin_step()?;
///     let params = step.read_params(Point::Centre)?;
///     step.write_gradient(Point::Centre, &gradient(&params))?;
///     step.write_loss(params.iter().map(|x| x * x).sum());
///     while step.next_probe()?.is_some() {
///         let probe = step.read_params(Point::Probe)?;
///         step.write_gradient(Point::Probe, &gradient(&probe))?;
///     }
///     step.finish()?;
/// }
/// assert_eq!(optimizer.steps(), 3);
/// assert_eq!(optimizer.telemetry()?[0].loss, Some(3.0));
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a step that is not finished changes nothing"]
pub struct ManualStep<'a> {
    optimizer: &'a mut Optimizer,
    form: StepForm,
    /// Where the step goes on.
    cursor: Cursor,
    evaluations: u32,
    /// What it has asked the GPU, until the answer is there.
    question: Option<PendingRead>,
    /// Where the gradient of the last probe belongs.
    probe_gradient: Option<GpuSlice>,
    /// Probes placed so far.
    placed: u32,
    /// Probes of the step, fewer once it has stopped early.
    probes: u32,
    /// Whether the step needs a gradient at θ that the user has not come to yet.
    lacks_centre: AtomicBool,
    /// Whether the user gives the loss.
    gives_loss: AtomicBool,
}

impl<'a> ManualStep<'a> {
    pub(super) fn new(optimizer: &'a mut Optimizer, form: StepForm) -> Self {
        let program = optimizer.plan.program(form);
        let evaluations = |point| program.map_or(0, |program| program.evaluations(Some(point)));
        let (centres, probes) = (evaluations(Point::Centre), evaluations(Point::Probe));
        let lacks_centre = centres > 0 && !optimizer.gradient_is_known.load(Ordering::Relaxed);
        Self {
            optimizer,
            form,
            cursor: Cursor::default(),
            evaluations: 0,
            question: None,
            probe_gradient: None,
            placed: 0,
            probes,
            lacks_centre: AtomicBool::new(lacks_centre),
            gives_loss: AtomicBool::new(false),
        }
    }

    /// θ and g₁. Every step needs this gradient before the first probe is placed, except the events of
    /// [`Difference::Central`](crate::Difference::Central) that measure no learning rate, and the steps of
    /// [`Rotation::Alternating`](crate::Rotation::Alternating). Which minibatch it is of,
    /// [`Optimizer::repeats_minibatch`] says before the step begins.
    pub fn centre(&self) -> PointBuffers<'_> {
        self.lacks_centre.store(false, Ordering::Relaxed);
        let state = &self.optimizer.state;
        PointBuffers { params: &state.params, gradient: &state.gradient }
    }

    /// Submits the next probe, of an event or of a measurement of the learning rate, and says where it lies; `None`
    /// after the last one, and in a step without probes. The gradient of the previous probe must have been written.
    ///
    /// # Errors
    /// [`Error::Rejected`] for invalid work of the user's, [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn next_probe(&mut self) -> Result<Option<PointBuffers<'_>>> {
        block_on(self.next_probe_with(Wait::Block))
    }

    /// The asynchronous twin of [`ManualStep::next_probe`].
    ///
    /// # Errors
    /// The same as for [`ManualStep::next_probe`].
    pub async fn next_probe_async(&mut self) -> Result<Option<PointBuffers<'_>>> {
        self.next_probe_with(Wait::Yield).await
    }

    async fn next_probe_with(&mut self, wait: Wait) -> Result<Option<PointBuffers<'_>>> {
        if self.placed == self.probes {
            return Ok(None);
        }
        let optimizer = &*self.optimizer;
        let mut encoder = optimizer.gpu.encoder("probe");
        let mut player = optimizer.player(self.form)?;
        (player.cursor, player.evaluations) = (self.cursor, self.evaluations);
        let evaluate = loop {
            // One that was asked before, if nobody waited for the answer.
            if let Some(read) = &self.question {
                let bytes = optimizer.gpu.finish_read(read, wait).await?;
                self.question = None;
                let has_stopped = player.answer(&bytes);
                self.cursor = player.cursor;
                if has_stopped {
                    self.probes = self.placed;
                    return Ok(None);
                }
            }
            match player.advance(&mut encoder, false)? {
                // The user may write the gradient at the centre at any time.
                Pause::Evaluate(evaluate) if evaluate.point == Point::Centre => {}
                Pause::Evaluate(evaluate) => break evaluate,
                Pause::Question(read) => {
                    (self.cursor, self.evaluations) = (player.cursor, player.evaluations);
                    self.question = Some(read);
                }
                Pause::Gather(what, _) => return Err(Error::internal(what, "a step by hand")),
                Pause::End => {
                    (self.cursor, self.evaluations) = (player.cursor, player.evaluations);
                    self.probes = self.placed;
                    return Ok(None);
                }
            }
        };
        let (params, gradient) = player.vectors(evaluate)?;
        let (cursor, evaluations) = (player.cursor, player.evaluations);
        optimizer.gpu.submit("a probe", encoder)?;
        (self.cursor, self.evaluations) = (cursor, evaluations);
        self.probe_gradient = Some(gradient.clone());
        self.placed += 1;
        Ok(Some(PointBuffers { params, gradient }))
    }

    /// Waits, and returns the parameters at a point, without padding.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a probe that [`ManualStep::next_probe`] has not placed yet;
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_params(&self, point: Point) -> Result<Vec<f32>> {
        block_on(self.read_params_with(point, Wait::Block))
    }

    /// The asynchronous twin of [`ManualStep::read_params`].
    ///
    /// # Errors
    /// The same as for [`ManualStep::read_params`].
    pub async fn read_params_async(&self, point: Point) -> Result<Vec<f32>> {
        self.read_params_with(point, Wait::Yield).await
    }

    async fn read_params_with(&self, point: Point, wait: Wait) -> Result<Vec<f32>> {
        let slice = self.params(point)?;
        Ok(self.optimizer.unpad(Storage::F32, &self.optimizer.gpu.read(slice, wait).await?))
    }

    fn params(&self, point: Point) -> Result<&GpuSlice> {
        let state = &self.optimizer.state;
        match (point, &state.probe) {
            (Point::Centre, _) => Ok(&state.params),
            (Point::Probe, Some(probe)) if self.placed > 0 => Ok(probe),
            (Point::Probe, _) => Err(not_placed()),
        }
    }

    /// Waits, and returns the gradient that was last written for a point, without padding, for instance to add it to those
    /// of other devices. Before one was written it is that of an earlier step. With
    /// [`Difference::Central`](crate::Difference::Central) the second probe of a pair takes the place of the centre's.
    ///
    /// # Errors
    /// The same as for [`ManualStep::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_gradient(&self, point: Point) -> Result<Vec<f32>> {
        block_on(self.read_gradient_with(point, Wait::Block))
    }

    /// The asynchronous twin of [`ManualStep::read_gradient`].
    ///
    /// # Errors
    /// The same as for [`ManualStep::read_params`].
    pub async fn read_gradient_async(&self, point: Point) -> Result<Vec<f32>> {
        self.read_gradient_with(point, Wait::Yield).await
    }

    async fn read_gradient_with(&self, point: Point, wait: Wait) -> Result<Vec<f32>> {
        let slice = match point {
            Point::Centre => &self.optimizer.state.gradient,
            Point::Probe => self.probe_gradient.as_ref().ok_or_else(not_placed)?,
        };
        Ok(self.optimizer.unpad(Storage::F32, &self.optimizer.gpu.read(slice, wait).await?))
    }

    /// Writes a gradient from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`]; [`Error::InvalidArgument`] for a probe that [`ManualStep::next_probe`] has not placed
    /// yet, and for θ in a step of [`Rotation::Alternating`](crate::Rotation::Alternating), which has no gradient there. In
    /// a step without probes, their gradient is not used.
    pub fn write_gradient(&self, point: Point, gradient: &[f32]) -> Result<()> {
        let optimizer = &self.optimizer;
        let padded = optimizer.layout.pad("gradient", gradient)?;
        if let Some(slice) = self.place_of(point)? {
            optimizer.write(slice, &padded);
        }
        if point == Point::Centre {
            self.lacks_centre.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Where the gradient of a point belongs, if there is one.
    fn place_of(&self, point: Point) -> Result<Option<&GpuSlice>> {
        match point {
            Point::Centre if self.optimizer.plan.alternates => Err(Error::InvalidArgument {
                argument: "point",
                value: "Centre".into(),
                expected: "Probe: a step of `Rotation::Alternating` has its one gradient there",
            }),
            Point::Centre => Ok(Some(&self.optimizer.state.gradient)),
            Point::Probe if self.probe_gradient.is_none() && self.probes > 0 => Err(not_placed()),
            Point::Probe => Ok(self.probe_gradient.as_ref()),
        }
    }

    /// Writes the mean of the gradients that all ranks have found at a point, without padding, and where
    /// [`write_loss`](Self::write_loss) wants it that of their losses, if all have one. Waits for the other ranks, each of
    /// which calls this for the same point of the same step.
    ///
    /// ```
    /// # use dimer::{Config, Gpu, Layout, Optimizer, Point, Threads};
    /// # let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(3)?, Config::default(), &[1.0; 3])?;
    /// # let group = Threads::group(1)?.remove(0);
    /// # let gradient = |params: &[f32]| -> dimer::Result<Vec<f32>> { Ok(params.to_vec()) };
    /// let mut mean = optimizer.gradient_mean(group)?;
    /// let mut step = optimizer.begin_step()?;
    /// let mut point = Point::Centre;
    /// loop {
    ///     // An error goes to the mean as well, which tells the others.
    ///     let own = step.read_params(point).and_then(|params| gradient(&params));
    ///     step.write_mean(&mut mean, point, own, None)?;
    ///     if step.next_probe()?.is_none() {
    ///         break;
    ///     }
    ///     point = Point::Probe;
    /// }
    /// step.finish()?;
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank's own if it brings one, or those of [`ManualStep::write_gradient`]; otherwise [`Error::Objective`] with the
    /// words of one that has failed. If it was no error of an objective, or if the ranks part, [`Error::Collective`]. After
    /// an error of an objective, drop the step on all ranks and begin it again.
    #[cfg(not(target_family = "wasm"))]
    pub fn write_mean<C: Collective>(
        &self,
        mean: &mut GradientMean<C>,
        point: Point,
        gradient: Result<Vec<f32>>,
        loss: Option<f32>,
    ) -> Result<()> {
        let optimizer = &*self.optimizer;
        let len = optimizer.layout.len();
        let found = gradient.and_then(|gradient| {
            optimizer.layout.check_len("gradient", &gradient)?;
            self.place_of(point)?;
            let program = optimizer.plan.program(self.form);
            let loss_point = program.and_then(|program| program.loss_point());
            Ok((gradient, loss.filter(|_| loss_point == Some(point))))
        });
        let step = optimizer.step_info(self.form, Part::WHOLE);
        let is_probe = point != Point::Centre;
        let asked = Asked { is_product: false, is_probe, is_checked: false, supplies_loss: false };
        let (gradient, loss) = mean.of(len, &step, asked, found)?;
        if let Some(loss) = loss {
            self.write_loss(loss);
        }
        self.write_gradient(point, &gradient)
    }

    /// Writes the loss at θ from the host, or with [`Rotation::Alternating`](crate::Rotation::Alternating) that at the probe,
    /// for [`Telemetry::loss`](crate::Telemetry::loss) and [`Schedule::OnPlateau`](crate::Schedule::OnPlateau). A step that
    /// is given none has none.
    pub fn write_loss(&self, loss: f32) {
        let buffer = self.loss();
        self.optimizer.gpu.queue().write_buffer(buffer, 0, bytemuck::bytes_of(&loss));
    }

    /// Where that loss belongs, one f32, for work on the GPU that is submitted before
    /// [`finish`](Self::finish). Whoever asks for it writes it.
    pub fn loss(&self) -> &wgpu::Buffer {
        self.gives_loss.store(true, Ordering::Relaxed);
        // Unless the step is finished.
        self.optimizer.pending.set_loss_is_stale();
        &self.optimizer.state.loss
    }

    /// Submits the step.
    ///
    /// # Errors
    /// [`Error::UnfinishedStep`] if a gradient cannot have been written: a probe was not asked for, or θ's
    /// was neither given to [`write_gradient`](Self::write_gradient), nor was its memory asked for by
    /// [`centre`](Self::centre) or [`Optimizer::gradient`], nor is it the user's own ([`Buffers`](crate::Buffers));
    /// [`Error::Rejected`] or [`Error::DeviceLost`]. The optimizer has taken no step then.
    #[cfg(not(target_family = "wasm"))]
    pub fn finish(self) -> Result<()> {
        block_on(self.finish_with(Wait::Block))
    }

    /// The asynchronous twin of [`ManualStep::finish`].
    ///
    /// # Errors
    /// The same as for [`ManualStep::finish`].
    pub async fn finish_async(self) -> Result<()> {
        self.finish_with(Wait::Yield).await
    }

    async fn finish_with(self, wait: Wait) -> Result<()> {
        let Self { form, cursor, evaluations, placed, probes, .. } = self;
        let lacks_centre = self.lacks_centre.load(Ordering::Relaxed);
        let gives_loss = self.gives_loss.load(Ordering::Relaxed);
        if placed < probes || lacks_centre {
            return Err(Error::UnfinishedStep { placed, probes, lacks_centre });
        }
        let optimizer = self.optimizer;
        let mut encoder = optimizer.gpu.encoder("step");
        let mut player = optimizer.player(form)?;
        (player.cursor, player.evaluations) = (cursor, evaluations);
        // Every program takes the loss after its last evaluation.
        loop {
            match player.advance(&mut encoder, gives_loss)? {
                Pause::Evaluate(_) => {}
                Pause::Question(read) => {
                    player.answer(&optimizer.gpu.finish_read(&read, wait).await?);
                }
                Pause::Gather(what, _) => return Err(Error::internal(what, "a step by hand")),
                Pause::End => break,
            }
        }
        let evaluations = player.evaluations;
        optimizer.finish(&mut encoder);
        optimizer.gpu.submit("a step", encoder)?;
        optimizer.advance_submitted(Recorded { form, evaluations, part: Part::WHOLE });
        Ok(())
    }
}

fn not_placed() -> Error {
    Error::InvalidArgument {
        argument: "point",
        value: "Probe".into(),
        expected: "Centre, until `next_probe` has placed a probe",
    }
}
