//! [`Gpu`]: one device and its queue, ours or the user's.

mod adapter;
#[cfg(target_family = "wasm")]
mod late;
mod limits;
mod pipelines;
mod read;
mod timer;
mod tuning;

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use adapter::adapter_of_rank;
use adapter::best_adapter;
pub(crate) use limits::DeviceLimits;
use pipelines::Pipelines;
#[cfg(test)]
pub(crate) use pipelines::overrides;
pub(crate) use pipelines::{group_layout, vectors_layout};
#[cfg(not(target_family = "wasm"))]
pub(crate) use read::block_on;
pub(crate) use read::{PendingRead, Wait};
pub use timer::KernelTime;
pub(crate) use timer::Timer;
pub use tuning::Tuning;
pub(crate) use tuning::{WORKGROUP_SIZE, WORKGROUPS};

/// How long a queue may take to tell its device that it has finished nothing.
#[cfg(not(target_family = "wasm"))]
const ANSWER: std::time::Duration = std::time::Duration::from_secs(1);

/// A device, its queue, and what the kernels need to know about them.
///
/// Cloning is cheap and gives another handle to the same device. Kernels are compiled once per device and kept as
/// long as a handle is: optimizers made with one `Gpu`, its clones and its tunings share them.
///
/// In a browser the device answers late. If it refuses work or memory, a later call returns the error before it does
/// anything, at the latest the next one that reads. It may be a call of another optimizer of this `Gpu`.
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
    tuning: Tuning,
    /// The driver's pipeline cache, if it has one.
    pipeline_cache: Option<wgpu::PipelineCache>,
    pipelines: Arc<Pipelines>,
    lost: Arc<OnceLock<String>>,
    /// What a browser has yet to say about earlier work.
    #[cfg(target_family = "wasm")]
    late: late::Reports,
}

impl Gpu {
    /// Opens the best adapter: discrete before integrated before virtual before software.
    ///
    /// The environment variables `WGPU_BACKEND` (`vulkan`, `metal`, `dx12`) and `WGPU_ADAPTER_NAME` (part of
    /// the adapter's name, case ignored) narrow the choice. The device gets all of the adapter's limits, and
    /// those of its features that the kernels can use: subgroups, timestamps and the pipeline cache.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::LimitTooSmall`] or [`Error::NoDevice`]; [`Error::InvalidConfig`] for a value of
    /// `WGPU_BACKEND` that names no backend.
    #[cfg(not(target_family = "wasm"))]
    pub fn new() -> Result<Self> {
        block_on(Self::new_async())
    }

    /// The asynchronous twin of [`Gpu::new`]. In a browser it opens the high-performance adapter.
    ///
    /// # Errors
    /// The same as for [`Gpu::new`].
    pub async fn new_async() -> Result<Self> {
        Self::open(best_adapter().await?).await
    }

    /// Opens one of several GPUs that are alike, for ranks that train together ([`Optimizer::data_parallel`]): those with the
    /// name, driver and backend of the one that [`Gpu::new`] opens, in the order in which the driver lists them. The rank
    /// `rank` of a machine ([`Collective::local_rank`]) has number `rank` of them, counted round and round. `WGPU_BACKEND` and
    /// `WGPU_ADAPTER_NAME` narrow the choice as they do there.
    ///
    /// [`Optimizer::data_parallel`]: crate::Optimizer::data_parallel
    /// [`Collective::local_rank`]: crate::Collective::local_rank
    ///
    /// # Errors
    /// The same as for [`Gpu::new`].
    #[cfg(not(target_family = "wasm"))]
    pub fn for_rank(rank: u32) -> Result<Self> {
        block_on(Self::for_rank_async(rank))
    }

    /// The asynchronous twin of [`Gpu::for_rank`].
    ///
    /// # Errors
    /// The same as for [`Gpu::new`].
    #[cfg(not(target_family = "wasm"))]
    pub async fn for_rank_async(rank: u32) -> Result<Self> {
        Self::open(adapter_of_rank(rank).await?).await
    }

    async fn open(adapter: wgpu::Adapter) -> Result<Self> {
        let info = adapter.get_info();
        DeviceLimits::of(&adapter.limits()).check(WORKGROUP_SIZE)?;
        let wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::PIPELINE_CACHE;
        // A browser wants `enable subgroups;` at the head of such a shader, which naga does not know.
        #[cfg(not(target_family = "wasm"))]
        let wanted = wanted | wgpu::Features::SUBGROUP;
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

    /// Wraps the user's own device and the queue that came with it. Waits for what was submitted there, but not in a
    /// browser.
    ///
    /// The callbacks of the device are the user's, and this leaves them alone. So the loss of the device is noticed only when
    /// it refuses work, or in a browser by the next call that reads; see [`Error::DeviceLost`].
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] if the device was requested with limits that every kernel exceeds (workgroups
    /// of 256 threads, 12 KiB of workgroup memory). What a configuration needs in addition is checked when an
    /// optimizer is made. [`Error::Foreign`] for the queue of another device; [`Error::DeviceLost`].
    pub fn wrap(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        DeviceLimits::of(&device.limits()).check(WORKGROUP_SIZE)?;
        let info = device.adapter_info();
        // Browsers seldom name it.
        let name = if info.name.is_empty() { "an unnamed adapter" } else { &info.name };
        let name = format!("{name} ({:?}, {:?})", info.device_type, info.backend);
        let pipeline_cache = pipeline_cache(&device);
        let tuning = Tuning::of(info.device_type);
        let pipelines = Arc::default();
        let lost = Arc::default();
        let gpu = Self {
            device,
            queue,
            name,
            tuning,
            pipeline_cache,
            pipelines,
            lost,
            #[cfg(target_family = "wasm")]
            late: Default::default(),
        };
        gpu.check_alive()?;
        // In a browser a device has but one queue.
        #[cfg(not(target_family = "wasm"))]
        gpu.check_queue()?;
        Ok(gpu)
    }

    /// Checks that the queue is that of the device: what a queue refuses, its own device reports; but that also tells its own
    /// device when it has finished.
    #[cfg(not(target_family = "wasm"))]
    fn check_queue(&self) -> Result<()> {
        use std::sync::atomic::{AtomicBool, Ordering};
        let finished = Arc::new(AtomicBool::new(false));
        self.queue.submit([]);
        self.queue.on_submitted_work_done({
            let finished = Arc::clone(&finished);
            move || finished.store(true, Ordering::Release)
        });
        let began = std::time::Instant::now();
        loop {
            self.wait()?;
            if finished.load(Ordering::Acquire) {
                return Ok(());
            }
            if began.elapsed() > ANSWER {
                return Err(Error::Foreign { what: "the queue".into(), owner: "device" });
            }
            // Another thread that polls may not have reached the callback yet.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue on which every step is submitted.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Name, kind and backend of the adapter, in readable form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limits that plans depend on.
    pub(crate) fn limits(&self) -> DeviceLimits {
        DeviceLimits::of(&self.device.limits())
    }

    /// Allocates a zeroed buffer; if the device refuses, that is an error, not a panic.
    pub(crate) fn allocate(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        self.limits().check_buffer(bytes)?;
        self.check_late()?;
        let refused = Error::OutOfMemory { what: what.to_owned(), bytes };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        self.close(scope, move |_| refused)?;
        // A lost device gives an invalid buffer, and wgpu panics on a write into that.
        self.check_alive().map(|()| buffer)
    }

    /// Runs `work` and turns a validation error of wgpu into [`Error::Rejected`].
    pub(crate) fn validated<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Result<T> {
        self.check_late()?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        self.close(scope, move |error| Error::rejected(what, error))?;
        self.check_lost().map(|()| value)
    }

    /// Ends an error scope: `error` says what one of wgpu means.
    #[cfg(not(target_family = "wasm"))]
    fn close(
        &self,
        scope: wgpu::ErrorScopeGuard,
        error: impl FnOnce(wgpu::Error) -> Error,
    ) -> Result<()> {
        match block_on(scope.pop()) {
            Some(found) => {
                self.check_alive()?;
                Err(error(found))
            }
            None => Ok(()),
        }
    }

    /// The same in a browser, which tells later: the error is that of a later call.
    #[cfg(target_family = "wasm")]
    fn close(
        &self,
        scope: wgpu::ErrorScopeGuard,
        error: impl FnOnce(wgpu::Error) -> Error + 'static,
    ) -> Result<()> {
        self.late.add(scope, error);
        Ok(())
    }

    /// Checks that the device is still there; never waits.
    ///
    /// wgpu reports a lost device to its one callback only. That callback is the user's if the device is, and
    /// after a `destroy` it does not run before a wait. But whatever is made on a lost device is invalid, and
    /// an invalid buffer cannot be mapped.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.check_lost()?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("liveness check"),
            size: wgpu::COPY_BUFFER_ALIGNMENT,
            // Vulkan has no buffer without a usage.
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        let invalid = buffer.get_mapped_range_mut(..).is_err();
        let exhausted = block_on(scope.pop()).is_some();
        if invalid && !exhausted {
            return Err(self.lost_error("it refuses all work"));
        }
        Ok(())
    }

    /// Checks that nothing is known of a loss of the device: a browser tells what it has lost.
    #[cfg(target_family = "wasm")]
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.check_lost()
    }

    /// Finishes and submits `encoder`.
    pub(crate) fn submit(
        &self,
        what: &'static str,
        encoder: wgpu::CommandEncoder,
    ) -> Result<wgpu::SubmissionIndex> {
        self.validated(what, || self.queue.submit([encoder.finish()]))
    }

    /// Submits what is recorded in `encoder` so far and goes on with an empty one.
    pub(crate) fn flush(
        &self,
        what: &'static str,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<wgpu::SubmissionIndex> {
        // While nothing is taken from the encoder.
        self.check_late()?;
        let recorded = std::mem::replace(encoder, self.encoder(what));
        self.submit(what, recorded)
    }

    /// An empty command encoder.
    pub(crate) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    /// Blocks until everything submitted so far has finished.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn wait(&self) -> Result<()> {
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| self.lost_error(&error.to_string()))?;
        self.check_lost()
    }

    /// Blocks until this submission has finished, so that the host is not far ahead; in a browser nothing can.
    #[cfg_attr(target_family = "wasm", expect(unused_variables, reason = "nothing is waited for"))]
    pub(crate) fn keep_pace(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        #[cfg(not(target_family = "wasm"))]
        self.device
            .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
            .map_err(|error| self.lost_error(&error.to_string()))?;
        self.check_lost()
    }

    /// Lets callbacks run for what has finished; never waits.
    pub(crate) fn poll(&self) -> Result<()> {
        self.check_late()?;
        self.device
            .poll(wgpu::PollType::Poll)
            .map_err(|error| self.lost_error(&error.to_string()))?;
        self.check_lost()
    }

    /// Returns what a browser has said of earlier work, before there is more of it that could be in doubt.
    fn check_late(&self) -> Result<()> {
        #[cfg(target_family = "wasm")]
        self.late.check()?;
        Ok(())
    }

    /// Lets a browser answer now and then, and returns what it says.
    #[cfg_attr(not(target_family = "wasm"), expect(clippy::unused_async, reason = "nothing waits"))]
    pub(crate) async fn let_browser_answer(&self) -> Result<()> {
        #[cfg(target_family = "wasm")]
        self.late.keep_pace().await?;
        Ok(())
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
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSlice {
    /// The buffer; clones share it.
    pub buffer: wgpu::Buffer,
    /// First byte; a multiple of the device's `min_storage_buffer_offset_alignment`.
    pub offset: u64,
    /// Number of bytes; at least 4 times [`Layout::padded_len`](crate::Layout::padded_len), or 2 times for an orientation
    /// in bf16.
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
