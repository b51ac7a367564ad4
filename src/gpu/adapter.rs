//! Which adapter is opened, and what it must be able to do.

use std::sync::OnceLock;

use super::tuning::STORAGE_PER_THREAD;
use crate::error::{Error, Result};

/// Storage buffers that the widest kernel binds.
const STORAGE_BUFFERS: u32 = 8;

/// Whether the kernels can run on a device of these limits, in workgroups of so many threads.
pub(super) fn check_limits(limits: &wgpu::Limits, workgroup_size: u32) -> Result<()> {
    let checks = [
        (
            "max_storage_buffers_per_shader_stage",
            STORAGE_BUFFERS,
            limits.max_storage_buffers_per_shader_stage,
        ),
        (
            "max_compute_invocations_per_workgroup",
            workgroup_size,
            limits.max_compute_invocations_per_workgroup,
        ),
        ("max_compute_workgroup_size_x", workgroup_size, limits.max_compute_workgroup_size_x),
        (
            "max_compute_workgroup_storage_size",
            workgroup_size.saturating_mul(STORAGE_PER_THREAD),
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

/// The adapter that `Gpu::new` opens.
pub(super) async fn best_adapter() -> Result<wgpu::Adapter> {
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
