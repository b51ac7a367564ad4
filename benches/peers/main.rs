//! One side of `peers.py`: times steps of this crate over a given number of parameters, and prints
//! nanoseconds per step as JSON.

#[allow(dead_code, reason = "the other bench uses all of it")]
#[path = "../performance/prepared.rs"]
mod prepared;

use std::time::Instant;

use clap::Parser;
use dimer::{Config, Gpu, Layout, Optimizer, Tuning};
use prepared::{Prepared, paper};

#[derive(Parser)]
struct Arguments {
    /// Number of parameters.
    #[arg(long, default_value_t = 1 << 20)]
    parameters: usize,
    /// Batches, of which the median counts.
    #[arg(long, default_value_t = 9)]
    batches: usize,
    /// Steps of one batch.
    #[arg(long, default_value_t = 5)]
    steps: u32,
    /// Measures a tuning first.
    #[arg(long)]
    tune: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn config(name: &str) -> Config {
    let alone = Config { dimer: None, ..paper(1) };
    match name {
        "AdamW, unguarded" => Config { skip_non_finite: false, ..alone },
        "AdamW" => alone,
        _ => paper(1),
    }
}

fn median(gpu: &Gpu, name: &str, arguments: &Arguments) -> dimer::Result<f64> {
    let wait = || gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
    let values: Vec<f32> = (0..arguments.parameters).map(|i| (i % 1000) as f32 / 1e3).collect();
    let layout = Layout::flat(values.len())?;
    let mut optimizer = Optimizer::new(gpu, layout, config(name), &values)?;
    for slice in [Some(optimizer.gradient()), optimizer.probe_gradient()].into_iter().flatten() {
        gpu.queue().write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&values));
    }
    optimizer.step(&mut Prepared)?;
    wait();
    let mut times = Vec::new();
    for _ in 0..arguments.batches {
        let began = Instant::now();
        for _ in 0..arguments.steps {
            optimizer.step(&mut Prepared)?;
        }
        wait();
        times.push(began.elapsed().as_nanos() as f64 / f64::from(arguments.steps));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> dimer::Result<()> {
    let arguments = Arguments::parse();
    let mut gpu = Gpu::new()?;
    if arguments.tune {
        gpu = gpu.with_tuning(Tuning::measure(&gpu, arguments.parameters)?)?;
    }
    let names = ["AdamW, unguarded", "AdamW", "DEO-AdamW, rotating"];
    let times = names.map(|name| median(&gpu, name, &arguments));
    let [unguarded, adamw, deo] = times;
    let report = serde_json::json!({
        "device": gpu.name(),
        "tuning": gpu.tuning(),
        names[0]: unguarded?,
        names[1]: adamw?,
        names[2]: deo?,
    });
    println!("{report}");
    Ok(())
}
