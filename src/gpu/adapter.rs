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
    Ok(best_adapters().await?.swap_remove(0))
}

/// The adapter that `Gpu::for_rank` opens.
#[cfg(not(target_family = "wasm"))]
pub(super) async fn adapter_of_rank(rank: u32) -> Result<wgpu::Adapter> {
    let mut adapters = best_adapters().await?;
    let index = rank as usize % adapters.len();
    Ok(adapters.swap_remove(index))
}

/// At least one adapter: all that are of the best kind, and of one backend, since several list the same GPU.
#[cfg(not(target_family = "wasm"))]
async fn best_adapters() -> Result<Vec<wgpu::Adapter>> {
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    if !wgpu::Backends::PRIMARY.intersects(backends) {
        return Err(Error::InvalidConfig {
            field: "WGPU_BACKEND",
            value: std::env::var("WGPU_BACKEND").unwrap_or_default(),
            expected: "vulkan, metal or dx12, or several of them with commas between",
        });
    }
    let wanted = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default().to_lowercase();
    let mut rejected = Vec::new();
    let mut best = (0, None);
    let mut adapters = Vec::new();
    for adapter in instance().enumerate_adapters(backends).await {
        let info = adapter.get_info();
        if !info.name.to_lowercase().contains(&wanted) {
            rejected.push(format!("{} does not have \"{wanted}\" in its name", info.name));
            continue;
        }
        let worth = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 4,
            wgpu::DeviceType::IntegratedGpu => 3,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Cpu => 1,
            wgpu::DeviceType::Other => 0,
        };
        let kind = (worth, Some(info.backend));
        if best.1.is_none() || worth > best.0 {
            best = kind;
            adapters.clear();
        }
        if kind == best {
            adapters.push(adapter);
        }
    }
    if adapters.is_empty() {
        return Err(Error::NoAdapter {
            found: if rejected.is_empty() {
                format!("none for the backends {backends:?}")
            } else {
                rejected.join("; ")
            },
        });
    }
    Ok(adapters)
}
