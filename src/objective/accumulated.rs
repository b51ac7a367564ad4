//! [`Accumulated`]: the mean of an objective over several minibatches.

use super::{Evaluation, HessianProduct, Objective, Part, StepInfo, UNWRITTEN, shares};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice, WORKGROUP_SIZE, group_layout};
use crate::kernels::bindings::{Access, numbered};
use crate::layout::Layout;

/// Most workgroups of one dispatch.
const MAX_WORKGROUPS: u32 = 1024;

/// What `accumulate` binds.
const ENTRIES: &[Access] = &[Access::Uniform, Access::Read, Access::Write];

/// Usages of what holds one minibatch.
const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// The mean of an objective over several minibatches, the same in every step: for a [`Spectrum`](crate::Spectrum) of more
/// data than one evaluation can take, or for training on full batches.
///
/// For each gradient, and each exact product, the objective is asked once for every minibatch: its
/// [`begin_step`](Objective::begin_step) gets the number of the minibatch, from 0, as [`StepInfo::index`], and has to choose
/// the minibatch, and any randomness, by that number alone. [`Optimizer::check_objective`] finds one that does not.
///
/// It submits once for each minibatch and waits for the one before, so that the device is never more than two minibatches
/// behind (in a browser nothing can wait); steps that are recorded without being submitted ([`Optimizer::record_step`](crate::Optimizer::record_step)) are
/// not for it. It adds a vector of memory. Each minibatch rounds the sum at most twice. It has no
/// [parts](Objective::parts).
///
/// ```
/// use dimer::{Accumulated, Config, Evaluation, Gpu, Layout, LearningRate, Objective, Optimizer, StepInfo};
///
/// /// The squared distance from one of several points.
/// struct Points(Vec<f32>, usize);
///
/// impl Objective for Points {
///     fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
///         self.1 = step.index as usize;
///         Ok(())
///     }
///
///     fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
///         let theta = at.read_params()?;
///         at.write_gradient(&[theta[0] - self.0[self.1]])
///     }
/// }
///
/// let config = Config { learning_rate: LearningRate::Fixed(0.1), ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(1)?, config, &[0.0])?;
/// let mut seen = 0;
/// let mut all = Accumulated::new(Points(vec![1.0, 2.0, 6.0], 0), 3)?.with_progress(|progress| {
///     seen = progress.minibatch;
///     Ok(())
/// });
/// for _ in 0..300 {
///     optimizer.step(&mut all)?;
/// }
/// drop(all);
/// assert_eq!(seen, 3);
/// assert!((optimizer.read_params()?[0] - 3.0).abs() < 0.1);
/// # Ok::<(), dimer::Error>(())
/// ```
///
/// [`Optimizer::check_objective`]: crate::Optimizer::check_objective
pub struct Accumulated<'a, O> {
    objective: O,
    /// Of each minibatch; they add up to 1.
    weights: Vec<f32>,
    progress: Option<Box<dyn FnMut(Progress) -> Result<()> + 'a>>,
    /// Gradients and products so far.
    evaluations: u64,
    /// Of the step.
    checksum: u32,
    part: Option<PartOfSum>,
}

/// How far an [`Accumulated`] objective is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Gradients and products before the one under way.
    pub evaluations: u64,
    /// Minibatches of the one under way that have been submitted to the device, from 0 to all of them.
    pub minibatch: usize,
    /// How many there are.
    pub minibatches: usize,
}

impl<'a, O: Objective> Accumulated<'a, O> {
    /// The mean over the first `minibatches` of `objective`, which all count alike.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] without a minibatch.
    pub fn new(objective: O, minibatches: usize) -> Result<Self> {
        Self::weighted(objective, &vec![1.0; minibatches])
    }

    /// The mean over as many minibatches as there are weights, such as their numbers of samples: the last minibatch of a
    /// data set is often smaller. Positive and finite; only their ratios count.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] without a weight, and for one out of range.
    pub fn weighted(objective: O, weights: &[f64]) -> Result<Self> {
        let shares = shares(weights).map_err(|index| Error::InvalidConfig {
            field: "weights",
            value: format!("{:e}", weights[index]),
            expected: "positive and finite, and not vanishing beside the others",
        })?;
        if weights.is_empty() {
            return Err(Error::InvalidConfig {
                field: "minibatches",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        Ok(Self {
            objective,
            weights: shares,
            progress: None,
            evaluations: 0,
            checksum: 0,
            part: None,
        })
    }

    /// Calls `progress` before the first minibatch of each evaluation and after each one. An error that it returns ends
    /// the step, or the rotation of a spectrum, as an error of the objective does: so a user can break off.
    pub fn with_progress(self, progress: impl FnMut(Progress) -> Result<()> + 'a) -> Self {
        Self { progress: Some(Box::new(progress)), ..self }
    }

    /// The objective of one minibatch.
    pub fn into_inner(self) -> O {
        self.objective
    }

    /// What `evaluate` writes for every minibatch, weighted, in `sums`: a vector, and the loss if that is wanted.
    fn sum(
        &mut self,
        gpu: &Gpu,
        layout: &Layout,
        encoder: &mut wgpu::CommandEncoder,
        sums: (&GpuSlice, Option<&wgpu::Buffer>),
        marks: bool,
        mut evaluate: impl FnMut(
            &mut O,
            &mut wgpu::CommandEncoder,
            &GpuSlice,
            &wgpu::Buffer,
        ) -> Result<()>,
    ) -> Result<()> {
        let fits = |part: &PartOfSum| part.fits(gpu, layout);
        let part = match self.part.take().filter(fits) {
            Some(part) => self.part.insert(part),
            None => self.part.insert(PartOfSum::new(gpu, layout)?),
        };
        let minibatches = self.weights.len();
        let mut report = |evaluations, minibatch| match &mut self.progress {
            Some(progress) => progress(Progress { evaluations, minibatch, minibatches }),
            None => Ok(()),
        };
        report(self.evaluations, 0)?;
        for (index, &weight) in self.weights.iter().enumerate() {
            // What the host writes for the next minibatch must not reach what is recorded for this one.
            let submitted = gpu.flush("a minibatch", encoder)?;
            if let Some(before) = part.submitted.replace(submitted) {
                gpu.keep_pace(before)?;
            }
            if index > 0 {
                report(self.evaluations, index)?;
            }
            let (repeats_minibatch, checksum) = (false, self.checksum);
            let step =
                StepInfo { index: index as u64, repeats_minibatch, part: Part::WHOLE, checksum };
            self.objective.begin_step(step)?;
            part.begin(gpu, weight, marks);
            evaluate(&mut self.objective, encoder, &part.vector, &part.loss)?;
            part.add(gpu, encoder, index == 0, sums)?;
        }
        // Whoever records the next step elsewhere must find the sum complete.
        part.submitted = Some(gpu.flush("a minibatch", encoder)?);
        report(self.evaluations, minibatches)?;
        self.evaluations += 1;
        Ok(())
    }
}

impl<O: Objective> Objective for Accumulated<'_, O> {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        // The minibatches take the place of the step.
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&step.index.to_le_bytes());
        hasher.update(&step.checksum.to_le_bytes());
        self.checksum = hasher.finalize();
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> Result<()> {
        let Evaluation {
            gpu,
            layout,
            encoder,
            point,
            params,
            gradient,
            loss,
            is_checked,
            wants_loss,
        } = at;
        let takes_loss = wants_loss && self.objective.supplies_loss();
        let sums = (gradient, takes_loss.then_some(loss));
        self.sum(gpu, layout, encoder, sums, is_checked, |objective, encoder, gradient, loss| {
            objective.gradient(Evaluation {
                gpu,
                layout,
                encoder,
                point,
                params,
                gradient,
                loss,
                is_checked,
                wants_loss,
            })
        })
    }

    fn hessian_product(&mut self, at: HessianProduct<'_>) -> Result<()> {
        let HessianProduct { gpu, layout, encoder, params, direction, product } = at;
        self.sum(gpu, layout, encoder, (product, None), false, |objective, encoder, product, _| {
            objective.hessian_product(HessianProduct {
                gpu,
                layout,
                encoder,
                params,
                direction,
                product,
            })
        })
    }

    fn supplies_loss(&self) -> bool {
        self.objective.supplies_loss()
    }

    /// As the objective within says it of the sum over all minibatches, which are the same in every step.
    fn is_deterministic(&self) -> bool {
        self.objective.is_deterministic()
    }
}

impl<O: std::fmt::Debug> std::fmt::Debug for Accumulated<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulated")
            .field("objective", &self.objective)
            .field("weights", &self.weights)
            .field("evaluations", &self.evaluations)
            .finish_non_exhaustive()
    }
}

/// `Share`: of one minibatch.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Share {
    elements: u32,
    weight: f32,
    unwritten: u32,
}

/// What one minibatch writes to, and the kernel that adds it to the sum.
#[derive(Debug)]
struct PartOfSum {
    device: wgpu::Device,
    vector: GpuSlice,
    loss: wgpu::Buffer,
    layout: wgpu::BindGroupLayout,
    /// For the first minibatch and for the others.
    pipelines: [wgpu::ComputePipeline; 2],
    /// The shares of a binding of the vector, of its last one, and of the loss.
    shares: Vec<(Share, wgpu::Buffer)>,
    /// What the device is at work on.
    submitted: Option<wgpu::SubmissionIndex>,
}

impl PartOfSum {
    fn new(gpu: &Gpu, layout: &Layout) -> Result<Self> {
        let allocate = |what, bytes, usage| gpu.allocate(what, bytes, usage);
        let vector = GpuSlice::whole(allocate("a minibatch's gradient", layout.bytes(), STORAGE)?);
        let loss = allocate("a minibatch's loss", 4, STORAGE)?;
        let shards = layout.shards(&gpu.limits(), 1, 0..layout.padded_len())?;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let share = |elements: usize| {
            let share = Share { elements: elements as u32, weight: 0.0, unwritten: UNWRITTEN };
            Ok((share, allocate("a minibatch's share", size_of::<Share>() as u64, uniform)?))
        };
        let elements = shards.iter().map(std::ops::Range::len).chain([1]);
        let shares = elements.map(share).collect::<Result<_>>()?;
        gpu.validated("the kernel that adds minibatches", || {
            let entries = group_layout(gpu, &numbered(ENTRIES));
            let device = gpu.device();
            let name = "objective/accumulate";
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(name),
                bind_group_layouts: &[Some(&entries)],
                immediate_size: 0,
            });
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(
                    include_str!("../../shaders/objective/accumulate.wgsl").into(),
                ),
            });
            let pipelines = [1.0, 0.0].map(|is_first| {
                let constants =
                    [("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE)), ("IS_FIRST", is_first)];
                gpu.compile(name, &pipeline_layout, &module, &constants)
            });
            let (device, submitted) = (device.clone(), None);
            Self { device, vector, loss, layout: entries, pipelines, shares, submitted }
        })
    }

    /// Whether it is of this device, and as long as the vectors of `layout`.
    fn fits(&self, gpu: &Gpu, layout: &Layout) -> bool {
        self.device == *gpu.device() && self.vector.size == layout.bytes()
    }

    /// Sets the weight of the next minibatch; what it does not write shows, its loss always and its gradient with `marks`.
    fn begin(&mut self, gpu: &Gpu, weight: f32, marks: bool) {
        for (share, uniform) in &mut self.shares {
            share.weight = weight;
            gpu.queue().write_buffer(uniform, 0, bytemuck::bytes_of(share));
        }
        gpu.queue().write_buffer(&self.loss, 0, bytemuck::bytes_of(&UNWRITTEN));
        if marks {
            let unwritten = vec![UNWRITTEN; (self.vector.size / 4) as usize];
            gpu.queue().write_buffer(&self.vector.buffer, 0, bytemuck::cast_slice(&unwritten));
        }
    }

    /// Records the addition of the minibatch.
    fn add(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        is_first: bool,
        (vector, loss): (&GpuSlice, Option<&wgpu::Buffer>),
    ) -> Result<()> {
        gpu.validated("the sum over minibatches", || {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipelines[usize::from(!is_first)]);
            let mut add = |share: &(Share, wgpu::Buffer), part: &GpuSlice, sum: &GpuSlice| {
                let bindings = [share.1.as_entire_binding(), part.as_binding(), sum.as_binding()];
                let entries: Vec<_> = (0..)
                    .zip(bindings)
                    .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
                    .collect();
                let bindings = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &self.layout,
                    entries: &entries,
                });
                pass.set_bind_group(0, &bindings, &[]);
                let workgroups = share.0.elements.div_ceil(WORKGROUP_SIZE).min(MAX_WORKGROUPS);
                pass.dispatch_workgroups(workgroups, 1, 1);
            };
            let (of_loss, of_vector) = self.shares.split_last().expect("the share of the loss");
            let mut begin = 0;
            for share in of_vector {
                let size = 4 * u64::from(share.0.elements);
                let part_of = |whole: &GpuSlice| GpuSlice {
                    buffer: whole.buffer.clone(),
                    offset: whole.offset + begin,
                    size,
                };
                add(share, &part_of(&self.vector), &part_of(vector));
                begin += size;
            }
            if let Some(loss) = loss {
                let whole = |buffer: &wgpu::Buffer| GpuSlice::whole(buffer.clone());
                add(of_loss, &whole(&self.loss), &whole(loss));
            }
        })
    }
}
