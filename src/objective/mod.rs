//! [`Objective`] and [`Evaluation`]: how a user hands gradients over.

mod accumulated;
#[cfg(not(target_family = "wasm"))]
mod host;

use std::ops::Range;

pub use accumulated::{Accumulated, Progress};
#[cfg(not(target_family = "wasm"))]
pub use host::{HostObjective, Outcome};

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{Gpu, GpuSlice, PendingRead, Wait};
pub(crate) use crate::kernels::gpu_types::UNWRITTEN;
use crate::layout::Layout;

/// A loss whose gradient the optimizer asks for: once per step, and more often in an event.
///
/// All gradients of one step must belong to the same function: the same minibatch, the same dropout masks,
/// the same everything. [`Optimizer::check_objective`] tests this.
///
/// An objective that records its work into [`Evaluation::encoder`] makes the whole step one
/// submission without a host wait. One that needs values on the host calls
/// [`Evaluation::read_params`], or is written as a closure; see [`HostObjective`].
///
/// Gradient accumulation belongs inside `gradient`: the mean over the same micro-batches each time
/// it is called in a step, at whichever point. An objective that can also take the mean over a part of them says so by
/// [`Objective::parts`], and with enough of them events cost no more than other steps. (One that sums has to scale the
/// sum over a part up to that over all.)
///
/// An objective in WGSL, ½ Σ hᵢ θᵢ² with its loss:
///
/// ```
/// use dimer::{Config, Evaluation, Gpu, Layout, Objective, Optimizer, wgpu};
///
/// const WGSL: &str = "
/// @group(0) @binding(0) var<storage, read> params: array<f32>;
/// @group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
/// @group(0) @binding(2) var<storage, read_write> loss: f32;
/// var<workgroup> sums: array<f32, 64>;
///
/// @compute @workgroup_size(64)
/// fn main(@builtin(local_invocation_index) thread: u32) {
///     for (var i = thread; i < arrayLength(&params); i += 64u) {
///         gradient[i] = f32(1u + i % 7u) * params[i];
///         sums[thread] += 0.5 * gradient[i] * params[i];
///     }
///     workgroupBarrier();
///     if thread == 0u {
///         var sum = 0.0;
///         for (var i = 0u; i < 64u; i++) { sum += sums[i]; }
///         loss = sum;
///     }
/// }";
///
/// struct Quadratic(wgpu::ComputePipeline);
///
/// impl Objective for Quadratic {
///     fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
///         let resources = [at.params.as_binding(), at.gradient.as_binding(), at.loss.as_entire_binding()];
///         let entries = [0, 1, 2].map(|i| wgpu::BindGroupEntry {
///             binding: i as u32,
///             resource: resources[i].clone(),
///         });
///         let layout = &self.0.get_bind_group_layout(0);
///         let group = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
///         let group = at.gpu.device().create_bind_group(&group);
///         let mut pass = at.encoder.begin_compute_pass(&Default::default());
///         pass.set_pipeline(&self.0);
///         pass.set_bind_group(0, &group, &[]);
///         pass.dispatch_workgroups(1, 1, 1);
///         Ok(())
///     }
///
///     fn supplies_loss(&self) -> bool {
///         true
///     }
/// }
///
/// let gpu = Gpu::new()?;
/// let source = wgpu::ShaderSource::Wgsl(WGSL.into());
/// let module = wgpu::ShaderModuleDescriptor { label: None, source };
/// let module = &gpu.device().create_shader_module(module);
/// let mut objective = Quadratic(gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
///     label: None,
///     layout: None,
///     module,
///     entry_point: None,
///     compilation_options: Default::default(),
///     cache: None,
/// }));
/// let mut optimizer = Optimizer::new(&gpu, Layout::flat(100)?, Config::default(), &[1.0; 100])?;
/// optimizer.check_objective(&mut objective)?;
/// for _ in 0..10 {
///     optimizer.step(&mut objective)?;
/// }
/// # let losses: Vec<f32> = optimizer.telemetry()?.iter().filter_map(|record| record.loss).collect();
/// # assert!(losses.len() == 10 && losses[0] == 197.5 && losses[9] < losses[0], "{losses:?}");
/// # Ok::<(), dimer::Error>(())
/// ```
///
/// - `params` and `gradient` lie as [`Layout`] says: each tensor begins at [`Tensor::offset`](crate::Tensor::offset), and
///   the padding between tensors is 0 in `params`. What is written to the padding of `gradient` is ignored.
/// - Bind groups may be kept. An optimizer asks for gradients at two vectors, `params` and `probe`, and into two,
///   `gradient` and `probe_gradient`; these stay where they are as long as it lives ([`Optimizer::params`],
///   [`Optimizer::probe`], [`Optimizer::gradient`], [`Optimizer::probe_gradient`]). With
///   [`Difference::Central`](crate::Difference::Central) the gradient at a probe goes into either, with
///   [`Rotation::Alternating`](crate::Rotation::Alternating) into `gradient` alone, and [`Accumulated`] and
///   a [second dimer](crate::Optimizer::second_dimer) have vectors of their own: look a group up by both slices.
/// - [`Gpu::queue`]'s `write_buffer` takes effect before the next *submission*. A uniform that is written in `begin_step`
///   is right for [`Optimizer::step`], which submits one step. [`Optimizer::record_step`] may record several steps into
///   one submission, and all of them would see the last one's: keep a place for each step, or copy within the encoder.
///
/// [`Optimizer::check_objective`]: crate::Optimizer::check_objective
/// [`Optimizer::params`]: crate::Optimizer::params
/// [`Optimizer::probe`]: crate::Optimizer::probe
/// [`Optimizer::gradient`]: crate::Optimizer::gradient
/// [`Optimizer::probe_gradient`]: crate::Optimizer::probe_gradient
/// [`Optimizer::step`]: crate::Optimizer::step
/// [`Optimizer::record_step`]: crate::Optimizer::record_step
pub trait Objective {
    /// Fixes the minibatch, and any randomness, for every evaluation of this step: the next minibatch, or where
    /// [`StepInfo::repeats_minibatch`] says so the same again, with the same randomness. Of this minibatch, the
    /// step uses [`StepInfo::part`].
    ///
    /// # Errors
    /// An error from the objective ends the step before anything has changed.
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        let _ = step;
        Ok(())
    }

    /// Records, or runs, the work that writes ∇L(`at.params`) into `at.gradient`.
    ///
    /// Every element of every tensor must be written; what lies in the padding is ignored.
    ///
    /// # Errors
    /// `step` returns the error of the objective, for instance one made with [`Error::objective`].
    /// Parameters, moments, orientation and counters are then as they were.
    fn gradient(&mut self, at: Evaluation<'_>) -> Result<()>;

    /// Records, or runs, the work that writes the Hessian at `at.params` times `at.direction` into
    /// `at.product`; needed only with [`Difference::Exact`](crate::Difference::Exact).
    ///
    /// # Errors
    /// The same as for [`Objective::gradient`]. The default has no product: it returns an error that says so.
    fn hessian_product(&mut self, at: HessianProduct<'_>) -> Result<()> {
        let _ = at;
        Err(Error::objective(
            "it has no `hessian_product`, which `Difference::Exact` needs; implement it, or take \
             `Difference::Forward`",
        ))
    }

    /// Into how many equal parts the minibatch can be cut, such as micro-batches; default 1. The minibatch needs as many samples
    /// at least: with fewer, a part may be empty ([`Part::range`]).
    ///
    /// Where it can, all gradients of an event are of one part, chosen at random, and its step is taken by the gradient
    /// of that part. The minibatch is cut into as many parts as the event has gradients or, where that does not divide
    /// `parts()`, into the next larger number that does: the event then costs at most one gradient of the whole. With fewer parts than gradients it is one of
    /// all parts, and the event costs less than it would without, but more than another step. An event of
    /// [`Rotation::LocallyOptimal`](crate::Rotation::LocallyOptimal) has 4 gradients, one more if it measures the
    /// learning rate or has [`Displacement::Automatic`](crate::Displacement::Automatic), and 6 with
    /// [`Difference::Central`](crate::Difference::Central), or 8 if it measures the rate.
    ///
    /// Rotations on full batches, [`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch) and steps by hand
    /// always use the whole minibatch.
    fn parts(&self) -> u32 {
        1
    }

    /// Whether the objective writes its loss into [`Evaluation::loss`] wherever [`Evaluation::wants_loss`] says so; default
    /// false. In a step in which it writes none, [`Telemetry::loss`](crate::Telemetry::loss) is none.
    fn supplies_loss(&self) -> bool {
        false
    }

    /// Whether all gradients of all steps are of one function: no minibatches, no dropout, nothing else that changes from
    /// step to step; default false. [`Rotation::Alternating`](crate::Rotation::Alternating) needs it, since it compares the
    /// gradients of different steps, and [`Optimizer::check_objective`](crate::Optimizer::check_objective) then tests it.
    fn is_deterministic(&self) -> bool {
        false
    }
}

/// An objective that is lent.
impl<O: Objective + ?Sized> Objective for &mut O {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        (**self).begin_step(step)
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> Result<()> {
        (**self).gradient(at)
    }

    fn hessian_product(&mut self, at: HessianProduct<'_>) -> Result<()> {
        (**self).hessian_product(at)
    }

    fn parts(&self) -> u32 {
        (**self).parts()
    }

    fn supplies_loss(&self) -> bool {
        (**self).supplies_loss()
    }

    fn is_deterministic(&self) -> bool {
        (**self).is_deterministic()
    }
}

/// What an objective has to know of a step before it begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StepInfo {
    /// Index of the step, from 0, skipped ones and rotations included.
    pub index: u64,
    /// Whether the step uses the minibatch of the step before again; only with
    /// [`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch). A rotation between the two uses it as
    /// well. The first step after [`Optimizer::load`] may
    /// be one of these, in a process that never had the minibatch: an objective that draws minibatches by `index` draws
    /// that of `index − 1`; one that keeps a cursor has to save the minibatch beside the checkpoint.
    ///
    /// [`Optimizer::load`]: crate::Optimizer::load
    pub repeats_minibatch: bool,
    /// The part of the minibatch that every evaluation of the step is of; all of it unless [`Objective::parts`] says
    /// that there are several. The loss and the gradient are means over the part as they are over the whole.
    pub part: Part,
    /// Of what kind of step it is and of its hyperparameters, which ranks that work together compare.
    pub(crate) checksum: u32,
}

/// Of what an objective can see: two steps on one minibatch are the same to it, whatever their hyperparameters.
impl PartialEq for StepInfo {
    fn eq(&self, other: &Self) -> bool {
        let seen = |step: &Self| (step.index, step.repeats_minibatch, step.part);
        seen(self) == seen(other)
    }
}

impl Eq for StepInfo {}

/// A part of a minibatch: one of several that are equally large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub index: u32,
    /// How many there are, at least 1.
    pub of: u32,
}

impl Part {
    /// All of the minibatch.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Which of `len` samples, or micro-batches, belong to it.
    ///
    /// ```
    /// assert_eq!(dimer::Part { index: 3, of: 4 }.range(32), 24..32);
    /// assert_eq!(dimer::Part::WHOLE.range(32), 0..32);
    /// ```
    pub fn range(self, len: usize) -> Range<usize> {
        let bound = |index: u32| (len as u128 * u128::from(index) / u128::from(self.of)) as usize;
        bound(self.index)..bound(self.index + 1)
    }
}

/// What each of several counts by its weight, so that they add up to 1; or which weight is none: positive and finite, and not
/// vanishing beside the others.
pub(crate) fn shares(weights: &[f64]) -> std::result::Result<Vec<f32>, usize> {
    if let Some(index) = weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
        return Err(index);
    }
    let largest = weights.iter().fold(0.0, |largest: f64, &weight| largest.max(weight));
    let total: f64 = weights.iter().map(|weight| weight / largest).sum();
    let shares = weights.iter().map(|weight| (weight / largest / total) as f32);
    let shares: Vec<f32> = shares.collect();
    match shares.iter().position(|&share| share < f32::MIN_POSITIVE) {
        Some(index) => Err(index),
        None => Ok(shares),
    }
}

/// The two points of a dimer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// θ.
    Centre,
    /// θ + ΔR·N, or a point along another direction that the rotation or the learning rate probes, or the point
    /// on the other side of θ. Running statistics, such as those of batch normalisation, should not learn from it, but where
    /// [`Evaluation::wants_loss`] says that it is the step's one evaluation.
    Probe,
}

/// One evaluation of an objective: where to record, what to read and what to write.
#[derive(Debug)]
#[non_exhaustive]
pub struct Evaluation<'a> {
    /// The device, for objectives that run work of their own.
    pub gpu: &'a Gpu,
    /// How tensors lie in `params` and `gradient`.
    pub layout: &'a Layout,
    /// Takes the objective's work; submitted by the optimizer.
    pub encoder: &'a mut wgpu::CommandEncoder,
    /// Which point `params` is.
    pub point: Point,
    /// The parameters, padded; read only.
    pub params: &'a GpuSlice,
    /// Where ∇L(`params`) belongs, padded.
    pub gradient: &'a GpuSlice,
    /// One f32 for the loss; see [`Objective::supplies_loss`]. It is read where [`Evaluation::wants_loss`] says so, and can be
    /// bound as a storage buffer, copied to and copied from.
    pub loss: &'a wgpu::Buffer,
    /// Whether it belongs to [`Optimizer::check_objective`](crate::Optimizer::check_objective).
    pub(crate) is_checked: bool,
    pub(crate) wants_loss: bool,
}

impl Evaluation<'_> {
    /// Whether the loss at this point is wanted: at θ, and with [`Rotation::Alternating`](crate::Rotation::Alternating),
    /// which evaluates nothing there, at the probe.
    pub fn wants_loss(&self) -> bool {
        self.wants_loss
    }

    /// Submits what is recorded so far and goes on with an empty encoder.
    ///
    /// # Errors
    /// [`Error::Rejected`] or [`Error::DeviceLost`].
    pub fn submit(&mut self) -> Result<()> {
        self.gpu.flush("an evaluation", self.encoder).map(drop)
    }

    /// The same evaluation for an objective inside another one, which goes on with it afterwards.
    pub fn reborrow(&mut self) -> Evaluation<'_> {
        Evaluation { encoder: &mut *self.encoder, ..*self }
    }

    /// Submits, waits, and returns the parameters without padding.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_params(&mut self) -> Result<Vec<f32>> {
        block_on(self.read_params_with(Wait::Block))
    }

    /// The asynchronous twin of [`Evaluation::read_params`], for objectives with an executor of their own. In a browser
    /// nothing can be awaited in [`Objective::gradient`]: take the step by hand there.
    ///
    /// # Errors
    /// The same as for [`Evaluation::read_params`].
    pub async fn read_params_async(&mut self) -> Result<Vec<f32>> {
        self.read_params_with(Wait::Yield).await
    }

    async fn read_params_with(&mut self, wait: Wait) -> Result<Vec<f32>> {
        self.read(self.params, wait).await
    }

    /// Submits, waits, and returns the gradient that lies there, without padding: what an objective inside this one has
    /// written.
    ///
    /// # Errors
    /// The same as for [`Evaluation::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_gradient(&mut self) -> Result<Vec<f32>> {
        block_on(self.read(self.gradient, Wait::Block))
    }

    /// The asynchronous twin of [`Evaluation::read_gradient`]; see [`Evaluation::read_params_async`].
    ///
    /// # Errors
    /// The same as for [`Evaluation::read_params`].
    pub async fn read_gradient_async(&mut self) -> Result<Vec<f32>> {
        self.read(self.gradient, Wait::Yield).await
    }

    async fn read(&mut self, vector: &GpuSlice, wait: Wait) -> Result<Vec<f32>> {
        let vector = std::slice::from_ref(vector);
        let pending = self.gpu.start_read_after("an evaluation", self.encoder, vector)?;
        Ok(unpacked(self.layout, &self.gpu.finish_read(&pending, wait).await?))
    }

    /// Submits, waits, and returns the loss, if it was written.
    ///
    /// # Errors
    /// The same as for [`Evaluation::read_params`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_loss(&mut self) -> Result<Option<f32>> {
        block_on(self.read_loss_with(Wait::Block))
    }

    /// The asynchronous twin of [`Evaluation::read_loss`]; see [`Evaluation::read_params_async`].
    ///
    /// # Errors
    /// The same as for [`Evaluation::read_params`].
    pub async fn read_loss_async(&mut self) -> Result<Option<f32>> {
        self.read_loss_with(Wait::Yield).await
    }

    async fn read_loss_with(&mut self, wait: Wait) -> Result<Option<f32>> {
        let loss = [GpuSlice::whole(self.loss.clone())];
        let pending = self.gpu.start_read_after("an evaluation", self.encoder, &loss)?;
        Ok(loss_in(&self.gpu.finish_read(&pending, wait).await?))
    }

    /// The gradient that lies there and, if it is wanted, the loss: one wait for both.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn read_written(&mut self, wants_loss: bool) -> Result<(Vec<f32>, Option<f32>)> {
        if !wants_loss {
            return Ok((self.read_gradient()?, None));
        }
        let slices = [self.gradient.clone(), GpuSlice::whole(self.loss.clone())];
        let pending = self.gpu.start_read_after("an evaluation", self.encoder, &slices)?;
        let bytes = block_on(self.gpu.finish_read(&pending, Wait::Block))?;
        let (gradient, loss) = bytes.split_at(self.gradient.size as usize);
        Ok((unpacked(self.layout, gradient), loss_in(loss)))
    }

    /// Writes a gradient from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn write_gradient(&mut self, gradient: &[f32]) -> Result<()> {
        write(self.gpu, self.layout, "gradient", self.gradient, gradient)
    }

    /// Writes the loss from the host.
    pub fn write_loss(&mut self, loss: f32) {
        self.gpu.queue().write_buffer(self.loss, 0, bytemuck::bytes_of(&loss));
    }
}

/// One Hessian-vector product asked of an objective; the fields are those of [`Evaluation`].
#[derive(Debug)]
#[non_exhaustive]
pub struct HessianProduct<'a> {
    /// The device, for objectives that run work of their own.
    pub gpu: &'a Gpu,
    /// How tensors lie in the vectors.
    pub layout: &'a Layout,
    /// Takes the objective's work; submitted by the optimizer.
    pub encoder: &'a mut wgpu::CommandEncoder,
    /// The parameters, padded; read only.
    pub params: &'a GpuSlice,
    /// The direction d, padded with zeros, of unit length; zero in groups without the dimer. All of it is zero where a
    /// [`Spectrum`](crate::Spectrum) has no use for the product.
    pub direction: &'a GpuSlice,
    /// Where Hd belongs, padded.
    pub product: &'a GpuSlice,
}

impl HessianProduct<'_> {
    /// Submits what is recorded so far and goes on with an empty encoder.
    ///
    /// # Errors
    /// [`Error::Rejected`] or [`Error::DeviceLost`].
    pub fn submit(&mut self) -> Result<()> {
        self.gpu.flush("a product", self.encoder).map(drop)
    }

    /// The same product for an objective inside another one, which goes on with it afterwards.
    pub fn reborrow(&mut self) -> HessianProduct<'_> {
        HessianProduct { encoder: &mut *self.encoder, ..*self }
    }

    /// Submits, waits, and returns the product that lies there, without padding: what an objective inside this one has
    /// written.
    ///
    /// # Errors
    /// The same as for [`HessianProduct::read`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read_product(&mut self) -> Result<Vec<f32>> {
        block_on(self.read_product_with(Wait::Block))
    }

    /// The asynchronous twin of [`HessianProduct::read_product`]; see [`Evaluation::read_params_async`].
    ///
    /// # Errors
    /// The same as for [`HessianProduct::read`].
    pub async fn read_product_async(&mut self) -> Result<Vec<f32>> {
        self.read_product_with(Wait::Yield).await
    }

    async fn read_product_with(&mut self, wait: Wait) -> Result<Vec<f32>> {
        let product = std::slice::from_ref(self.product);
        let pending = self.gpu.start_read_after("a product", self.encoder, product)?;
        Ok(unpacked(self.layout, &self.gpu.finish_read(&pending, wait).await?))
    }

    /// Submits, waits, and returns the parameters and the direction without padding.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn read(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        block_on(self.read_with(Wait::Block))
    }

    /// The asynchronous twin of [`HessianProduct::read`]; see [`Evaluation::read_params_async`].
    ///
    /// # Errors
    /// The same as for [`HessianProduct::read`].
    pub async fn read_async(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        self.read_with(Wait::Yield).await
    }

    async fn read_with(&mut self, wait: Wait) -> Result<(Vec<f32>, Vec<f32>)> {
        let pending = self.start_read()?;
        Ok(self.both(&self.gpu.finish_read(&pending, wait).await?))
    }

    fn start_read(&mut self) -> Result<PendingRead> {
        let slices = [self.params.clone(), self.direction.clone()];
        self.gpu.start_read_after("a product", self.encoder, &slices)
    }

    fn both(&self, bytes: &[u8]) -> (Vec<f32>, Vec<f32>) {
        let (params, direction) = bytes.split_at(self.params.size as usize);
        (unpacked(self.layout, params), unpacked(self.layout, direction))
    }

    /// Writes the product from the host, without padding.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn write(&mut self, product: &[f32]) -> Result<()> {
        write(self.gpu, self.layout, "product", self.product, product)
    }
}

fn loss_in(bytes: &[u8]) -> Option<f32> {
    let loss: f32 = bytemuck::pod_read_unaligned(bytes);
    (loss.to_bits() != UNWRITTEN).then_some(loss)
}

fn unpacked(layout: &Layout, bytes: &[u8]) -> Vec<f32> {
    layout.unpad(&bytemuck::pod_collect_to_vec(bytes))
}

fn write(
    gpu: &Gpu,
    layout: &Layout,
    what: &'static str,
    slice: &GpuSlice,
    values: &[f32],
) -> Result<()> {
    let padded = layout.pad(what, values)?;
    gpu.queue().write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&padded));
    Ok(())
}
