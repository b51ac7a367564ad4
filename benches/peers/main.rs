//! One side of `peers.py`: times steps of this crate over a given number of parameters, and prints
//! nanoseconds per step as JSON.

use std::time::Instant;

use clap::Parser;
use dimer::{
    Config, Correction, Dimer, Displacement, Evaluation, Gpu, Layout, LearningRate, Objective,
    Optimizer, Projection, Rotation, RotationRate, Schedule, Translation, Tuning,
};

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

struct Prepared;

impl Objective for Prepared {
    fn gradient(&mut self, _at: Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }
}

fn config(name: &str) -> Config {
    let paper = Dimer {
        rotation: Rotation::gradient(RotationRate::Fixed(1e-3)),
        displacement: Displacement::Absolute(1e-2),
        schedule: Schedule::Every(1),
        translation: Translation::Project(Projection {
            alpha: 1.0,
            only_negative_curvature: false,
        }),
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    let learning_rate = LearningRate::Fixed(1e-3);
    let alone = Config { learning_rate, ..Config::default() };
    match name {
        "AdamW, unguarded" => Config { skip_non_finite: false, ..alone },
        "AdamW" => alone,
        _ => Config { dimer: Some(paper), ..alone },
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
