//! The time of the host per step, next to that of an empty submission, and per optimizer that is made.

use dimer::{Config, Dimer, Gpu, Layout, Optimizer};

use crate::prepared::{Prepared, paper};
use crate::results::{HostRow, Results};
use crate::rounds::{Call, Effort, compare_host};
use crate::setup::optimizer;

const LEN: usize = 1000;

pub const CALLS: [&str; 7] = [
    "empty submission",
    "two empty dispatches",
    "AdamW",
    "DEO, no rotation",
    "DEO, rotation",
    "DEO, recorded, not submitted",
    "another optimizer",
];

/// The cost of a submission that does nothing: an encoder with an empty pass.
fn submit_nothing(gpu: &Gpu) -> dimer::Result<()> {
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    drop(encoder.begin_compute_pass(&Default::default()));
    gpu.queue().submit([encoder.finish()]);
    Ok(())
}

/// The same with a write of one slot, and two dispatches of no workgroups with a bind group each: what
/// wgpu itself needs for a step.
struct Bare {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    uniform: wgpu::Buffer,
}

impl Bare {
    fn new(gpu: &Gpu) -> Self {
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var<uniform> x: vec4f;\
                 @compute @workgroup_size(1) fn main() { _ = x; }"
                    .into(),
            ),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let uniform = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 256,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }],
        });
        Self { pipeline, group, uniform }
    }

    fn submit(&self, gpu: &Gpu) -> dimer::Result<()> {
        gpu.queue().write_buffer(&self.uniform, 0, &[0; 140]);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in 0..2 {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(0, 1, 1);
        }
        drop(pass);
        gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}

fn call(gpu: &Gpu, call: &str) -> dimer::Result<Call> {
    let make = |config: Config| optimizer(gpu, config, LEN);
    let gpu = gpu.clone();
    Ok(match call {
        "empty submission" => Box::new(move || submit_nothing(&gpu)),
        "two empty dispatches" => {
            let bare = Bare::new(&gpu);
            Box::new(move || bare.submit(&gpu))
        }
        "DEO, recorded, not submitted" => {
            let mut optimizer = make(paper(u32::MAX))?;
            Box::new(move || {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                optimizer.record_step(&mut encoder, &mut Prepared)
            })
        }
        // Its kernels are compiled already.
        "another optimizer" => {
            let first = make(Config { dimer: Some(Dimer::default()), ..paper(1) })?;
            Box::new(move || {
                let layout = Layout::flat(LEN)?;
                Optimizer::new(&gpu, layout, first.config().clone(), &[0.5; LEN]).map(drop)
            })
        }
        _ => {
            let mut optimizer = make(match call {
                "AdamW" => Config { dimer: None, ..paper(1) },
                "DEO, no rotation" => paper(u32::MAX),
                _ => paper(1),
            })?;
            Box::new(move || optimizer.step(&mut Prepared))
        }
    })
}

pub fn run(gpu: &Gpu, effort: &Effort, results: &mut Results) -> dimer::Result<()> {
    println!("the host");
    let calls = CALLS.iter().map(|name| call(gpu, name));
    let mut calls = calls.collect::<dimer::Result<Vec<_>>>()?;
    let times = compare_host(gpu, effort, &mut calls)?;
    let rows = CALLS.into_iter().zip(times);
    results.host.extend(rows.map(|(call, nanoseconds)| HostRow { call, nanoseconds }));
    Ok(())
}
