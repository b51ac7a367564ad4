//! One textbook operation a kernel: the building blocks of the unfused optimizer.

use crate::error::Result;
use crate::gpu::{Gpu, WORKGROUP_SIZE, group_layout};
use crate::kernels::bindings::Access;
use crate::kernels::bindings::numbered;

/// Workgroups of one dispatch at most, and so partials of a dot product.
const MAX_WORKGROUPS: u32 = 1024;

const BINDINGS: &str = include_str!("../../shaders/unfused/bindings.wgsl");
const WORKGROUP_SUM: &str = include_str!("../../shaders/unfused/workgroup_sum.wgsl");

macro_rules! operations {
    ($($variant:ident $file:literal),* $(,)?) => {
        /// The operations, each in the file of its name.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Operation { $($variant),* }

        const OPERATIONS: &[(&str, &str)] = &[
            $(($file, include_str!(concat!("../../shaders/unfused/", $file, ".wgsl")))),*
        ];
    };
}

operations! {
    Copy "copy",
    Subtract "subtract",
    Axpy "axpy",
    Scale "scale",
    Lerp "lerp",
    MultiplyAdd "multiply_add",
    DivideAdd "divide_add",
    AddScalar "add_scalar",
    Sqrt "sqrt",
    Sign "sign",
    Dot "dot",
    Sum "sum",
    MultiplyScalars "multiply_scalars",
    InverseSqrtScalar "inverse_sqrt_scalar",
    SqrtScalar "sqrt_scalar",
    AddScalars "add_scalars",
    MinScalars "min_scalars",
    DivideScalars "divide_scalars",
    LearningRate "learning_rate",
}

/// What an operation binds.
const ENTRIES: &[Access] =
    &[Access::Uniform, Access::Write, Access::Read, Access::Read, Access::Write, Access::Write];

/// `Op`: where one dispatch finds its scalars.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Op {
    vectors: u32,
    alpha: u32,
    left: u32,
    right: u32,
    result: u32,
    partials: u32,
    padding: [u32; 2],
}

/// One dispatch, ready to record.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    workgroups: u32,
}

impl Dispatch {
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
    }
}

/// Where an operation reads and writes; what it does not use stays at the stub and scalar 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands<'a> {
    pub x: Option<&'a wgpu::Buffer>,
    pub y: Option<&'a wgpu::Buffer>,
    pub out: Option<&'a wgpu::Buffer>,
    pub alpha: u32,
    pub left: u32,
    pub right: u32,
    pub result: u32,
}

/// Makes dispatches over vectors of one length, with one table of scalars.
#[derive(Debug)]
pub(crate) struct Operations {
    gpu: Gpu,
    layout: wgpu::BindGroupLayout,
    pipelines: Vec<wgpu::ComputePipeline>,
    table: wgpu::Buffer,
    partials: wgpu::Buffer,
    /// Bound where an operation has no operand: two for reading, one for writing.
    stubs: [wgpu::Buffer; 2],
    vectors: u32,
}

impl Operations {
    /// For vectors of `vectors` vec4.
    pub(crate) fn new(gpu: &Gpu, table: &wgpu::Buffer, vectors: u32) -> Result<Self> {
        let storage = wgpu::BufferUsages::STORAGE;
        let stub = || gpu.allocate("stub", 16, storage);
        let partials = gpu.allocate("partials", 4 * u64::from(MAX_WORKGROUPS), storage)?;
        let stubs = [stub()?, stub()?];
        gpu.validated("the unfused kernels", || {
            let layout = group_layout(gpu, &numbered(ENTRIES));
            let pipelines = {
                let layout = gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
                let constants = [("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE))];
                let compile = |(label, source): &(&str, &str)| {
                    let source = [BINDINGS, WORKGROUP_SUM, source].concat();
                    let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor {
                        label: Some(label),
                        source: wgpu::ShaderSource::Wgsl(source.into()),
                    });
                    gpu.compile(label, &layout, &module, &constants)
                };
                OPERATIONS.iter().map(compile).collect()
            };
            Self {
                gpu: gpu.clone(),
                layout,
                pipelines,
                table: table.clone(),
                partials,
                stubs,
                vectors,
            }
        })
    }

    pub(crate) fn dispatch(&self, operation: Operation, operands: Operands<'_>) -> Dispatch {
        let wide = self.vectors.div_ceil(WORKGROUP_SIZE).min(MAX_WORKGROUPS);
        let workgroups = match operation {
            Operation::Sum
            | Operation::MultiplyScalars
            | Operation::InverseSqrtScalar
            | Operation::SqrtScalar
            | Operation::AddScalars
            | Operation::DivideScalars
            | Operation::LearningRate => 1,
            _ => wide,
        };
        let op = Op {
            vectors: self.vectors,
            alpha: operands.alpha,
            left: operands.left,
            right: operands.right,
            result: operands.result,
            partials: wide,
            padding: [0; 2],
        };
        let uniform = self.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("op"),
            size: size_of::<Op>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(&op));
        let [read, write] = &self.stubs;
        let buffers = [
            &uniform,
            &self.table,
            operands.x.unwrap_or(read),
            operands.y.unwrap_or(read),
            operands.out.unwrap_or(write),
            &self.partials,
        ];
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bindings = self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.layout,
            entries: &entries,
        });
        Dispatch { pipeline: self.pipelines[operation as usize].clone(), bindings, workgroups }
    }
}
