//! [`Timer`]: how long the GPU takes for each kernel, from timestamps around its dispatches.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};

/// What a device must have to write timestamps between dispatches.
const FEATURES: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);

/// Kernels of one step that are timed; later ones of the same step are not.
const KERNELS: u32 = 64;

/// Steps whose times wait on the GPU to be read.
const STEPS: u64 = 256;

/// Bytes of the times of one step: a beginning and an end for each kernel.
const STEP_BYTES: u64 = 2 * KERNELS as u64 * wgpu::QUERY_SIZE as u64;

/// How long one kernel of one step took.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct KernelTime {
    /// Index of the step, from 0.
    pub step: u64,
    /// Name of the kernel, that of its file in `shaders/` without the ending.
    pub kernel: &'static str,
    /// Nanoseconds on the GPU from its beginning to its end, all shards together.
    pub nanoseconds: f64,
}

/// Timestamps of the last steps.
#[derive(Debug)]
pub(crate) struct Timer {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    times: wgpu::Buffer,
    /// Nanoseconds of one tick.
    period: f64,
    /// The kernels of the step that is being recorded.
    kernels: Mutex<Vec<&'static str>>,
    /// Steps whose times were not read, and their kernels.
    steps: VecDeque<(u64, Vec<&'static str>)>,
}

impl Timer {
    /// None where the device has no timestamps within passes.
    pub(crate) fn new(gpu: &Gpu) -> Result<Option<Self>> {
        if !gpu.device().features().contains(FEATURES) {
            return Ok(None);
        }
        let resolve = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let keep = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let queries = gpu.validated("timestamps", || {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * KERNELS,
            })
        })?;
        Ok(Some(Self {
            queries,
            resolved: gpu.allocate("timestamps", STEP_BYTES, resolve)?,
            times: gpu.allocate("times", STEPS * STEP_BYTES, keep)?,
            period: f64::from(gpu.queue().get_timestamp_period()),
            kernels: Mutex::default(),
            steps: VecDeque::new(),
        }))
    }

    /// Records `dispatch` between two timestamps.
    pub(super) fn time(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        kernel: &'static str,
        dispatch: impl FnOnce(&mut wgpu::ComputePass<'_>),
    ) {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let first = 2 * kernels.len() as u32;
        if first == 2 * KERNELS {
            return dispatch(pass);
        }
        kernels.push(kernel);
        pass.write_timestamp(&self.queries, first);
        dispatch(pass);
        pass.write_timestamp(&self.queries, first + 1);
    }

    /// Forgets what a step has recorded that failed.
    pub(crate) fn begin_step(&mut self) {
        self.kernels.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps the times of step `index`, which ends here.
    pub(crate) fn end_step(&mut self, encoder: &mut wgpu::CommandEncoder, index: u64) {
        let kernels =
            std::mem::take(self.kernels.get_mut().unwrap_or_else(PoisonError::into_inner));
        let count = 2 * kernels.len() as u32;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        let (bytes, offset) = (u64::from(count * wgpu::QUERY_SIZE), index % STEPS * STEP_BYTES);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.times, offset, bytes);
        self.steps.retain(|(step, _)| *step != index);
        self.steps.push_back((index, kernels));
        if self.steps.len() as u64 > STEPS {
            self.steps.pop_front();
        }
    }

    /// The times that were not read, of the last 256 steps at most, waiting for them.
    pub(crate) fn read_blocking(&mut self, gpu: &Gpu) -> Result<Vec<KernelTime>> {
        let bytes = gpu.read_blocking(&GpuSlice::whole(self.times.clone()))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let mut times = Vec::new();
        for (step, kernels) in self.steps.drain(..) {
            let first = (step % STEPS * u64::from(2 * KERNELS)) as usize;
            for (kernel, ticks) in kernels.into_iter().zip(ticks[first..].chunks_exact(2)) {
                let nanoseconds = ticks[1].wrapping_sub(ticks[0]) as f64 * self.period;
                times.push(KernelTime { step, kernel, nanoseconds });
            }
        }
        Ok(times)
    }
}
