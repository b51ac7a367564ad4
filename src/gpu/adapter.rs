//! Which adapter is opened.

use crate::error::{Error, Result};

/// One instance for all devices of the process: wgpu recognises a buffer of another device only within one
/// instance.
#[cfg(not(target_family = "wasm"))]
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: std::sync::OnceLock<wgpu::Instance> = std::sync::OnceLock::new();
    INSTANCE.get_or_init(|| {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
        })
    })
}

/// The adapter that a browser gives: it does not list them.
#[cfg(target_family = "wasm")]
pub(super) async fn best_adapter() -> Result<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::BROWSER_WEBGPU,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    let adapter = instance.request_adapter(&options).await;
    adapter.map_err(|error| Error::NoAdapter { found: error.to_string() })
}

/// The adapter that `Gpu::new` opens.
#[cfg(not(target_family = "wasm"))]
pub(super) async fn best_adapter() -> Result<wgpu::Adapter> {
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    if !wgpu::Backends::PRIMARY.intersects(backends) {
        return Err(Error::InvalidConfig {
            field: "WGPU_BACKEND",
            value: std::env::var("WGPU_BACKEND").unwrap_or_default(),
            expected: "vulkan, metal or dx12, or several of them with commas between",
        });
    }
    let instance = instance();
    let wanted = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default().to_lowercase();
    let mut rejected = Vec::new();
    let mut best: Option<(u32, wgpu::Adapter)> = None;
    for adapter in instance.enumerate_adapters(backends).await {
        let info = adapter.get_info();
        if !info.name.to_lowercase().contains(&wanted) {
            rejected.push(format!("{} does not have \"{wanted}\" in its name", info.name));
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
