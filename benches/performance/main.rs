//! What the kernels cost: fused against unfused, scaling with the number of parameters, bytes per second
//! next to the fastest copy, many small tensors, tunings, and the host's share of a step.
//!
//! The objective does nothing, so that the optimizer alone is timed; gradients are prepared. Everything
//! that is compared is measured in this one run, in turns, by the host's clock and, where the device has
//! timestamps, by the GPU's. Medians and quartiles go to the folder of `--out` as Markdown tables, JSON and an SVG.
//! On a software renderer the ratios say how the work is scheduled, not how fast a GPU is.

mod copy;
mod fused;
mod host;
mod prepared;
mod report;
mod results;
mod rounds;
mod scaling;
mod setup;
mod stopwatch;
mod sweep;
mod tensors;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use dimer::Gpu;

use results::Results;
use rounds::Effort;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Fused against unfused kernels.
    Fused,
    /// Whole steps of many sizes, and a copy.
    Scaling,
    /// One tensor and 10 000.
    Tensors,
    /// The host's time per call.
    Host,
    /// Kernels under many tunings.
    Sweep,
}

#[derive(Parser)]
struct Arguments {
    /// What to measure; without any, all but the sweep.
    parts: Vec<Part>,
    /// Measures little, at small sizes: to see that it works.
    #[arg(long)]
    short: bool,
    /// Begins nothing more after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Folder of the results.
    #[arg(long, default_value = "target/performance")]
    out: PathBuf,
    /// Times of peers, from `benches/peers/peers.py --json`.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// The output of tests that ran on the same device, whose results are reported too.
    #[arg(long)]
    tests: Option<PathBuf>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    // The memory of a software renderer is the system's, which may end a process that asks for too much.
    let is_cpu = gpu.device().adapter_info().device_type == wgpu::DeviceType::Cpu;
    let effort = Effort {
        rounds: if arguments.short { 3 } else { 7 },
        warm_up: Duration::from_millis(if arguments.short { 1 } else { 250 }),
        turn: Duration::from_millis(if arguments.short { 1 } else { 20 }),
        largest: match (arguments.short, is_cpu) {
            (true, _) => 14,
            (false, true) => 24,
            (false, false) => 28,
        },
        sparse: if arguments.short { 8 } else { 1 },
        deadline: arguments.seconds.map(|seconds| began + Duration::from_secs(seconds)),
    };
    let mut results = Results::default();
    if let Some(path) = &arguments.peers {
        results.peers = serde_json::from_slice(&std::fs::read(path)?)?;
    }
    if let Some(path) = &arguments.tests {
        let text = std::fs::read_to_string(path)?;
        let lines = text.lines().filter(|line| line.starts_with("test result: "));
        results.tests = lines.map(str::to_owned).collect();
    }
    let usual = [Part::Fused, Part::Scaling, Part::Tensors, Part::Host];
    let parts = if arguments.parts.is_empty() { &usual[..] } else { &arguments.parts };
    for part in parts {
        match part {
            Part::Fused => fused::run(&gpu, &effort, &mut results)?,
            Part::Scaling => scaling::run(&gpu, &effort, &mut results)?,
            Part::Tensors => tensors::run(&gpu, &effort, &mut results)?,
            Part::Host => host::run(&gpu, &effort, &mut results)?,
            Part::Sweep => sweep::run(&gpu, &effort, &mut results)?,
        }
    }
    report::write(&gpu, &results, &arguments.out)
}
