//! The fastest copy that this device offers: the limit of the kernels.

use std::time::Instant;

use dimer::Gpu;
use wgpu::util::DeviceExt;

use crate::rounds::Timed;
use crate::stopwatch::wait;

/// Copies that are submitted as one, so that the submission does not count.
pub const COPIES: u32 = 4;

/// Grids that are tried, in workgroups.
const GRIDS: [u32; 5] = [32, 256, 1024, 4096, 16_384];

/// Rounds in which all ways take turns; the fastest of each counts.
const ROUNDS: u32 = 5;

/// How to copy.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A kernel with so many workgroups.
    Kernel(u32),
    /// `copy_buffer_to_buffer`.
    Buffers,
}

/// A copy of one vector to another.
pub struct Copy {
    gpu: Gpu,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    vectors: [wgpu::Buffer; 2],
    way: Way,
}

impl Copy {
    /// In the fastest way for this length.
    pub fn new(gpu: &Gpu, len: usize) -> Self {
        let device = gpu.device();
        let vector = || {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: None,
                contents: bytemuck::cast_slice(&vec![0.5_f32; len]),
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
            })
        };
        let vectors = [vector(), vector()];
        let module = device.create_shader_module(wgpu::include_wgsl!("copy.wgsl"));
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("copy"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let entries = [0, 1].map(|binding| wgpu::BindGroupEntry {
            binding,
            resource: vectors[binding as usize].as_entire_binding(),
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut copy = Self { gpu: gpu.clone(), pipeline, group, vectors, way: Way::Buffers };
        copy.way = copy.fastest();
        copy
    }

    fn fastest(&mut self) -> Way {
        let kernels = GRIDS.map(Way::Kernel);
        let mut ways: Vec<(Way, f64)> =
            kernels.into_iter().chain([Way::Buffers]).map(|way| (way, f64::INFINITY)).collect();
        for _ in 0..ROUNDS {
            for (way, fastest) in &mut ways {
                self.way = *way;
                let began = Instant::now();
                self.call().expect("a submission");
                wait(&self.gpu);
                *fastest = fastest.min(began.elapsed().as_secs_f64());
            }
        }
        let best = ways.into_iter().min_by(|one, other| one.1.total_cmp(&other.1));
        best.expect("several ways").0
    }
}

/// [`COPIES`] of them.
impl Timed for Copy {
    fn call(&mut self) -> dimer::Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.record(&mut encoder)?;
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }

    fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> dimer::Result<()> {
        let [from, to] = &self.vectors;
        match self.way {
            Way::Kernel(workgroups) => {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&self.pipeline);
                pass.set_bind_group(0, &self.group, &[]);
                for _ in 0..COPIES {
                    pass.dispatch_workgroups(workgroups, 1, 1);
                }
            }
            Way::Buffers => {
                for _ in 0..COPIES {
                    encoder.copy_buffer_to_buffer(from, 0, to, 0, to.size());
                }
            }
        }
        Ok(())
    }
}
