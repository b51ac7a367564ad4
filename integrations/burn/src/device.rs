//! [`DimerDevice`]: where a module lives and where its optimizer runs.

use std::sync::OnceLock;

use burn::tensor::Device;
use burn::tensor::wgpu::WgpuSetup;
use dimer::Gpu;

use crate::error::{Result, device};

/// The Burn device of a module together with the GPU on which the optimizer works.
///
/// Where both are one wgpu device, parameters and gradients never leave it. A module on any other
/// Burn device, such as a CPU, is trained through host slices, with the same results within the
/// rounding of its kernels.
#[derive(Clone, Debug)]
pub struct DimerDevice {
    burn: Device,
    gpu: Gpu,
    shared: bool,
}

impl DimerDevice {
    /// Lets Burn open its default wgpu device, and shares it; later calls give the same one.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if there is no adapter, or if Burn has opened this
    /// device before, by using [`Device::default`] for instance: then use
    /// [`DimerDevice::shared`]. [`Error::Dimer`](crate::Error::Dimer) if the kernels cannot run on
    /// it.
    pub fn new() -> Result<Self> {
        static DEVICE: OnceLock<std::result::Result<(Device, WgpuSetup), String>> = OnceLock::new();
        let opened = DEVICE.get_or_init(|| {
            Device::wgpu_options().init_with_setup().map_err(|error| error.to_string())
        });
        let (burn, setup) = opened.as_ref().map_err(device)?;
        Self::shared(burn.clone(), setup)
    }

    /// Shares a wgpu device that is already open: `burn` must be the device that came with `setup`, or
    /// that was registered from it.
    ///
    /// A `setup` of your own needs all features of its adapter that are not experimental, except
    /// `MAPPABLE_PRIMARY_BUFFERS`, and the adapter's limits: Burn chooses its kernels by what the
    /// adapter has, not by what the device was given.
    ///
    /// ```no_run
    /// use burn::tensor::Device;
    /// use dimer_burn::DimerDevice;
    ///
    /// let (burn, setup) = Device::wgpu_options().init_with_setup()?;
    /// let device = DimerDevice::shared(burn, &setup)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimer`](crate::Error::Dimer) if the device's limits are too small for the kernels.
    pub fn shared(burn: Device, setup: &WgpuSetup) -> Result<Self> {
        let gpu = Gpu::wrap(setup.device.clone(), setup.queue.clone())?;
        Ok(Self { burn: burn.autodiff(), gpu, shared: true })
    }

    /// Trains modules of `burn` through host slices: every evaluation copies the parameters there
    /// and the gradient back.
    pub fn host(burn: Device, gpu: &Gpu) -> Self {
        Self { burn: burn.autodiff(), gpu: gpu.clone(), shared: false }
    }

    /// The device to build modules and minibatches on, with autodiff.
    pub fn burn(&self) -> Device {
        self.burn.clone()
    }

    /// The GPU of the optimizer.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether Burn and the optimizer share one wgpu device.
    pub fn is_shared(&self) -> bool {
        self.shared
    }
}
