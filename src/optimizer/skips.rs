//! [`Skips`]: whether one step after another is skipped, asked of the GPU now and then without a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};

/// Most steps from one look to the next.
const PERIOD: u32 = 32;

/// What became of the last look.
const IDLE: u8 = 0;
const PENDING: u8 = 1;
const ARRIVED: u8 = 2;

/// Copies the number of consecutive skips into a buffer of its own, again and again.
#[derive(Debug)]
pub(super) struct Skips {
    limit: u32,
    buffer: wgpu::Buffer,
    state: Arc<AtomicU8>,
}

/// Says that the look it belongs to is over, even if its encoder was dropped.
struct Look(Arc<AtomicU8>);

impl Look {
    fn arrived(self) {
        self.0.store(ARRIVED, Ordering::Release);
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let _ = self.0.compare_exchange(PENDING, IDLE, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Skips {
    pub(super) fn new(gpu: &Gpu, limit: u32) -> Result<Self> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = gpu.allocate("consecutive skips", size_of::<u32>() as u64, usage)?;
        Ok(Self { limit, buffer, state: Arc::default() })
    }

    fn period(&self) -> u64 {
        PERIOD.min(self.limit).into()
    }

    /// What the last look found, if it has arrived.
    fn take(&self) -> Option<u32> {
        if self.state.load(Ordering::Acquire) != ARRIVED {
            return None;
        }
        let found =
            self.buffer.get_mapped_range(..).ok().map(|view| bytemuck::pod_read_unaligned(&view));
        self.buffer.unmap();
        self.state.store(IDLE, Ordering::Release);
        found
    }

    /// Waits for the last look, so that ranks find the same at the same step.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn settle(&self, gpu: &Gpu) -> Result<()> {
        while self.state.load(Ordering::Acquire) == PENDING {
            gpu.wait()?;
            // Another thread that polls may not have reached the callback yet.
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether step `index` may begin after the steps before it.
    pub(super) fn check(&self, gpu: &Gpu, index: u64) -> Result<()> {
        // Submissions let callbacks run; if the user keeps many back, this does.
        let pending = self.state.load(Ordering::Acquire) == PENDING;
        if pending && index.is_multiple_of(self.period()) {
            gpu.poll()?;
        }
        match self.take() {
            Some(skipped) if skipped >= self.limit => Err(Error::TooManySkips { skipped }),
            _ => Ok(()),
        }
    }

    /// Looks at `streak` after step `index`, unless the last look is still under way.
    pub(super) fn look(&self, encoder: &mut wgpu::CommandEncoder, streak: &GpuSlice, index: u64) {
        let due = (index + 1).is_multiple_of(self.period());
        if !due || self.state.load(Ordering::Acquire) != IDLE {
            return;
        }
        encoder.copy_buffer_to_buffer(&streak.buffer, streak.offset, &self.buffer, 0, streak.size);
        self.state.store(PENDING, Ordering::Release);
        let look = Look(Arc::clone(&self.state));
        encoder.map_buffer_on_submit(&self.buffer, wgpu::MapMode::Read, .., move |mapped| {
            if mapped.is_ok() {
                look.arrived();
            }
        });
    }
}
