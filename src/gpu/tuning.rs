//! [`Tuning`]: how work is spread over a device.

use super::{DeviceLimits, Gpu};
use crate::error::{Error, Result};
use crate::kernels::gpu_types::MAX_WORKGROUPS;

/// Threads of one workgroup, unless tuned.
pub(crate) const WORKGROUP_SIZE: u32 = 256;

/// Most workgroups of one dispatch, unless tuned.
pub(crate) const WORKGROUPS: u32 = 256;

/// The same where a device has memory of its own: as many as fill a large one, such as an H100, whose 132
/// multiprocessors have room for 2048 threads each.
const WORKGROUPS_DISCRETE: u32 = 1024;

/// The same on a software renderer, where each workgroup with a barrier costs about ten microseconds.
const WORKGROUPS_CPU: u32 = 32;

/// Tiles whose sums are read again by every workgroup, unless tuned. With 1024 of them a dispatch that adds them before
/// takes 10 µs on an H200, and saves as much in the update.
const REREAD_TILES: u32 = 512;

/// Threads of one stream on a software renderer.
const STREAM_WIDTH_CPU: u32 = 8;

/// Fewest threads of one stream; fewer would load less than a cache line at once.
const MIN_STREAM_WIDTH: u32 = 4;

/// Fewest threads of one workgroup: what the smallest reduction needs.
const MIN_WORKGROUP_SIZE: u32 = 32;

/// How the kernels spread their work over a device; part of a [`Gpu`].
///
/// The bits of a result depend on it, since it sets the order of sums: to get the same bits again, take the
/// same tuning. The tuning of a new [`Gpu`] depends on the kind of device alone. [`Tuning::measure`] finds a
/// faster one for this device, and [`Tuning::cached`] keeps it in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tuning {
    /// Threads of one workgroup: a power of two, from 32 to what the device can do; default 256.
    pub workgroup_size: u32,
    /// Most workgroups of one dispatch, from 1 to 2048; default 256, or 1024 on a GPU with its own memory, or 32 on a
    /// software renderer. Each takes at least 4096 elements.
    pub workgroups: u32,
    /// Threads that walk consecutive memory together: a power of two, from 4 to `workgroup_size`; default the whole
    /// workgroup, or 8 on a software renderer. Dimers for each tensor or group have streams of 4 threads, whatever this
    /// is.
    #[serde(default = "width_of_old_files")]
    pub stream_width: u32,
    /// Up to so many workgroups of a reduction, every workgroup of the next kernel adds the sums of all of them for
    /// itself, from the cache: 48 bytes each. With more, one workgroup does so in a dispatch before. From 0 to 2048,
    /// default 512. It changes no bit of a result.
    #[serde(default = "reread_tiles")]
    pub reread_tiles: u32,
    /// Whether sums use the subgroups of the hardware; needs [`wgpu::Features::SUBGROUP`]; default false.
    pub subgroups: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            workgroup_size: WORKGROUP_SIZE,
            workgroups: WORKGROUPS,
            stream_width: WORKGROUP_SIZE,
            reread_tiles: REREAD_TILES,
            subgroups: false,
        }
    }
}

/// That of all tunings before it was a setting.
fn width_of_old_files() -> u32 {
    8
}

fn reread_tiles() -> u32 {
    REREAD_TILES
}

impl Tuning {
    /// The tuning of a new device, before anything is measured.
    pub(crate) fn of(kind: wgpu::DeviceType) -> Self {
        let gpu = Self::default();
        match kind {
            wgpu::DeviceType::Cpu => {
                Self { workgroups: WORKGROUPS_CPU, stream_width: STREAM_WIDTH_CPU, ..gpu }
            }
            // A virtual GPU is most often a share of a discrete one.
            wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::VirtualGpu => {
                Self { workgroups: WORKGROUPS_DISCRETE, ..gpu }
            }
            wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::Other => gpu,
        }
    }

    /// The same with other workgroups: a stream of the whole workgroup stays one, and none has more threads.
    #[must_use]
    pub fn with_workgroup_size(self, workgroup_size: u32) -> Self {
        let stream_width = if self.stream_width == self.workgroup_size {
            workgroup_size
        } else {
            self.stream_width.min(workgroup_size)
        };
        Self { workgroup_size, stream_width, ..self }
    }

    pub(super) fn check(self, device: &wgpu::Device) -> Result<()> {
        let invalid =
            |field, value: String, expected| Err(Error::InvalidConfig { field, value, expected });
        let size = self.workgroup_size;
        if !size.is_power_of_two() || size < MIN_WORKGROUP_SIZE {
            let expected = "a power of two, at least 32";
            return invalid("tuning.workgroup_size", size.to_string(), expected);
        }
        if !(1..=MAX_WORKGROUPS).contains(&self.workgroups) {
            let expected = "from 1 to 2048";
            return invalid("tuning.workgroups", self.workgroups.to_string(), expected);
        }
        if self.reread_tiles > MAX_WORKGROUPS {
            let expected = "from 0 to 2048";
            return invalid("tuning.reread_tiles", self.reread_tiles.to_string(), expected);
        }
        let width = self.stream_width;
        if !width.is_power_of_two() || !(MIN_STREAM_WIDTH..=size).contains(&width) {
            let expected = "a power of two, from 4 to the workgroup size";
            return invalid("tuning.stream_width", width.to_string(), expected);
        }
        // A browser wants `enable subgroups;` at the head of such a shader, which naga does not know.
        let has_subgroups = device.features().contains(wgpu::Features::SUBGROUP);
        if self.subgroups && (cfg!(target_family = "wasm") || !has_subgroups) {
            let expected =
                "false in a browser, and unless the device was requested with Features::SUBGROUP";
            return invalid("tuning.subgroups", "true".into(), expected);
        }
        DeviceLimits::of(&device.limits()).check(size)
    }
}

impl Gpu {
    /// How kernels are spread over this device.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The same device with another tuning, for the optimizers made with it from now on.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] or [`Error::LimitTooSmall`] for what the device cannot do.
    pub fn with_tuning(&self, tuning: Tuning) -> Result<Self> {
        tuning.check(&self.device)?;
        Ok(Self { tuning, ..self.clone() })
    }
}
