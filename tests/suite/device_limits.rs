//! What a device cannot do is an error that names the limit, when the optimizer is made; what a configuration does
//! not use does not count.

use crate::common::*;
use dimer::{
    Buffers, Config, Dimer, Error, Layout, Optimizer, Rotation, RotationRate, Schedule, Scope,
    Spectrum, Storage,
};

fn configs() -> Vec<(&'static str, Config)> {
    let with = |dimer| Config { dimer: Some(dimer), ..fixed_rate() };
    let event = || Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    let scope = |scope| with(Dimer { rotation: by_gradient, scope, ..event() });
    vec![
        ("the base alone", Config { dimer: None, ..fixed_rate() }),
        ("unguarded", Config { dimer: None, skip_non_finite: false, ..fixed_rate() }),
        ("the default", with(event())),
        ("bf16", Config { storage: Storage::Bf16, ..with(event()) }),
        ("by gradient", scope(Scope::Global)),
        ("groups", scope(Scope::PerGroup)),
        ("tensors", scope(Scope::PerTensor)),
    ]
}

fn layout() -> Layout {
    let mut builder = Layout::builder();
    builder.tensor("a", &[100, 100]).tensor("b", &[7]);
    builder.build().unwrap()
}

const LEN: usize = 10_007;

/// Every limit that a kernel can meet, set to `value`.
fn lowered(limit: &str, value: u64, limits: wgpu::Limits) -> wgpu::Limits {
    let small = value as u32;
    let mut limits = limits;
    match limit {
        "max_bind_groups" => limits.max_bind_groups = small,
        "max_bindings_per_bind_group" => limits.max_bindings_per_bind_group = small,
        "max_dynamic_uniform_buffers_per_pipeline_layout" => {
            limits.max_dynamic_uniform_buffers_per_pipeline_layout = small;
        }
        "max_storage_buffers_per_shader_stage" => {
            limits.max_storage_buffers_per_shader_stage = small;
        }
        "max_uniform_buffers_per_shader_stage" => {
            limits.max_uniform_buffers_per_shader_stage = small;
        }
        "max_uniform_buffer_binding_size" => limits.max_uniform_buffer_binding_size = value,
        "max_storage_buffer_binding_size" => limits.max_storage_buffer_binding_size = value,
        "max_buffer_size" => limits.max_buffer_size = value,
        "max_compute_workgroups_per_dimension" => {
            limits.max_compute_workgroups_per_dimension = small;
        }
        "max_compute_workgroup_storage_size" => limits.max_compute_workgroup_storage_size = small,
        "max_compute_invocations_per_workgroup" => {
            limits.max_compute_invocations_per_workgroup = small;
        }
        "max_compute_workgroup_size_x" => limits.max_compute_workgroup_size_x = small,
        "max_compute_workgroup_size_y" => limits.max_compute_workgroup_size_y = small,
        "max_compute_workgroup_size_z" => limits.max_compute_workgroup_size_z = small,
        other => panic!("{other}"),
    }
    limits
}

/// Values around what is needed, the smallest first.
const LOWERED: &[(&str, &[u64])] = &[
    ("max_bind_groups", &[1, 2, 3]),
    ("max_bindings_per_bind_group", &[1, 3, 6, 8, 9, 10, 12]),
    ("max_dynamic_uniform_buffers_per_pipeline_layout", &[0, 1, 2]),
    ("max_storage_buffers_per_shader_stage", &[3, 4, 6, 8, 9, 10]),
    ("max_uniform_buffers_per_shader_stage", &[1, 2, 3, 4]),
    ("max_uniform_buffer_binding_size", &[1 << 10, 12 << 10, 16 << 10]),
    ("max_storage_buffer_binding_size", &[1 << 10, 64 << 10, 115_103, 128 << 10, 192 << 10]),
    ("max_buffer_size", &[1 << 10, 64 << 10, 115_103, 128 << 10, 192 << 10]),
    ("max_compute_workgroups_per_dimension", &[0, 1, 2, 3, 64]),
    ("max_compute_workgroup_storage_size", &[4 << 10, 12 << 10]),
    ("max_compute_invocations_per_workgroup", &[128, 256]),
    ("max_compute_workgroup_size_x", &[128, 256]),
    ("max_compute_workgroup_size_y", &[0, 1]),
    ("max_compute_workgroup_size_z", &[0, 1]),
];

/// A device with one limit lowered; an adapter refuses some values.
fn device(limit: &str, value: u64) -> Option<(wgpu::Device, wgpu::Queue)> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    let required_limits = lowered(limit, value, adapter.limits());
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).ok()
}

/// One limit of a device is lowered, and each configuration says so at once, or it works.
#[test]
fn every_limit_is_named_or_enough() {
    for &(limit, values) in LOWERED {
        let mut outcomes = Vec::new();
        for &value in values {
            let Some((device, queue)) = device(limit, value) else { continue };
            let named = |error: Error| match error {
                Error::LimitTooSmall { limit: found, needed, found: has, .. } => {
                    assert!(found == limit, "{limit} {value}: {found} is named");
                    assert!(has == value && needed > value, "{limit} {value}: {needed} {has}");
                }
                other => panic!("{limit} {value}: {other}"),
            };
            let gpu = match dimer::Gpu::wrap(device, queue) {
                Ok(gpu) => gpu,
                Err(error) => {
                    named(error);
                    outcomes.push(false);
                    continue;
                }
            };
            for (what, config) in configs() {
                println!("{limit} {value} {what}");
                let made = Optimizer::new(&gpu, layout(), config, &[0.5; LEN]);
                outcomes.push(made.is_ok());
                match made {
                    Ok(mut optimizer) => {
                        let mut objective = quadratic(vec![-1.0; LEN]);
                        for _ in 0..2 {
                            optimizer.step(&mut objective).unwrap();
                        }
                        assert_eq!(optimizer.telemetry().unwrap().len(), 2);
                        if what != "the default" {
                            continue;
                        }
                        optimizer = {
                            let dimer = Dimer {
                                displacement: dimer::Displacement::Absolute(1.0),
                                ..Dimer::default()
                            };
                            let config = Config { dimer: Some(dimer), ..fixed_rate() };
                            Optimizer::new(&gpu, layout(), config, &[0.5; LEN]).unwrap()
                        };
                        match Spectrum::new(&mut optimizer, 2, 0) {
                            Ok(mut spectrum) => {
                                spectrum.rotate(&mut objective, 1).unwrap();
                                spectrum.read().unwrap();
                            }
                            Err(error) => named(error),
                        }
                    }
                    Err(error) => named(error),
                }
            }
        }
        println!("{limit}: {outcomes:?}");
        assert!(outcomes.last().is_none_or(|&works| works), "{limit}: the largest value works");
    }
}

/// Bases and global rotations work with the limits that every WebGPU device has; several dimers say what they lack.
#[test]
fn the_default_limits_are_enough_for_one_dimer() {
    let gpu = gpu_with(|_| wgpu::Limits::default());
    for (what, config) in configs() {
        match Optimizer::new(&gpu, layout(), config, &[0.5; LEN]) {
            Ok(mut optimizer) => optimizer.step(&mut quadratic(vec![-1.0; LEN])).unwrap(),
            Err(error) => {
                assert!(matches!(what, "groups" | "tensors"), "{what}: {error}");
                let is_named = matches!(
                    error,
                    Error::LimitTooSmall {
                        limit: "max_storage_buffers_per_shader_stage",
                        needed: 9..=10,
                        found: 8,
                        ..
                    }
                );
                assert!(is_named, "{error}");
            }
        }
    }
}

/// The workspace of a rotation is as long as memory allows: here it is several times the largest buffer.
#[test]
fn the_workspace_may_exceed_the_largest_buffer() {
    const LEN: usize = 300_000;
    let bytes = 4 * LEN.next_multiple_of(64) as u64;
    let gpu = gpu_with(|limits| wgpu::Limits {
        max_buffer_size: bytes,
        max_storage_buffer_binding_size: bytes,
        ..limits
    });
    let h: Vec<f32> = (0..LEN).map(|i| (i % 7) as f32 - 3.0).collect();
    let dimer = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
    let config = Config { dimer: Some(dimer), ..fixed_rate() };
    let theta = |gpu| {
        let mut optimizer =
            Optimizer::new(gpu, Layout::flat(LEN).unwrap(), config.clone(), &[0.5; LEN]).unwrap();
        for _ in 0..3 {
            optimizer.step(&mut quadratic(h.clone())).unwrap();
        }
        state(&optimizer)
    };
    assert!(theta(&gpu) == theta(&crate::common::gpu()), "the bits do not depend on limits");
}

/// A layout beyond every limit is refused before anything of its length is made.
#[test]
fn three_thousand_million_parameters_are_refused_at_once() {
    let gpu = gpu();
    let began = std::time::Instant::now();
    for (_, config) in configs() {
        let layout = Layout::flat(3_000_000_000).unwrap();
        let error = Optimizer::with_buffers(&gpu, layout, config, Buffers::default()).unwrap_err();
        let is_named = matches!(
            error,
            Error::LimitTooSmall { limit: "max_buffer_size", needed: 12_000_000_000, .. }
        );
        assert!(is_named, "{error}");
    }
    let took = began.elapsed();
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
}

/// The queue of another device is recognised before anything is written with it.
#[test]
fn a_foreign_queue_is_refused() {
    let devices = || {
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
        let request = || pollster::block_on(adapter.request_device(&Default::default()));
        [request().unwrap(), request().unwrap()]
    };
    let [(device, queue), (_, other)] = devices();
    let error = dimer::Gpu::wrap(device.clone(), other).unwrap_err();
    assert!(matches!(error, Error::Foreign { owner: "device", .. }), "{error}");
    dimer::Gpu::wrap(device, queue).unwrap();
}
