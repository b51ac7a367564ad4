//! A 64-64-32-10 tanh network, forward and backward in WGSL.

use std::sync::{Arc, OnceLock};

use dimer::{Evaluation, Gpu, GpuSlice, Group, Layout, Objective, Optimizer, Part, Point, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::data::{CLASSES, Images, Minibatches, PIXELS};

/// Units of each layer, the pixels first.
const UNITS: [usize; 4] = [PIXELS, 64, 32, CLASSES];

/// Threads of one workgroup in every kernel here.
const WORKGROUP: usize = 64;

/// The tensors of the network; biases do not decay.
pub fn layout() -> dimer::Result<Layout> {
    let mut builder = Layout::builder();
    let biases = builder.group(Group { weight_decay: Some(0.0), ..Group::default() });
    for (layer, units) in UNITS.windows(2).enumerate() {
        builder.tensor(format!("weight{layer}"), units).tensor_in(
            biases,
            format!("bias{layer}"),
            &units[1..],
        );
    }
    builder.build()
}

/// Weights uniform in ±√(6 / (inputs + outputs)) (Glorot, Bengio 2010), biases zero.
pub fn initial_params(seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut params = Vec::new();
    for units in UNITS.windows(2) {
        let bound = (6.0 / (units[0] + units[1]) as f32).sqrt();
        params.extend((0..units[0] * units[1]).map(|_| rng.random_range(-bound..bound)));
        params.extend(std::iter::repeat_n(0.0, units[1]));
    }
    params
}

/// Weights and biases uniform in ±1/√inputs, as PyTorch's `Linear` starts.
#[allow(dead_code, reason = "not every example needs it")]
pub fn uniform_params(seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let layer = |units: &[usize]| {
        let bound = (units[0] as f32).sqrt().recip();
        let count = (units[0] + 1) * units[1];
        (0..count).map(|_| rng.random_range(-bound..bound)).collect::<Vec<_>>()
    };
    UNITS.windows(2).flat_map(layer).collect()
}

/// What the network's outputs are compared by.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Softmax cross-entropy.
    CrossEntropy,
    /// ½ ‖outputs − the label's unit vector‖².
    SquaredError,
}

/// One dispatch of a pass through the network.
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    workgroups: u32,
}

fn encode(encoder: &mut wgpu::CommandEncoder, dispatches: &[Dispatch]) {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for dispatch in dispatches {
        pass.set_pipeline(&dispatch.pipeline);
        pass.set_bind_group(0, &dispatch.bindings, &[]);
        pass.dispatch_workgroups(dispatch.workgroups, 1, 1);
    }
}

/// The network over a number of images, with room for what lies between its layers.
struct Network {
    gpu: Gpu,
    layout: Layout,
    images: wgpu::Buffer,
    labels: wgpu::Buffer,
    indices: wgpu::Buffer,
    /// Outputs of each layer, the images first, and the gradients in them.
    activations: Vec<wgpu::Buffer>,
    deltas: Vec<wgpu::Buffer>,
    losses: wgpu::Buffer,
    /// Uniforms, one per layer.
    shapes: Vec<wgpu::Buffer>,
    batch: usize,
}

impl Network {
    fn new(gpu: &Gpu, layout: &Layout, images: &Images, batch: usize) -> Self {
        let per_layer = |units: &[usize]| {
            units.iter().map(|units| buffer(gpu, batch * units)).collect::<Vec<_>>()
        };
        let network = Self {
            gpu: gpu.clone(),
            layout: layout.clone(),
            images: buffer(gpu, images.pixels.len()),
            labels: buffer(gpu, images.labels.len()),
            indices: buffer(gpu, batch),
            activations: per_layer(&UNITS),
            deltas: per_layer(&UNITS[1..]),
            losses: buffer(gpu, batch),
            shapes: (0..UNITS.len() - 1).map(|layer| shape(gpu, batch, layer)).collect(),
            batch,
        };
        gpu.queue().write_buffer(&network.images, 0, bytemuck::cast_slice(&images.pixels));
        gpu.queue().write_buffer(&network.labels, 0, bytemuck::cast_slice(&images.labels));
        network
    }

    fn select(&self, indices: &[u32]) {
        self.gpu.queue().write_buffer(&self.indices, 0, bytemuck::cast_slice(indices));
    }

    /// From the images to the outputs.
    fn forward(&self, params: &GpuSlice) -> Vec<Dispatch> {
        let buffers = [&self.images, &self.indices, &self.activations[0]];
        let mut pass = vec![self.dispatch(
            include_str!("gather.wgsl"),
            &buffers.map(|buffer| buffer.as_entire_binding()),
            self.batch * PIXELS,
        )];
        for (layer, units) in UNITS.windows(2).enumerate() {
            let [weight, bias] = self.tensors(layer, params);
            let resources = [
                self.shapes[layer].as_entire_binding(),
                self.activations[layer].as_entire_binding(),
                weight.as_binding(),
                bias.as_binding(),
                self.activations[layer + 1].as_entire_binding(),
            ];
            let threads = blocks(self.batch) * blocks(units[1]);
            pass.push(self.dispatch(include_str!("dense.wgsl"), &resources, threads));
        }
        pass
    }

    /// From the outputs to the gradient of every tensor.
    fn backward(&self, loss: Loss, params: &GpuSlice, gradient: &GpuSlice) -> Vec<Dispatch> {
        let last = UNITS.len() - 2;
        let resources = [
            self.shapes[last].as_entire_binding(),
            self.activations[last + 1].as_entire_binding(),
            self.labels.as_entire_binding(),
            self.indices.as_entire_binding(),
            self.deltas[last].as_entire_binding(),
            self.losses.as_entire_binding(),
        ];
        let source = match loss {
            Loss::CrossEntropy => include_str!("softmax.wgsl"),
            Loss::SquaredError => include_str!("squared_error.wgsl"),
        };
        let mut pass = vec![self.dispatch(source, &resources, self.batch)];
        for layer in (0..=last).rev() {
            let [weight, bias] = self.tensors(layer, gradient);
            let resources = [
                self.shapes[layer].as_entire_binding(),
                self.activations[layer].as_entire_binding(),
                self.deltas[layer].as_entire_binding(),
                weight.as_binding(),
                bias.as_binding(),
            ];
            let threads = (blocks(UNITS[layer]) + 1) * blocks(UNITS[layer + 1]);
            pass.push(self.dispatch(include_str!("weight_gradient.wgsl"), &resources, threads));
            if layer > 0 {
                let [weight, _] = self.tensors(layer, params);
                let resources = [
                    self.shapes[layer].as_entire_binding(),
                    self.activations[layer].as_entire_binding(),
                    self.deltas[layer].as_entire_binding(),
                    weight.as_binding(),
                    self.deltas[layer - 1].as_entire_binding(),
                ];
                let threads = blocks(self.batch) * blocks(UNITS[layer]);
                pass.push(self.dispatch(include_str!("input_gradient.wgsl"), &resources, threads));
            }
        }
        pass
    }

    fn loss(&self, loss: &wgpu::Buffer) -> Dispatch {
        let resources = [self.losses.as_entire_binding(), loss.as_entire_binding()];
        self.dispatch(include_str!("mean.wgsl"), &resources, 1)
    }

    /// Weight and bias of one layer within a vector.
    fn tensors(&self, layer: usize, vector: &GpuSlice) -> [GpuSlice; 2] {
        [0, 1].map(|which| {
            let Tensor { offset, len, .. } = &self.layout.tensors()[2 * layer + which];
            let (offset, size) = (vector.offset + 4 * *offset as u64, 4 * *len as u64);
            GpuSlice { buffer: vector.buffer.clone(), offset, size }
        })
    }

    fn dispatch(
        &self,
        source: &str,
        resources: &[wgpu::BindingResource<'_>],
        threads: usize,
    ) -> Dispatch {
        let device = self.gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let entries: Vec<_> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
            .collect();
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Dispatch { pipeline, bindings, workgroups: threads.div_ceil(WORKGROUP) as u32 }
    }
}

/// How many groups of four these are: a thread takes four images, inputs or outputs.
fn blocks(count: usize) -> usize {
    count.div_ceil(4)
}

/// Batch, inputs, outputs, and whether the layer ends in tanh.
fn shape(gpu: &Gpu, batch: usize, layer: usize) -> wgpu::Buffer {
    let tanh = layer + 2 < UNITS.len();
    let shape = [batch, UNITS[layer], UNITS[layer + 1], usize::from(tanh)];
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("shape"),
        size: 16,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&shape.map(|n| n as u32)));
    buffer
}

/// Words that kernels and copies can use.
fn buffer(gpu: &Gpu, words: usize) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * words as u64,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// The training loss, recorded into the optimizer's encoder.
pub struct Training {
    network: Network,
    /// None where every step takes all images.
    minibatches: Option<Minibatches>,
    /// What of each minibatch is taken, and the images of one.
    share: Part,
    batch: usize,
    criterion: Loss,
    /// Made when the optimizer first names their vectors, and its loss buffer.
    passes: Vec<Pass>,
    loss: Option<Dispatch>,
}

/// Forward and backward between two vectors.
struct Pass {
    params: GpuSlice,
    gradient: GpuSlice,
    dispatches: Vec<Dispatch>,
}

impl Training {
    /// Cross-entropy on minibatches.
    pub fn new(optimizer: &Optimizer, images: &Images, batch: usize, seed: u64) -> Self {
        Self::on_share(optimizer, images, batch, seed, Part::WHOLE)
    }

    /// The same on a part of every minibatch.
    pub fn on_share(
        optimizer: &Optimizer,
        images: &Images,
        batch: usize,
        seed: u64,
        share: Part,
    ) -> Self {
        let minibatches = Some(Minibatches::new(images.len(), seed));
        let own = share.range(batch).len();
        let training = Self::with_loss(optimizer, images, own, Loss::CrossEntropy);
        Self { minibatches, share, batch, ..training }
    }

    /// A loss on all images in every step.
    pub fn on_all(optimizer: &Optimizer, images: &Images, loss: Loss) -> Self {
        let training = Self::with_loss(optimizer, images, images.len(), loss);
        training.network.select(&(0..images.len() as u32).collect::<Vec<_>>());
        training
    }

    fn with_loss(optimizer: &Optimizer, images: &Images, batch: usize, loss: Loss) -> Self {
        let network = Network::new(optimizer.gpu(), optimizer.layout(), images, batch);
        let (minibatches, share, passes) = (None, Part::WHOLE, Vec::new());
        Self { network, minibatches, share, batch, criterion: loss, passes, loss: None }
    }

    fn pass(&mut self, params: &GpuSlice, gradient: &GpuSlice) -> &Pass {
        let is_known = |pass: &Pass| (&pass.params, &pass.gradient) == (params, gradient);
        let index = self.passes.iter().position(is_known).unwrap_or_else(|| {
            let mut dispatches = self.network.forward(params);
            dispatches.extend(self.network.backward(self.criterion, params, gradient));
            let (params, gradient) = (params.clone(), gradient.clone());
            self.passes.push(Pass { params, gradient, dispatches });
            self.passes.len() - 1
        });
        &self.passes[index]
    }
}

impl Objective for Training {
    fn begin_step(&mut self, step: dimer::StepInfo) -> dimer::Result<()> {
        if let Some(minibatches) = self.minibatches.as_mut().filter(|_| !step.repeats_minibatch) {
            self.network.select(&minibatches.draw(self.batch)[self.share.range(self.batch)]);
        }
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        encode(at.encoder, &self.pass(at.params, at.gradient).dispatches);
        if at.point == Point::Centre {
            let loss = self.loss.get_or_insert_with(|| self.network.loss(at.loss));
            encode(at.encoder, std::slice::from_ref(loss));
        }
        Ok(())
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

/// Counts right answers on images that were not trained on.
pub struct Accuracy {
    network: Network,
    forward: Vec<Dispatch>,
    labels: Vec<u32>,
}

impl Accuracy {
    pub fn new(optimizer: &Optimizer, images: &Images) -> Self {
        let count = images.len();
        let network = Network::new(optimizer.gpu(), optimizer.layout(), images, count);
        network.select(&(0..count as u32).collect::<Vec<_>>());
        let forward = network.forward(optimizer.params());
        Self { network, forward, labels: images.labels.clone() }
    }

    /// Starts to answer with the parameters as they are.
    pub fn start(&self) -> Answers {
        let (device, queue) = (self.network.gpu.device(), self.network.gpu.queue());
        let logits = &self.network.activations[UNITS.len() - 1];
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: logits.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        encode(&mut encoder, &self.forward);
        encoder.copy_buffer_to_buffer(logits, 0, &staging, 0, logits.size());
        let arrived = Arc::new(OnceLock::new());
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., {
            let arrived = Arc::clone(&arrived);
            move |mapped| arrived.set(mapped).expect("one answer")
        });
        queue.submit([encoder.finish()]);
        Answers { staging, arrived }
    }

    /// The share of right answers, once they are there.
    pub fn share(&self, answers: &Answers) -> Option<Result<f64, wgpu::BufferAsyncError>> {
        if let Err(error) = answers.arrived.get()? {
            return Some(Err(error.clone()));
        }
        let bytes = answers.staging.get_mapped_range(..).expect("logits");
        let logits: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let answers = logits.chunks_exact(CLASSES).map(|logits| {
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.expect("ten logits").0 as u32
        });
        let right = answers.zip(&self.labels).filter(|(answer, label)| answer == *label).count();
        Some(Ok(right as f64 / self.labels.len() as f64))
    }

    /// The share of right answers with the parameters as they are; waits for the GPU.
    pub fn measure(&self) -> f64 {
        let answers = self.start();
        let device = self.network.gpu.device();
        device.poll(wgpu::PollType::wait_indefinitely()).expect("a device");
        self.share(&answers).expect("logits").expect("logits")
    }
}

/// Answers that are on their way to the host.
pub struct Answers {
    staging: wgpu::Buffer,
    arrived: Arc<OnceLock<Result<(), wgpu::BufferAsyncError>>>,
}
