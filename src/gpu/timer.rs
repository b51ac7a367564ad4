//! [`Timer`]: how long the GPU takes for each kernel, from timestamps around its dispatches.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{Gpu, GpuSlice};
use crate::error::Result;

/// What a device must have to write timestamps between dispatches.
const FEATURES: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);

/// Most kernels of one recording that are timed; later ones are not.
const KERNELS: u32 = 64;

/// Most recordings whose times wait on the GPU to be read.
const RECORDINGS: u64 = 256;

/// Bytes of the times of one recording: a beginning and an end for each kernel.
const RECORDING_BYTES: u64 = 2 * KERNELS as u64 * wgpu::QUERY_SIZE as u64;

/// How long one kernel of one step took.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct KernelTime {
    /// Index of the step, from 0; for a [`Spectrum`](crate::Spectrum), that of the step that came next.
    pub step: u64,
    /// Name of the kernel: that of its file in `shaders/`, without the ending.
    pub kernel: &'static str,
    /// Nanoseconds on the GPU from its beginning to its end, all shards together.
    pub nanoseconds: f64,
}

/// Timestamps of the last recordings. A recording is what was recorded together: a step, or the rotations of
/// a set of modes.
#[derive(Debug)]
pub(crate) struct Timer {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    times: wgpu::Buffer,
    /// Nanoseconds per tick.
    period: f64,
    /// The kernels of what is being recorded.
    kernels: Mutex<Vec<&'static str>>,
    /// What was recorded and not read yet.
    recordings: VecDeque<Recording>,
    /// How many recordings there have been.
    count: u64,
}

#[derive(Debug)]
struct Recording {
    number: u64,
    step: u64,
    kernels: Vec<&'static str>,
}

impl Timer {
    /// `None` if the device has no timestamps within passes.
    pub(crate) fn new(gpu: &Gpu) -> Result<Option<Self>> {
        if !gpu.device().features().contains(FEATURES) {
            return Ok(None);
        }
        let resolve = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let keep = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let queries = gpu.validated("timestamps", || {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * KERNELS,
            })
        })?;
        Ok(Some(Self {
            queries,
            resolved: gpu.allocate("timestamps", RECORDING_BYTES, resolve)?,
            times: gpu.allocate("times", RECORDINGS * RECORDING_BYTES, keep)?,
            period: f64::from(gpu.queue().get_timestamp_period()),
            kernels: Mutex::default(),
            recordings: VecDeque::new(),
            count: 0,
        }))
    }

    /// Records `dispatch` between two timestamps.
    pub(crate) fn time<T>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        kernel: &'static str,
        dispatch: impl FnOnce(&mut wgpu::ComputePass<'_>) -> T,
    ) -> T {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let first = 2 * kernels.len() as u32;
        if first == 2 * KERNELS {
            return dispatch(pass);
        }
        kernels.push(kernel);
        pass.write_timestamp(&self.queries, first);
        let recorded = dispatch(pass);
        pass.write_timestamp(&self.queries, first + 1);
        recorded
    }

    /// Begins a recording, and forgets what is left of one that failed.
    pub(crate) fn begin(&mut self) {
        self.kernels.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps the times of what was recorded since [`Self::begin`], as those of step `step`.
    pub(crate) fn end(
        &mut self,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        step: u64,
    ) {
        let kernels =
            std::mem::take(self.kernels.get_mut().unwrap_or_else(PoisonError::into_inner));
        let count = 2 * kernels.len() as u32;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        let bytes = u64::from(count * wgpu::QUERY_SIZE);
        let number = self.count;
        let offset = number % RECORDINGS * RECORDING_BYTES;
        // Zeros stay where the encoder is never submitted.
        queue.write_buffer(&self.times, offset, &[0; RECORDING_BYTES as usize]);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.times, offset, bytes);
        self.count += 1;
        self.recordings.push_back(Recording { number, step, kernels });
        if self.recordings.len() as u64 > RECORDINGS {
            self.recordings.pop_front();
        }
    }

    /// Where the times lie.
    pub(crate) fn times(&self) -> GpuSlice {
        GpuSlice::whole(self.times.clone())
    }

    /// The steps whose times were not taken yet and for which `holds` is true.
    pub(crate) fn steps(&self, holds: impl Fn(u64) -> bool) -> BTreeSet<u64> {
        self.recordings.iter().map(|recording| recording.step).filter(|&step| holds(step)).collect()
    }

    /// Forgets the times that were not taken yet.
    pub(crate) fn clear(&mut self) {
        self.recordings.clear();
    }

    /// The times that were not taken yet, of at most the last 256 recordings, from the bytes of
    /// [`Self::times`]. Those of the steps `pending` stay to be taken later.
    pub(crate) fn take(&mut self, bytes: &[u8], pending: &BTreeSet<u64>) -> Vec<KernelTime> {
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
        let mut times = Vec::new();
        let recordings = std::mem::take(&mut self.recordings).into_iter();
        let (later, finished): (Vec<_>, Vec<_>) =
            recordings.partition(|recording| pending.contains(&recording.step));
        self.recordings = later.into();
        for Recording { number, step, kernels } in finished {
            let first = (number % RECORDINGS * u64::from(2 * KERNELS)) as usize;
            let ticks = ticks[first..].chunks_exact(2);
            let of_kernels = kernels.into_iter().zip(ticks).filter(|(_, ticks)| ticks[1] != 0);
            let of_step: Option<Vec<_>> = of_kernels
                .map(|(kernel, ticks)| {
                    let nanoseconds = ticks_between(ticks[0], ticks[1])? as f64 * self.period;
                    Some(KernelTime { step, kernel, nanoseconds })
                })
                .collect();
            // A step of which one time is not known is left out, so that sums of its times are not too small.
            times.extend(of_step.unwrap_or_default());
        }
        times
    }
}

/// Fewest valid bits of a counter that has any (Vulkan, `timestampValidBits`).
const VALID_BITS: u32 = 36;

/// The ticks from `begin` to `end` of a counter whose number of valid bits the device does not tell. Where it has begun
/// again in between, `begin` was near its largest value, and so as long as a value can be. `None` if it went backwards.
pub(crate) fn ticks_between(begin: u64, end: u64) -> Option<u64> {
    if end >= begin {
        return Some(end - begin);
    }
    let bits = (u64::BITS - begin.leading_zeros()).max(VALID_BITS);
    let largest = u64::MAX >> (u64::BITS - bits);
    let ticks = end.wrapping_sub(begin) & largest;
    (ticks <= largest / 2).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::ticks_between;

    /// Counters of 36 to 64 bits that begin again, those that do not, and one that goes backwards.
    #[test]
    fn ticks_are_counted_within_the_valid_bits() {
        for bits in 36..=64 {
            let largest = u64::MAX >> (64 - bits);
            for ticks in [0, 1, 1000, 1 << 30] {
                for begin in [0, 5, largest / 3, largest - (1 << 31), largest - 999, largest] {
                    let end = begin.wrapping_add(ticks) & largest;
                    assert_eq!(ticks_between(begin, end), Some(ticks), "{bits}: {begin} {end}");
                }
            }
            assert_eq!(ticks_between(largest / 3, largest / 3 - 7), None, "{bits}");
        }
        assert_eq!(ticks_between(1000, 1 << 40), Some((1 << 40) - 1000));
    }
}
