//! The end of the GPU's work, and its own clock around whole recordings.

use dimer::Gpu;

/// Most recordings of one reading.
pub const MOST: u32 = 32;

/// What a device must have.
const FEATURES: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);

/// Waits for all that was submitted.
pub fn wait(gpu: &Gpu) {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
}

/// Timestamps before and after each of several recordings.
pub struct Stopwatch {
    gpu: Gpu,
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
}

impl Stopwatch {
    /// None for a device without timestamps.
    pub fn new(gpu: &Gpu) -> Option<Self> {
        let device = gpu.device();
        if !device.features().contains(FEATURES) {
            return None;
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(2 * MOST * wgpu::QUERY_SIZE),
                usage,
                mapped_at_creation: false,
            })
        };
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MOST,
        });
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let read = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
        Some(Self { gpu: gpu.clone(), queries, resolved, read })
    }

    /// Nanoseconds that the GPU takes for each of `calls` recordings, at most [`MOST`], one submission each.
    pub fn time(
        &self,
        calls: u32,
        mut record: impl FnMut(&mut wgpu::CommandEncoder) -> dimer::Result<()>,
    ) -> dimer::Result<Vec<f64>> {
        let (device, queue) = (self.gpu.device(), self.gpu.queue());
        let calls = calls.min(MOST);
        for call in 0..calls {
            let mut encoder = device.create_command_encoder(&Default::default());
            self.mark(&mut encoder, 2 * call);
            record(&mut encoder)?;
            self.mark(&mut encoder, 2 * call + 1);
            queue.submit([encoder.finish()]);
        }
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&self.queries, 0..2 * calls, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, self.read.size());
        queue.submit([encoder.finish()]);
        self.read.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a mapping"));
        wait(&self.gpu);
        let ticks: Vec<u64> = {
            let view = self.read.get_mapped_range(..).expect("mapped memory");
            bytemuck::pod_collect_to_vec(&view)
        };
        self.read.unmap();
        let period = f64::from(queue.get_timestamp_period());
        let pairs = ticks.chunks_exact(2).take(calls as usize);
        // A counter that began again in between is left out.
        let times = pairs.filter_map(|pair| Some(pair[1].checked_sub(pair[0])? as f64 * period));
        Ok(times.collect())
    }

    fn mark(&self, encoder: &mut wgpu::CommandEncoder, index: u32) {
        encoder.begin_compute_pass(&Default::default()).write_timestamp(&self.queries, index);
    }
}
