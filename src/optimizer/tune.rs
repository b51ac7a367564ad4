//! Measuring and keeping a [`Tuning`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Optimizer, file};
use crate::config::{
    Config, Correction, Dimer, Displacement, LearningRate, Rotation, RotationRate, Schedule,
};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Tuning};
use crate::kernels::catalogue::fingerprint;
use crate::kernels::gpu_types::MAX_WORKGROUPS;
use crate::layout::Layout;
use crate::objective::{Evaluation, Objective};

/// What is tried, one setting after the other, starting from the best so far.
const WORKGROUPS: [u32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
const WORKGROUP_SIZES: [u32; 5] = [64, 128, 256, 512, 1024];
const STREAM_WIDTHS: [u32; 4] = [8, 32, 128, 256];
const REREAD_TILES: [u32; 2] = [0, MAX_WORKGROUPS];

/// Fewest and most elements of one measurement.
const LENGTHS: (usize, usize) = (1 << 12, 1 << 24);

/// Rounds of a comparison, in which both settings take turns and of which the fastest counts, and the shortest time
/// that a round takes.
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_millis(20);

/// By how much a setting must be faster than the one before to replace it: less is noise.
const GAIN: f64 = 0.97;

/// An objective that costs nothing.
struct Nothing;

impl Objective for Nothing {
    fn gradient(&mut self, _at: Evaluation<'_>) -> Result<()> {
        Ok(())
    }
}

impl Tuning {
    /// Times steps over about `len` elements (4096 to 2²⁴) with some twenty settings, each in turn with the best before
    /// it, and returns the fastest: by the GPU's own clock where the device has timestamps, else by the host's. Takes
    /// memory for 14 vectors, and a few seconds, most of them for compiling. The device should have nothing else to do.
    ///
    /// What it returns may differ from run to run, and with it the last bits of results; keep it with
    /// [`Tuning::cached`] or with serde.
    ///
    /// ```no_run
    /// use dimer::{Gpu, Tuning};
    ///
    /// let gpu = Gpu::new()?;
    /// let gpu = gpu.with_tuning(Tuning::measure(&gpu, 10_000_000)?)?;
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn measure(gpu: &Gpu, len: usize) -> Result<Self> {
        let len = measured_length(len);
        let mut best = Candidate::new(gpu, Self { subgroups: false, ..*gpu.tuning() }, len)?;
        let mut consider = |change: &dyn Fn(Self) -> Self| -> Result<()> {
            let tuning = change(best.tuning);
            if tuning == best.tuning {
                return Ok(());
            }
            let mut other = match Candidate::new(gpu, tuning, len) {
                Ok(other) => other,
                // More threads, wider streams or subgroups than there can be.
                Err(Error::InvalidConfig { .. } | Error::LimitTooSmall { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut fastest = [f64::INFINITY; 2];
            for _ in 0..ROUNDS {
                for (candidate, fastest) in [&mut best, &mut other].into_iter().zip(&mut fastest) {
                    *fastest = fastest.min(candidate.time()?);
                }
            }
            if fastest[1] < GAIN * fastest[0] {
                best = other;
            }
            Ok(())
        };
        for workgroups in WORKGROUPS {
            consider(&|tuning| Self { workgroups, ..tuning })?;
        }
        for workgroup_size in WORKGROUP_SIZES {
            consider(&|tuning| tuning.with_workgroup_size(workgroup_size))?;
        }
        for stream_width in STREAM_WIDTHS {
            consider(&|tuning| Self { stream_width, ..tuning })?;
        }
        for reread_tiles in REREAD_TILES {
            consider(&|tuning| Self { reread_tiles, ..tuning })?;
        }
        consider(&|tuning| Self { subgroups: true, ..tuning })?;
        Ok(best.tuning)
    }

    /// The tuning that the file at `path` has for this device, driver, order of magnitude of `len` and version of the
    /// kernels, or else the result of [`Tuning::measure`], which is added to the file.
    ///
    /// # Errors
    /// [`Error::TuningCache`] for a file that cannot be written or is not of this kind; otherwise the same as
    /// for [`Tuning::measure`].
    pub fn cached(gpu: &Gpu, len: usize, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        type Source = Box<dyn std::error::Error + Send + Sync>;
        let refuse = |source: Source| Error::TuningCache {
            path: path.to_owned(),
            reason: source.to_string(),
            source: Some(source),
        };
        let mut known: BTreeMap<String, Self> = match file::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| refuse(error.into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(refuse(error.into())),
        };
        let info = gpu.device().adapter_info();
        let len = measured_length(len);
        let (driver, kernels) = (format!("{} {}", info.driver, info.driver_info), fingerprint());
        let key = format!("{}, {driver}, kernels {kernels:08x}, {len} elements", gpu.name());
        if let Some(tuning) = known.get(&key) {
            return Ok(*tuning);
        }
        let tuning = Self::measure(gpu, len)?;
        known.insert(key, tuning);
        let text = serde_json::to_string_pretty(&known).map_err(|error| refuse(error.into()))?;
        file::replace(path, text.as_bytes()).map_err(|error| refuse(error.into()))?;
        Ok(tuning)
    }
}

fn measured_length(len: usize) -> usize {
    len.clamp(LENGTHS.0, LENGTHS.1).next_power_of_two()
}

/// Events with rotation, correction and step, with one tuning.
struct Candidate {
    tuning: Tuning,
    optimizer: Optimizer,
}

impl Candidate {
    fn new(gpu: &Gpu, tuning: Tuning, len: usize) -> Result<Self> {
        let dimer = Dimer {
            rotation: Rotation::gradient(RotationRate::Automatic),
            displacement: Displacement::Absolute(1.0),
            schedule: Schedule::Every(1),
            correction: Correction::EveryStep,
            ..Dimer::default()
        };
        let learning_rate = LearningRate::Fixed(1e-3);
        let config = Config { learning_rate, dimer: Some(dimer), ..Config::default() };
        let gpu = gpu.with_tuning(tuning)?;
        let layout = Layout::flat(len)?;
        let mut optimizer = Optimizer::with_buffers(&gpu, layout, config, Default::default())?;
        match optimizer.time_kernels(true) {
            // Without timestamps, the host's clock counts.
            Ok(()) | Err(Error::Unsupported { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut candidate = Self { tuning, optimizer };
        candidate.step()?;
        Ok(candidate)
    }

    fn step(&mut self) -> Result<()> {
        self.optimizer.step(&mut Nothing)?;
        self.optimizer.gpu().wait()
    }

    /// Seconds that a step takes, in one round.
    fn time(&mut self) -> Result<f64> {
        // What lies before this round does not count.
        self.optimizer.kernel_times()?;
        let (began, mut steps) = (Instant::now(), 0);
        while began.elapsed() < ROUND {
            self.step()?;
            steps += 1;
        }
        let elapsed = began.elapsed().as_secs_f64() / f64::from(steps);
        let times = self.optimizer.kernel_times()?;
        let timed: BTreeSet<u64> = times.iter().map(|time| time.step).collect();
        let nanoseconds: f64 = times.iter().map(|time| time.nanoseconds).sum();
        Ok(if timed.is_empty() { elapsed } else { 1e-9 * nanoseconds / timed.len() as f64 })
    }
}
