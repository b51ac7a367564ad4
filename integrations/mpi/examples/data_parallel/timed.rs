//! A group that measures how long its operations take.

use std::time::{Duration, Instant};

use dimer::{Collective, Result};

/// A group, and the time spent in its operations, with the waiting for other ranks.
pub struct Timed<C> {
    group: C,
    time: Duration,
}

impl<C: Collective> Timed<C> {
    pub fn new(group: C) -> Self {
        Self { group, time: Duration::ZERO }
    }

    pub fn time(&self) -> Duration {
        self.time
    }

    /// Starts to measure anew.
    pub fn forget(&mut self) {
        self.time = Duration::ZERO;
    }

    fn timed<T>(&mut self, operation: impl FnOnce(&mut C) -> T) -> T {
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
        self.timed(|group| group.sum(values))
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        self.timed(|group| group.broadcast(bytes, root))
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.timed(|group| group.gather(bytes))
    }
}
