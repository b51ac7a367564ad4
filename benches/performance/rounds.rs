//! Rounds: whatever is compared takes turns, so that a machine that slows down slows all of it.

use std::time::{Duration, Instant};

use dimer::Gpu;
use serde::Serialize;

use crate::stopwatch::{MOST, Stopwatch, wait};

/// What can be timed.
pub trait Timed {
    /// Submits one call.
    fn call(&mut self) -> dimer::Result<()>;

    /// Records one call.
    fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> dimer::Result<()>;
}

/// One of several that are compared.
pub struct Contestant {
    pub name: String,
    pub timed: Box<dyn Timed>,
    /// How much of what is compared one call does.
    pub share: f64,
}

impl Contestant {
    pub fn new(name: impl Into<String>, timed: impl Timed + 'static) -> Self {
        Self { name: name.into(), timed: Box::new(timed), share: 1.0 }
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: u32,
    /// How long a device works before anything counts: an idle one takes that long to raise its clocks.
    pub warm_up: Duration,
    /// Least time of one contestant's turn.
    pub turn: Duration,
    /// Binary logarithm of the most parameters.
    pub largest: u32,
    /// One in so many tunings is tried.
    pub sparse: usize,
    /// When to begin nothing more.
    pub deadline: Option<Instant>,
}

impl Effort {
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The middle of some readings, and their quartiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut readings: Vec<f64>) -> Self {
        readings.sort_by(f64::total_cmp);
        let at = |share: f64| readings[((readings.len() - 1) as f64 * share).round() as usize];
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }

    /// Half of the distance between the quartiles, as a share of the median.
    pub fn relative(&self) -> f64 {
        (self.high - self.low) / (2.0 * self.median)
    }
}

/// Nanoseconds per call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// With calls in a row and one wait.
    pub wall: Spread,
    /// By the GPU's clock, where it has one.
    pub gpu: Option<Spread>,
}

/// Times all of them, in turns.
pub fn compare(
    gpu: &Gpu,
    effort: &Effort,
    contestants: &mut [Contestant],
) -> dimer::Result<Vec<Times>> {
    let stopwatch = Stopwatch::new(gpu);
    let mut calls = Vec::new();
    for Contestant { timed, .. } in &mut *contestants {
        // The first call makes what is made once.
        timed.call()?;
        wait(gpu);
        let began = Instant::now();
        timed.call()?;
        wait(gpu);
        let fits = effort.turn.as_secs_f64() / began.elapsed().as_secs_f64();
        calls.push(fits.clamp(1.0, 1000.0) as u32);
    }
    let began = Instant::now();
    while began.elapsed() < effort.warm_up {
        for Contestant { timed, .. } in &mut *contestants {
            timed.call()?;
        }
        wait(gpu);
    }
    let mut readings = vec![(Vec::new(), Vec::new()); contestants.len()];
    for round in 0..effort.rounds {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        // Whoever comes after another one does so in every second round only.
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Contestant { timed, share, .. } = &mut contestants[index];
            let (walls, gpus) = &mut readings[index];
            let began = Instant::now();
            for _ in 0..calls[index] {
                timed.call()?;
            }
            wait(gpu);
            let elapsed = began.elapsed().as_nanos() as f64;
            walls.push(elapsed / f64::from(calls[index]) / *share);
            if let Some(stopwatch) = &stopwatch {
                let times = stopwatch.time(calls[index].min(MOST), |to| timed.record(to))?;
                gpus.push(Spread::of(times).median / *share);
            }
        }
    }
    let times = readings.into_iter().map(|(walls, gpus)| Times {
        wall: Spread::of(walls),
        gpu: (!gpus.is_empty()).then(|| Spread::of(gpus)),
    });
    Ok(times.collect())
}

/// Something that the host does.
pub type Call = Box<dyn FnMut() -> dimer::Result<()>>;

/// Nanoseconds that the host spends in each of `calls`, in turns, with the device idle before and after.
pub fn compare_host(gpu: &Gpu, effort: &Effort, calls: &mut [Call]) -> dimer::Result<Vec<Spread>> {
    /// Calls of one turn.
    const CALLS: u32 = 20;
    let mut readings = vec![Vec::new(); calls.len()];
    for _ in 0..effort.rounds {
        for (call, readings) in calls.iter_mut().zip(&mut readings) {
            let mut turn = Vec::new();
            for _ in 0..CALLS {
                let began = Instant::now();
                call()?;
                turn.push(began.elapsed().as_nanos() as f64);
                wait(gpu);
            }
            readings.push(Spread::of(turn).median);
        }
    }
    Ok(readings.into_iter().map(Spread::of).collect())
}
