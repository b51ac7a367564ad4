//! Reading buffers back to the host, and how a call waits for that.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::{Gpu, GpuSlice};
use crate::error::{Error, Result};

/// What wgpu says when a buffer is mapped.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// How a call waits for the GPU. Whatever may wait is written once, as an `async fn` that is told how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The thread does nothing else meanwhile, and nothing is ever pending: see [`block_on`].
    #[cfg(not(target_family = "wasm"))]
    Block,
    /// Other tasks of the executor run meanwhile.
    Yield,
}

/// Runs what waits by [`Wait::Block`].
#[cfg(not(target_family = "wasm"))]
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    pollster::block_on(work)
}

/// A copy to the host that is under way.
#[derive(Debug)]
pub(crate) struct PendingRead {
    staging: wgpu::Buffer,
    receiver: OneshotReceiver<Mapped>,
}

/// A browser would keep it until it collects garbage.
#[cfg(target_family = "wasm")]
impl Drop for PendingRead {
    fn drop(&mut self) {
        self.staging.destroy();
    }
}

/// Lets the other tasks of the executor run once.
#[cfg(not(target_family = "wasm"))]
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Gpu {
    /// Starts to copy `slices`, one after the other, to the host.
    pub(crate) fn start_read(&self, slices: &[GpuSlice]) -> Result<PendingRead> {
        self.start_read_after("a read-back", &mut self.encoder("read-back"), slices)
    }

    /// The same after what is recorded in `encoder`, which goes on empty: both are one submission.
    pub(crate) fn start_read_after(
        &self,
        what: &'static str,
        encoder: &mut wgpu::CommandEncoder,
        slices: &[GpuSlice],
    ) -> Result<PendingRead> {
        let bytes = slices.iter().map(|slice| slice.size).sum();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.allocate("read-back", bytes, usage)?;
        let mut end = 0;
        for slice in slices {
            encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, &staging, end, slice.size);
            end += slice.size;
        }
        let (sender, receiver) = oneshot_channel();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |result| {
            // A receiver that was dropped no longer wants the answer.
            let _ = sender.send(result);
        });
        self.flush(what, encoder)?;
        Ok(PendingRead { staging, receiver })
    }

    /// The bytes of `pending` if they have arrived; never waits.
    pub(crate) fn try_read(&self, pending: &PendingRead) -> Result<Option<Vec<u8>>> {
        self.poll()?;
        let received = pin!(pending.receiver.receive());
        match received.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(None),
            Poll::Ready(mapped) => self.take(pending, mapped).map(Some),
        }
    }

    /// The bytes of `pending`, waiting for them.
    pub(crate) async fn finish_read(&self, pending: &PendingRead, wait: Wait) -> Result<Vec<u8>> {
        match wait {
            #[cfg(not(target_family = "wasm"))]
            Wait::Block => {
                self.wait()?;
                // Another thread that polls may not have reached the callback yet.
                self.take(pending, pollster::block_on(pending.receiver.receive()))
            }
            #[cfg(not(target_family = "wasm"))]
            Wait::Yield => loop {
                if let Some(bytes) = self.try_read(pending)? {
                    return Ok(bytes);
                }
                yield_now().await;
            },
            // A browser answers once no task of ours runs: to ask again and again would keep it from that.
            #[cfg(target_family = "wasm")]
            Wait::Yield => {
                self.late.settle().await?;
                self.take(pending, pending.receiver.receive().await)
            }
        }
    }

    fn take(&self, pending: &PendingRead, mapped: Option<Mapped>) -> Result<Vec<u8>> {
        if !matches!(mapped, Some(Ok(()))) {
            return Err(self.lost_error("a read-back was abandoned"));
        }
        let view = pending
            .staging
            .get_mapped_range(..)
            .map_err(|error| Error::Rejected { what: "a read-back", source: error.into() })?;
        Ok(view.to_vec())
    }

    /// Copies `slice` to the host, waiting for it.
    pub(crate) async fn read(&self, slice: &GpuSlice, wait: Wait) -> Result<Vec<u8>> {
        self.finish_read(&self.start_read(std::slice::from_ref(slice))?, wait).await
    }
}
