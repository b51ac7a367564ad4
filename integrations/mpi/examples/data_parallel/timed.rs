//! A group that measures how long its operations take.

use std::time::{Duration, Instant};

use dimer::{Collective, Result};

/// A group, the time spent in its operations, with the waiting for other ranks, and how often this rank has brought how many
/// bytes.
pub struct Timed<C> {
    group: C,
    time: Duration,
    calls: u64,
    brought: u64,
}

impl<C: Collective> Timed<C> {
    pub fn new(group: C) -> Self {
        Self { group, time: Duration::ZERO, calls: 0, brought: 0 }
    }

    pub fn time(&self) -> Duration {
        self.time
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    pub fn brought(&self) -> u64 {
        self.brought
    }

    /// Starts to measure anew.
    pub fn forget(&mut self) {
        (self.time, self.calls, self.brought) = (Duration::ZERO, 0, 0);
    }

    fn timed<T>(&mut self, bytes: usize, operation: impl FnOnce(&mut C) -> T) -> T {
        self.calls += 1;
        self.brought += bytes as u64;
        let began = Instant::now();
        let outcome = operation(&mut self.group);
        self.time += began.elapsed();
        outcome
    }
}

impl<C: Collective> Collective for Timed<C> {
    fn rank(&self) -> u32 {
        self.group.rank()
    }

    fn size(&self) -> u32 {
        self.group.size()
    }

    fn local_rank(&self) -> u32 {
        self.group.local_rank()
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        self.timed(size_of_val(values), |group| group.sum(values))
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        self.timed(bytes.len(), |group| group.broadcast(bytes, root))
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.timed(bytes.len(), |group| group.gather(bytes))
    }
}
