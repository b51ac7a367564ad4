//! What can be read from an [`Optimizer`], and set in it: vectors, curvature, telemetry, times, rates.
//!
//! A method that waits for the GPU blocks; its twin with `_async` lets other tasks run.

use std::sync::atomic::Ordering;

use super::telemetry::{RegionCurvature, Telemetry, is_resolved};
use super::{Optimizer, orientation};
use crate::config::{Config, Storage, not_negative};
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{Gpu, GpuSlice, KernelTime, Timer, Wait};
use crate::kernels::bindings::Vector;
use crate::kernels::gpu_types::{Record, Region};
use crate::layout::Layout;
use crate::plan::Regions;

impl Optimizer {
    /// θ on the GPU, padded; read only while a step is recorded or runs.
    pub fn params(&self) -> &GpuSlice {
        &self.state.params
    }

    /// The point other than θ at which a gradient was last asked for, padded: θ + ΔR·N in an event, or along the update
    /// in a measurement of the learning rate. With [`Difference::Exact`](crate::Difference::Exact) it is the direction of
    /// the last product. There is one by default; `None` where [`Config::has_probe`] is false.
    pub fn probe(&self) -> Option<&GpuSlice> {
        self.state.probe.as_ref()
    }

    /// Where the gradient at θ belongs, padded.
    pub fn gradient(&self) -> &GpuSlice {
        self.gradient_is_known.store(true, Ordering::Relaxed);
        &self.state.gradient
    }

    /// Where the gradient at the probe belongs, padded; `None` where there is no [`probe`](Self::probe), and with
    /// [`Rotation::Alternating`](crate::Rotation::Alternating), whose one gradient belongs into [`gradient`](Self::gradient).
    pub fn probe_gradient(&self) -> Option<&GpuSlice> {
        self.state.probe_gradient.as_ref()
    }

    /// N, a unit vector, padded; zero in groups without the dimer. With several dimers, one after the other;
    /// `None` without a dimer. With [`Storage::Bf16`](crate::Storage::Bf16), 2 bytes per element. With
    /// [`Metric::Preconditioner`](crate::Metric::Preconditioner) it is a direction of P^½ θ, for the preconditioner P.
    pub fn orientation(&self) -> Option<&GpuSlice> {
        self.state.orientation.as_ref()
    }

    /// The device that the optimizer runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How the parameters are packed.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The settings that it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps and rotations recorded so far, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.index
    }

    /// Gradients and exact Hessian-vector products that objectives were asked for so far, in gradients of a whole
    /// minibatch: one of a quarter of it counts ¼ (see [`Objective::parts`](crate::Objective::parts)). The cost by
    /// which to compare optimizers.
    pub fn gradient_evaluations(&self) -> f64 {
        self.gradient_evaluations
    }

    /// Whether the next step has to use the minibatch of the last step again; only with
    /// [`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch). For training loops that choose the
    /// minibatch before they step; an objective is told by [`Objective::begin_step`](crate::Objective::begin_step).
    pub fn repeats_minibatch(&self) -> bool {
        self.rate_clock.is_some_and(|clock| clock.in_pair())
    }

    /// Sets the learning rate of the next steps, before the factor of
    /// [`set_rate_factor`](Self::set_rate_factor).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it, or it times the factor, is negative or not finite in f32;
    /// [`Error::Unsupported`] with [`LearningRate::Curvature`](crate::LearningRate::Curvature).
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        if self.fixed_rate.is_none() {
            return Err(Error::Unsupported {
                what: "a learning rate of your own",
                with: "LearningRate::Curvature, which finds it",
                instead: "use `set_rate_factor`, or set `learning_rate` to Fixed",
            });
        }
        check_rate("learning_rate", learning_rate)?;
        let rate = learning_rate as f32;
        self.hyperparameters.learning_rate = scaled_rate(Some(rate), self.rate_factor)?;
        self.fixed_rate = Some(rate);
        Ok(())
    }

    /// Sets the factor on the learning rate of the next steps, at first 1: for schedules such as
    /// [`cosine_with_warm_up`](crate::cosine_with_warm_up), which go with a fixed rate and with one from curvature.
    ///
    /// ```
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer, cosine_with_warm_up};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(3)?, Config::default(), &[1.0; 3])?;
    /// for step in 0..100 {
    ///     optimizer.set_rate_factor(cosine_with_warm_up(step, 10, 100, 0.1))?;
    ///     optimizer.step(&mut objective)?;
    /// }
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it, or it times the learning rate, is negative or not finite in f32.
    pub fn set_rate_factor(&mut self, factor: f64) -> Result<()> {
        check_rate("factor", factor)?;
        self.hyperparameters.learning_rate = scaled_rate(self.fixed_rate, factor)?;
        self.rate_factor = factor;
        Ok(())
    }

    /// Says that the gradients and exact Hessian-vector products that the objective hands over from now on
    /// are `scale` times those of the loss. This is for a loss that is multiplied so that its gradient does
    /// not vanish in f16. The scale is a power of two from 2⁻³² to 2³², at first 1. Kernels divide by it as
    /// they load, which is exact; telemetry, clipping and the displacement do not see it.
    ///
    /// A scale that is too large makes infinities, and then the step is skipped
    /// ([`Telemetry::skipped`](crate::Telemetry::skipped)). Halve the scale after a skipped step, and double
    /// it again after a long time without one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any other number.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        check_loss_scale(scale)?;
        self.use_loss_scale(scale);
        Ok(())
    }

    pub(super) fn use_loss_scale(&mut self, scale: f64) {
        self.hyperparameters.loss_scale = scale as f32;
        self.hyperparameters.gradient_scale = scale.recip() as f32;
    }

    /// Replaces the parameters, in the order of the layout and without padding. Moments, orientation and counters stay. If
    /// steps were skipped because one had taken a parameter beyond f32, the next ones are no longer.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::NonFinite`].
    pub fn write_params(&self, params: &[f32]) -> Result<()> {
        let padded = self.layout.pad("params", params)?;
        check_finite("params", params)?;
        self.write(&self.state.params, &padded);
        self.params_written();
        Ok(())
    }

    /// Tells the optimizer that the memory of [`params`](Self::params) was written to by other means than
    /// [`write_params`](Self::write_params). If steps were skipped because one had taken a parameter beyond f32, the next
    /// ones are no longer; no learning rate is measured from the last step to here, and alternating evaluations begin anew.
    pub fn params_written(&self) {
        self.zero(&self.state.overflowed());
        self.zero(&self.state.moves());
        self.forget_probe();
    }

    /// Has alternating evaluations begin anew, where what they know of HN is that of another θ or N.
    fn forget_probe(&self) {
        if self.plan.alternates {
            self.zero(&self.state.last_displacement());
        }
    }

    fn zero(&self, slice: &GpuSlice) {
        let zeros = vec![0; slice.size as usize];
        self.gpu.queue().write_buffer(&slice.buffer, slice.offset, &zeros);
    }

    /// Points the dimer along `orientation`, of any length above 0, in the order of the layout and without
    /// padding; with several dimers, each along its part. Elements in groups without the dimer count as 0.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::NonFinite`], [`Error::Unsupported`] without a dimer, or
    /// [`Error::InvalidArgument`] for a vector that is zero where the dimer acts.
    pub fn write_orientation(&self, orientation: &[f32]) -> Result<()> {
        let padded = self.layout.pad("orientation", orientation)?;
        check_finite("orientation", orientation)?;
        if self.plan.dimer.is_none() {
            return Err(Error::no_dimer("an orientation"));
        }
        let regions = self.region_tensors();
        let unit =
            orientation::unit(&self.layout, &regions, padded).ok_or(Error::InvalidArgument {
                argument: "orientation",
                value: "zero".into(),
                expected: "a vector that is not zero where the dimer acts",
            })?;
        self.point_along(&unit);
        self.forget_probe();
        Ok(())
    }

    /// Writes a padded vector of f32.
    pub(super) fn write(&self, slice: &GpuSlice, padded: &[f32]) {
        let bytes = bytemuck::cast_slice(padded);
        self.gpu.queue().write_buffer(&slice.buffer, slice.offset, bytes);
    }

    /// Makes the padded vector `unit` the orientation, if there is one.
    pub(super) fn point_along(&self, unit: &[f32]) {
        if let Some(slice) = &self.state.orientation {
            let bytes = self.plan.storage.pack(&unit[self.plan.kept(Vector::Orientation)]);
            self.gpu.queue().write_buffer(&slice.buffer, slice.offset, &bytes);
        }
    }

    /// The parameters, in the order of the layout and without padding.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_params(&self) -> Result<Vec<f32>> {
        block_on(self.read_params_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::read_params`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`].
    pub async fn read_params_async(&self) -> Result<Vec<f32>> {
        self.read_params_with(Wait::Yield).await
    }

    pub(super) async fn read_params_with(&self, wait: Wait) -> Result<Vec<f32>> {
        Ok(self.unpad(Storage::F32, &self.gpu.read(&self.state.params, wait).await?))
    }

    /// N, in the order of the layout and without padding; `None` without a dimer.
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_orientation(&self) -> Result<Option<Vec<f32>>> {
        block_on(self.read_orientation_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::read_orientation`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_orientation`].
    pub async fn read_orientation_async(&self) -> Result<Option<Vec<f32>>> {
        self.read_orientation_with(Wait::Yield).await
    }

    async fn read_orientation_with(&self, wait: Wait) -> Result<Option<Vec<f32>>> {
        let Some(slice) = &self.state.orientation else { return Ok(None) };
        Ok(Some(self.unpad(self.plan.storage, &self.gpu.read(slice, wait).await?)))
    }

    /// C = N·HN as the last event measured it, in loss per parameter², or in 1 / learning rate with
    /// [`Metric::Preconditioner`](crate::Metric::Preconditioner); 0 before the first.
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_curvature(&self) -> Result<f32> {
        block_on(self.read_curvature_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::read_curvature`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_curvature`].
    pub async fn read_curvature_async(&self) -> Result<f32> {
        self.read_curvature_with(Wait::Yield).await
    }

    async fn read_curvature_with(&self, wait: Wait) -> Result<f32> {
        Ok(record(&self.gpu.read(&self.state.latest(), wait).await?).curvature)
    }

    /// What each dimer found in the last event, if [`Dimer::scope`](crate::Dimer::scope) asks for more than
    /// one. Regions that the dimer does not reach are left out.
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_regions(&self) -> Result<Vec<RegionCurvature>> {
        block_on(self.read_regions_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::read_regions`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::read_regions`].
    pub async fn read_regions_async(&self) -> Result<Vec<RegionCurvature>> {
        self.read_regions_with(Wait::Yield).await
    }

    async fn read_regions_with(&self, wait: Wait) -> Result<Vec<RegionCurvature>> {
        let Some((regions, entries)) = self.regions() else { return Ok(Vec::new()) };
        let latest = self.gpu.read(&self.state.latest(), wait).await?;
        Ok(self.region_curvatures(regions, &latest, &self.gpu.read(&entries, wait).await?))
    }

    /// The regions of the scope, and where their entries lie.
    fn regions(&self) -> Option<(&Regions, GpuSlice)> {
        let entries = GpuSlice::whole(self.state.regions.as_ref()?.regions.clone());
        Some((self.plan.regions.as_ref()?, entries))
    }

    fn region_curvatures(
        &self,
        regions_of: &Regions,
        latest: &[u8],
        regions: &[u8],
    ) -> Vec<RegionCurvature> {
        let parity = bytemuck::pod_read_unaligned::<Record>(latest).parity as usize;
        let regions: Vec<Region> = bytemuck::pod_collect_to_vec(regions);
        let reached =
            regions_of.tensors.iter().zip(&regions).filter(|(_, region)| region.elements > 0);
        let curvature = |(tensors, region): (&Vec<usize>, &Region)| {
            let record = &region.records[parity];
            RegionCurvature {
                tensors: tensors.iter().map(|&i| self.layout.tensors()[i].name.clone()).collect(),
                curvature: record.curvature,
                resolved: is_resolved(record, self.plan.events.seeks),
                curvature_mean: record.curvature_mean,
                curvature_error: record.curvature_error,
                residual: record.residual,
                projection: record.projection,
                shift: record.shift,
            }
        };
        reached.map(curvature).collect()
    }

    /// The telemetry that has arrived since the last call, in order; never waits.
    ///
    /// Steps are on the GPU for a while, so this is a few steps behind. Called more often than every 768
    /// steps, it loses none: records from a step on that is not submitted come with a later call.
    /// A call costs one small submission; if it is never called, there is no cost.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) or [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn poll_telemetry(&mut self) -> Result<Vec<Telemetry>> {
        if self.pending.first().is_some() {
            self.gpu.poll()?;
        }
        let (end, seeks) = (self.settled(), self.plan.events.seeks);
        self.telemetry.poll(&self.gpu, &self.state, end, seeks)
    }

    /// The telemetry of all steps so far that has not been returned yet, of at most the last 1024. Steps from
    /// the first one on that is recorded but not submitted come with a later call.
    ///
    /// # Errors
    /// The same as for [`Optimizer::poll_telemetry`].
    #[cfg(not(target_family = "wasm"))]
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        block_on(self.telemetry_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::telemetry`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::telemetry`].
    pub async fn telemetry_async(&mut self) -> Result<Vec<Telemetry>> {
        self.telemetry_with(Wait::Yield).await
    }

    async fn telemetry_with(&mut self, wait: Wait) -> Result<Vec<Telemetry>> {
        self.pending.settle(&self.gpu, &self.state, wait).await?;
        let (end, seeks) = (self.settled(), self.plan.events.seeks);
        self.telemetry.finish(&self.gpu, &self.state, end, seeks, wait).await
    }

    /// All steps before this one are submitted, or never will be.
    fn settled(&self) -> u64 {
        self.pending.first().unwrap_or(self.index)
    }

    /// Sets whether the next steps are timed, kernel by kernel, with timestamps of the GPU; at first they are
    /// not. Timestamps keep kernels from overlapping, so a timed step may be slower.
    ///
    /// ```no_run
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// # let gpu = Gpu::new()?;
    /// let mut optimizer = Optimizer::new(&gpu, Layout::flat(1 << 20)?, Config::default(), &[1.0; 1 << 20])?;
    /// optimizer.time_kernels(true)?;
    /// optimizer.step(&mut objective)?;
    /// for time in optimizer.kernel_times()? {
    ///     println!("{}: {} ns", time.kernel, time.nanoseconds);
    /// }
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the device was requested without
    /// [`wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES`], or cannot do it; [`Error::OutOfMemory`].
    pub fn time_kernels(&mut self, on: bool) -> Result<()> {
        self.timer = if on { Timer::new(&self.gpu)? } else { None };
        if on && self.timer.is_none() {
            return Err(Error::Unsupported {
                what: "the timing of kernels",
                with: "a device without Features::TIMESTAMP_QUERY_INSIDE_PASSES",
                instead: "request the device with that feature, or take another adapter",
            });
        }
        Ok(())
    }

    /// The kernel times of at most the last 256 steps that have not been read yet, in the order in which the
    /// kernels ran; empty unless [`Optimizer::time_kernels`] is on. Waits for the GPU.
    ///
    /// The first 64 kernels of a step are timed, and likewise of a rotation of a
    /// [`Spectrum`](crate::Spectrum). The times of a step that is recorded but not submitted come with a later
    /// call.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn kernel_times(&mut self) -> Result<Vec<KernelTime>> {
        block_on(self.kernel_times_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::kernel_times`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::kernel_times`].
    pub async fn kernel_times_async(&mut self) -> Result<Vec<KernelTime>> {
        self.kernel_times_with(Wait::Yield).await
    }

    async fn kernel_times_with(&mut self, wait: Wait) -> Result<Vec<KernelTime>> {
        self.pending.settle(&self.gpu, &self.state, wait).await?;
        let Some(timer) = &mut self.timer else { return Ok(Vec::new()) };
        let pending = timer.steps(|step| self.pending.contains(step));
        let bytes = self.gpu.read(&timer.times(), wait).await?;
        Ok(timer.take(&bytes, &pending))
    }

    pub(super) fn unpad(&self, storage: Storage, bytes: &[u8]) -> Vec<f32> {
        self.layout.unpad(&storage.unpack(bytes))
    }
}

fn check_rate(argument: &'static str, value: f64) -> Result<()> {
    not_negative(argument, value).map_err(|_| Error::InvalidArgument {
        argument,
        value: value.to_string(),
        expected: "not negative and finite in f32",
    })
}

pub(super) fn check_loss_scale(scale: f64) -> Result<()> {
    let exponent = scale.log2();
    if exponent.fract() == 0.0 && exponent.abs() <= 32.0 {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        argument: "scale",
        value: scale.to_string(),
        expected: "a power of two from 2^-32 to 2^32",
    })
}

/// What the kernels get: a fixed rate times the factor, or the factor alone.
pub(super) fn scaled_rate(fixed: Option<f32>, factor: f64) -> Result<f32> {
    let rate = f64::from(fixed.unwrap_or(1.0)) * factor;
    check_rate("learning_rate times factor", rate)?;
    Ok(rate as f32)
}

fn record(bytes: &[u8]) -> Record {
    bytemuck::pod_read_unaligned(bytes)
}

pub(super) fn check_finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NonFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}
