//! [`Gpu`]: one device and its queue, ours or the user's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use crate::error::{Error, Result};

/// Threads of one workgroup, in every kernel.
pub(crate) const WORKGROUP_SIZE: u32 = 256;

/// Storage buffers that the widest kernel binds.
const STORAGE_BUFFERS: u32 = 8;

/// Bytes of workgroup memory of the reductions: three `vec4<f32>` a thread.
const WORKGROUP_STORAGE: u32 = WORKGROUP_SIZE * 48;

/// A device, its queue, and what the kernels need to know of them.
///
/// Cloning is cheap and gives another handle to the same device.
///
/// ```no_run
/// let gpu = dimer::Gpu::new()?;
/// println!("running on {}", gpu.name());
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    pipeline_cache: Option<wgpu::PipelineCache>,
    lost: Arc<OnceLock<String>>,
}

impl Gpu {
    /// Opens the best adapter: discrete before integrated before virtual before software.
    ///
    /// The environment variables `WGPU_BACKEND` (`vulkan`, `metal`, `dx12`) and
    /// `WGPU_ADAPTER_NAME` (part of the adapter's name, case ignored) narrow the choice. The
    /// device gets all of the adapter's limits, and of its features those that the kernels can
    /// use: subgroups, timestamps and the pipeline cache.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::LimitTooSmall`] or [`Error::NoDevice`].
    pub fn new() -> Result<Self> {
        pollster::block_on(Self::request())
    }

    /// The asynchronous form of [`Gpu::new`].
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn request() -> Result<Self> {
        let adapter = best_adapter().await?;
        let info = adapter.get_info();
        check_limits(&adapter.limits())?;
        let wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("dimer"),
                required_features: adapter.features() & wanted,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|source| Error::NoDevice { adapter: info.name.clone(), source })?;
        let gpu = Self::wrap(device, queue)?;
        let lost = Arc::clone(&gpu.lost);
        gpu.device.set_device_lost_callback(move |reason, message| {
            // Only the first reason counts; a second loss of the same device says nothing new.
            let _ = lost.set(format!("{reason:?}: {message}"));
        });
        Ok(gpu)
    }

    /// Wraps the user's own device and queue, leaving its callbacks alone.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] if the device was requested with limits that the kernels exceed
    /// (8 storage buffers a stage, workgroups of 256 threads, 12 KiB of workgroup memory).
    pub fn wrap(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        check_limits(&device.limits())?;
        let info = device.adapter_info();
        let name = format!("{} ({:?}, {:?})", info.name, info.device_type, info.backend);
        let pipeline_cache = pipeline_cache(&device);
        Ok(Self { device, queue, name, pipeline_cache, lost: Arc::default() })
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue on which every step is submitted.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Name, kind and backend of the adapter, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the optimizers of one device share what the driver compiled, where it can.
    pub(crate) fn pipeline_cache(&self) -> Option<&wgpu::PipelineCache> {
        self.pipeline_cache.as_ref()
    }

    /// Allocates a zeroed buffer; a refusal of the device is an error, not a panic.
    pub(crate) fn allocate(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        let limit = self.device.limits().max_buffer_size;
        let refused = || Error::OutOfMemory { what: what.to_owned(), bytes };
        if bytes > limit {
            return Err(refused());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            Some(_) => Err(refused()),
            None => self.check_lost().map(|()| buffer),
        }
    }

    /// Runs `work` and turns a validation error of wgpu into [`Error::Rejected`].
    pub(crate) fn validated<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Result<T> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        match pollster::block_on(scope.pop()) {
            // On a lost device, everything is invalid.
            Some(error) => {
                self.check_lost()?;
                Err(Error::Rejected { what, message: error.to_string() })
            }
            None => self.check_lost().map(|()| value),
        }
    }

    /// Finishes and submits `encoder`.
    pub(crate) fn submit(&self, what: &'static str, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.validated(what, || {
            self.queue.submit([encoder.finish()]);
        })
    }

    /// An empty command encoder.
    pub(crate) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    /// Starts to copy `slices`, one behind the other, to the host.
    pub(crate) fn start_read(&self, slices: &[GpuSlice]) -> Result<PendingRead> {
        let bytes = slices.iter().map(|slice| slice.size).sum();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.allocate("read-back", bytes, usage)?;
        let mut encoder = self.encoder("read-back");
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
        self.submit("a read-back", encoder)?;
        Ok(PendingRead { staging, receiver })
    }

    /// The bytes of `pending` if they have arrived; never waits.
    pub(crate) fn try_read(&self, pending: &PendingRead) -> Result<Option<Vec<u8>>> {
        self.device
            .poll(wgpu::PollType::Poll)
            .map_err(|error| self.lost_error(&error.to_string()))?;
        let received = pin!(pending.receiver.receive());
        match received.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.check_lost().map(|()| None),
            Poll::Ready(mapped) => self.take(pending, mapped).map(Some),
        }
    }

    /// The bytes of `pending`, waiting for them.
    pub(crate) fn finish_read(&self, pending: &PendingRead) -> Result<Vec<u8>> {
        self.wait()?;
        // Another thread that polls may still be on its way to the callback.
        self.take(pending, pollster::block_on(pending.receiver.receive()))
    }

    fn take(&self, pending: &PendingRead, mapped: Option<Mapped>) -> Result<Vec<u8>> {
        if !matches!(mapped, Some(Ok(()))) {
            return Err(self.lost_error("a read-back was abandoned"));
        }
        let view = pending
            .staging
            .get_mapped_range(..)
            .map_err(|error| Error::Rejected { what: "a read-back", message: error.to_string() })?;
        Ok(view.to_vec())
    }

    /// Copies `slice` to the host, waiting for it.
    pub(crate) fn read_blocking(&self, slice: &GpuSlice) -> Result<Vec<u8>> {
        self.finish_read(&self.start_read(std::slice::from_ref(slice))?)
    }

    /// Copies `slice` to the host, yielding to other tasks until it arrives.
    pub(crate) async fn read(&self, slice: &GpuSlice) -> Result<Vec<u8>> {
        let pending = self.start_read(std::slice::from_ref(slice))?;
        loop {
            if let Some(bytes) = self.try_read(&pending)? {
                return Ok(bytes);
            }
            yield_now().await;
        }
    }

    /// Blocks until everything submitted so far has finished.
    pub(crate) fn wait(&self) -> Result<()> {
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| self.lost_error(&error.to_string()))?;
        self.check_lost()
    }

    fn check_lost(&self) -> Result<()> {
        match self.lost.get() {
            Some(reason) => Err(Error::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn lost_error(&self, otherwise: &str) -> Error {
        let reason = self.lost.get().map_or(otherwise, String::as_str).to_owned();
        Error::DeviceLost { reason }
    }
}

#[expect(unsafe_code, reason = "wgpu marks the call unsafe for the sake of its data")]
fn pipeline_cache(device: &wgpu::Device) -> Option<wgpu::PipelineCache> {
    device.features().contains(wgpu::Features::PIPELINE_CACHE).then(|| {
        // SAFETY: what must be trusted is the data of an earlier cache, and there is none.
        unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("dimer"),
                data: None,
                fallback: true,
            })
        }
    })
}

/// A range of bytes of a GPU buffer that holds one padded vector of a [`Layout`](crate::Layout).
#[derive(Clone, Debug)]
pub struct GpuSlice {
    /// The buffer; clones share it.
    pub buffer: wgpu::Buffer,
    /// First byte; a multiple of the device's `min_storage_buffer_offset_alignment`.
    pub offset: u64,
    /// Number of bytes; at least 4 times [`Layout::padded_len`](crate::Layout::padded_len).
    pub size: u64,
}

impl GpuSlice {
    /// The slice that spans `buffer`.
    pub fn whole(buffer: wgpu::Buffer) -> Self {
        let size = buffer.size();
        Self { buffer, offset: 0, size }
    }

    /// The slice as a binding of a storage buffer.
    pub fn as_binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(self.size),
        })
    }
}

/// What wgpu says when a buffer is mapped.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// A copy to the host that is under way.
#[derive(Debug)]
pub(crate) struct PendingRead {
    staging: wgpu::Buffer,
    receiver: OneshotReceiver<Mapped>,
}

/// Lets the other tasks of the executor run once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn check_limits(limits: &wgpu::Limits) -> Result<()> {
    let checks = [
        (
            "max_storage_buffers_per_shader_stage",
            STORAGE_BUFFERS,
            limits.max_storage_buffers_per_shader_stage,
        ),
        (
            "max_compute_invocations_per_workgroup",
            WORKGROUP_SIZE,
            limits.max_compute_invocations_per_workgroup,
        ),
        ("max_compute_workgroup_size_x", WORKGROUP_SIZE, limits.max_compute_workgroup_size_x),
        (
            "max_compute_workgroup_storage_size",
            WORKGROUP_STORAGE,
            limits.max_compute_workgroup_storage_size,
        ),
    ];
    for (limit, needed, found) in checks {
        if found < needed {
            return Err(Error::LimitTooSmall {
                limit,
                needed: u64::from(needed),
                found: u64::from(found),
            });
        }
    }
    Ok(())
}

/// One instance for all devices of the process: wgpu tells buffers of another device apart only
/// within one instance.
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
        })
    })
}

async fn best_adapter() -> Result<wgpu::Adapter> {
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    let instance = instance();
    let wanted = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default().to_lowercase();
    let mut rejected = Vec::new();
    let mut best: Option<(u32, wgpu::Adapter)> = None;
    for adapter in instance.enumerate_adapters(backends).await {
        let info = adapter.get_info();
        if !info.name.to_lowercase().contains(&wanted) {
            rejected.push(format!("{} is not named like \"{wanted}\"", info.name));
            continue;
        }
        let rank = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 4,
            wgpu::DeviceType::IntegratedGpu => 3,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Cpu => 1,
            wgpu::DeviceType::Other => 0,
        };
        if best.as_ref().is_none_or(|(best_rank, _)| rank > *best_rank) {
            best = Some((rank, adapter));
        }
    }
    best.map(|(_, adapter)| adapter).ok_or_else(|| Error::NoAdapter {
        found: if rejected.is_empty() {
            format!("none for the backends {backends:?}")
        } else {
            rejected.join("; ")
        },
    })
}
