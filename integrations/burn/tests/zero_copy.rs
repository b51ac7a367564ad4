//! A step on a shared device reads nothing back, and writes to the device only what kernels take as
//! arguments: wgpu itself shows it, through the calls that it logs.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Network, batch, config, flex, scalar, shared};
use dimer::Config;
use dimer_burn::{DimerDevice, DimerOptimizer};

/// Collects the calls that wgpu-core logs while it listens.
struct Calls {
    listening: AtomicBool,
    seen: Mutex<Vec<String>>,
}

static CALLS: Calls = Calls { listening: AtomicBool::new(false), seen: Mutex::new(Vec::new()) };

impl log::Log for Calls {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.listening.load(Ordering::Acquire) && self.enabled(record.metadata()) {
            self.seen.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// The calls of `steps` steps after as many to warm up.
fn calls(device: &DimerDevice, width: usize, steps: u64) -> Vec<String> {
    let burn = device.burn();
    // Without a limit on skips, for which four bytes are read every 32 steps.
    let config = Config { max_consecutive_skips: None, ..config() };
    let mut optimizer = DimerOptimizer::new(Network::new(width, &burn), device, config).unwrap();
    let batches: Vec<_> = (0..2 * steps).map(|step| batch(step, &burn)).collect();
    burn.sync().unwrap();
    let mut losses = Vec::new();
    for (step, batch) in batches.iter().enumerate() {
        CALLS.listening.store(step as u64 >= steps, Ordering::Release);
        losses.push(optimizer.step(|module| module.loss(batch)).unwrap());
    }
    CALLS.listening.store(false, Ordering::Release);
    let calls = std::mem::take(&mut *CALLS.seen.lock().unwrap());
    let losses: Vec<_> = losses.into_iter().map(scalar).collect();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    calls
}

fn count(calls: &[String], call: &str) -> usize {
    calls.iter().filter(|seen| seen.contains(call)).count()
}

#[test]
fn nothing_is_read_back_in_a_step() {
    log::set_logger(&CALLS).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let steps = 20;

    let shared = calls(&shared(), 64, steps);
    let submits = count(&shared, "Queue::submit");
    assert!(submits >= steps as usize, "the log has the calls: {submits} submissions");
    assert_eq!(count(&shared, "map_async"), 0, "no buffer is mapped for reading");

    // The same listener does see the read-backs of a training through host slices.
    let host = calls(&flex(), 64, steps);
    assert!(
        count(&host, "map_async") >= steps as usize,
        "{} read-backs",
        count(&host, "map_async")
    );
}
