//! Surfaces of the plane on the GPU.

use dimer::{Evaluation, Gpu, GpuSlice, Objective};

/// The slope of one surface, recorded into the optimizer's encoder.
pub struct Plane {
    pipeline: wgpu::ComputePipeline,
    /// By the vectors that they read and write.
    bindings: Vec<([GpuSlice; 2], wgpu::BindGroup)>,
}

impl Plane {
    /// `surface` is the name of an entry point of `plane.wgsl`.
    pub fn new(gpu: &Gpu, surface: &str) -> Self {
        let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(include_str!("plane.wgsl").into()),
        });
        let pipeline = gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some(surface),
            compilation_options: Default::default(),
            cache: None,
        });
        Self { pipeline, bindings: Vec::new() }
    }
}

impl Objective for Plane {
    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        let vectors = [at.params, at.gradient].map(GpuSlice::clone);
        let known = self.bindings.iter().position(|(of, _)| *of == vectors);
        let index = known.unwrap_or_else(|| {
            let entries = [0, 1].map(|binding: u32| wgpu::BindGroupEntry {
                binding,
                resource: vectors[binding as usize].as_binding(),
            });
            let bindings = at.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &self.pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            self.bindings.push((vectors, bindings));
            self.bindings.len() - 1
        });
        let mut pass = at.encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings[index].1, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        Ok(())
    }
}
