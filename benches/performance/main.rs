//! What the kernels cost: fused against unfused, scaling with the number of parameters, bytes per second
//! next to the fastest copy, many small tensors, and the host's share of a step.
//!
//! The objective does nothing, so that the optimizer alone is timed; gradients are prepared. Everything
//! that is compared is measured in this one run, in turns. Medians go to `target/performance/` as a
//! Markdown table and an SVG. On a software renderer the ratios say how the work is scheduled, not how
//! fast a GPU is.

mod copy;
mod fused;
mod host;
mod report;
mod scaling;
mod setup;
mod tensors;
mod times;

use std::time::Duration;

use criterion::Criterion;
use dimer::Gpu;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let times = times::Times::default();
    fused::run(&gpu, &mut criterion, &times);
    scaling::run(&gpu, &mut criterion, &times);
    tensors::run(&gpu, &mut criterion, &times);
    host::run(&gpu, &mut criterion, &times);
    criterion.final_summary();
    report::write(gpu.name(), &times)
}
