//! The kernel that only copies: the limit of the others.

use dimer::Gpu;
use wgpu::util::DeviceExt;

/// Workgroups of one dispatch; as many as the other kernels have.
const WORKGROUPS: u32 = 256;

/// Copies that are submitted as one, so that the submission does not count.
pub const COPIES: u32 = 4;

/// A copy of one vector to another.
pub struct Copy {
    gpu: Gpu,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Copy {
    pub fn new(gpu: &Gpu, len: usize) -> Self {
        let device = gpu.device();
        let vector = || {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: None,
                contents: bytemuck::cast_slice(&vec![0.5_f32; len]),
                usage: wgpu::BufferUsages::STORAGE,
            })
        };
        let (from, to) = (vector(), vector());
        let module = device.create_shader_module(wgpu::include_wgsl!("copy.wgsl"));
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("copy"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let entries = [(0, &from), (1, &to)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut copy = Self { gpu: gpu.clone(), pipeline, group };
        copy.run().expect("a submission");
        copy
    }

    /// [`COPIES`] of them.
    pub fn run(&mut self) -> dimer::Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        for _ in 0..COPIES {
            pass.dispatch_workgroups(WORKGROUPS, 1, 1);
        }
        drop(pass);
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}
