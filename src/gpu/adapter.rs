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

/// At least one adapter: the best, and those that have its name, driver and backend.
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
    let mut adapters: Vec<wgpu::Adapter> = Vec::new();
    for adapter in instance().enumerate_adapters(backends).await {
        let info = adapter.get_info();
        if !info.name.to_lowercase().contains(&wanted) {
            rejected.push(format!("{} does not have \"{wanted}\" in its name", info.name));
            continue;
        }
        match adapters.first().map(wgpu::Adapter::get_info) {
            Some(best) if worth(&info) > worth(&best) => adapters = vec![adapter],
            Some(best) if is_alike(&info, &best) && !is_listed(&info, &adapters) => {
                adapters.push(adapter);
            }
            Some(_) => {}
            None => adapters.push(adapter),
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

/// Discrete before integrated before virtual before software.
#[cfg(not(target_family = "wasm"))]
fn worth(info: &wgpu::AdapterInfo) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 4,
        wgpu::DeviceType::IntegratedGpu => 3,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Cpu => 1,
        wgpu::DeviceType::Other => 0,
    }
}

/// Whether a GPU is among `adapters`: a driver that is installed twice lists each twice.
#[cfg(not(target_family = "wasm"))]
fn is_listed(info: &wgpu::AdapterInfo, adapters: &[wgpu::Adapter]) -> bool {
    let place = &info.device_pci_bus_id;
    !place.is_empty() && adapters.iter().any(|other| other.get_info().device_pci_bus_id == *place)
}

/// Whether two adapters round alike: other drivers, and other backends, may list the same GPU again.
#[cfg(not(target_family = "wasm"))]
fn is_alike(a: &wgpu::AdapterInfo, b: &wgpu::AdapterInfo) -> bool {
    let kind = |info: &wgpu::AdapterInfo| {
        let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = info.clone();
        (name, driver, driver_info, backend)
    };
    kind(a) == kind(b)
}
