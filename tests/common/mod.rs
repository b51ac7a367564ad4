//! What the tests share: their devices, and the values that they compute with.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod checkpoints;
mod values;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use dimer::{Config, Gpu, GpuSlice, HostObjective, Layout, Optimizer, Threads};

pub use values::*;

/// The device of this test: one of as many as tests run at once, so that none waits for another's work, and all
/// find their kernels compiled. Without an adapter the test fails and says what to install.
pub fn gpu() -> Gpu {
    static GPUS: OnceLock<Vec<OnceLock<Gpu>>> = OnceLock::new();
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static TEST: usize = TESTS.fetch_add(1, Ordering::Relaxed);
    }
    let gpus = GPUS.get_or_init(|| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).map(|_| OnceLock::new()).collect()
    });
    let gpu = &gpus[TEST.with(|test| test % gpus.len())];
    gpu.get_or_init(|| Gpu::new().unwrap_or_else(|error| panic!("{error}"))).clone()
}

/// The same with the smallest workgroups: on a software renderer a step of a short vector takes half the time.
/// For what is said of a method, whatever the order of its sums.
pub fn quick_gpu() -> Gpu {
    let gpu = gpu();
    gpu.with_tuning(gpu.tuning().with_workgroup_size(32)).expect("a tuning")
}

/// A device of its own, requested with limits made from those of its adapter.
pub fn gpu_with(limits: impl FnOnce(wgpu::Limits) -> wgpu::Limits) -> Gpu {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))
        .expect("an adapter; see Error::NoAdapter");
    let required_limits = limits(adapter.limits());
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Gpu::wrap(device, queue).unwrap()
}

/// Bytes of a binding of [`small_gpu`]: hardly more than its scalars take.
pub const SMALL_BINDING: u64 = 160 * 1024;

/// A device whose bindings are small, so that longer vectors are sharded.
pub fn small_gpu() -> Gpu {
    gpu_with(|limits| wgpu::Limits { max_storage_buffer_binding_size: SMALL_BINDING, ..limits })
}

/// An optimizer over one flat tensor.
pub fn flat(config: Config, params: &[f32]) -> Optimizer {
    let layout = Layout::flat(params.len()).expect("a layout");
    Optimizer::new(&gpu(), layout, config, params).expect("an optimizer")
}

/// The quadratic ½ Σ hᵢ θᵢ², on the host.
pub fn quadratic(h: Vec<f32>) -> HostObjective<impl FnMut(&[f32], &mut [f32]) -> f32> {
    HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
        let mut loss = 0.0;
        for ((g, x), h) in gradient.iter_mut().zip(params).zip(&h) {
            *g = h * x;
            loss += 0.5 * h * x * x;
        }
        loss
    })
}

/// A thread for each rank; what they return, in order.
pub fn on_ranks<T: Send>(size: u32, work: impl Fn(Threads) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let ranks = Threads::group(size).unwrap().into_iter();
        let ranks: Vec<_> = ranks.map(|rank| scope.spawn(move || work(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    })
}

/// A vector as it lies on the GPU, padding and all.
pub fn read_slice(optimizer: &Optimizer, slice: &GpuSlice) -> Vec<f32> {
    read_from(optimizer.gpu(), slice)
}

/// The same while a step borrows the optimizer.
pub fn read_from(gpu: &Gpu, slice: &GpuSlice) -> Vec<f32> {
    let (device, queue) = (gpu.device(), gpu.queue());
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: slice.size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, &staging, 0, slice.size);
    let (sender, receiver) = std::sync::mpsc::channel();
    encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |mapped| {
        sender.send(mapped).unwrap();
    });
    queue.submit([encoder.finish()]);
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    receiver.recv().unwrap().unwrap();
    bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
}

/// Objects and bytes of a device, by wgpu's own count.
pub fn counted(gpu: &Gpu) -> [isize; 8] {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let counters = gpu.device().get_internal_counters().hal;
    [
        counters.buffers.read(),
        counters.bind_groups.read(),
        counters.bind_group_layouts.read(),
        counters.pipeline_layouts.read(),
        counters.compute_pipelines.read(),
        counters.shader_modules.read(),
        counters.query_sets.read(),
        counters.buffer_memory.read(),
    ]
}

/// The bits of θ and N.
pub fn state(optimizer: &Optimizer) -> (Vec<u32>, Vec<u32>) {
    let n = optimizer.read_orientation().unwrap().unwrap_or_default();
    (bits(&optimizer.read_params().unwrap()), bits(&n))
}

/// Runs `body` in a process that runs nothing else, for what is measured of a whole process. `test` is the path
/// of the test that calls it.
pub fn alone(test: &str, body: impl FnOnce()) {
    const ALONE: &str = "DIMER_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in its process");
}
