//! Trains a small network on handwritten digits, all of it on the GPU: with AdamW, and with AdamW
//! whose steps follow a dimer out of saddles.

#[path = "digits/chart.rs"]
mod chart;
#[path = "digits/data.rs"]
mod data;
#[path = "digits/network.rs"]
mod network;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chart::Curves;
use clap::{Parser, ValueEnum};
use dimer::{
    Config, Correction, Dimer, Gpu, LearningRate, Optimizer, Project, Schedule, Storage,
    Translation,
};
use indicatif::{ProgressBar, ProgressStyle};
use network::{Accuracy, Training};

/// Trains a 64-64-32-10 network on the UCI handwritten digits.
#[derive(Parser)]
struct Arguments {
    /// Seed of the weights, the minibatches and the dimer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps, each on 128 images.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Which optimizer to run.
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    optimizer: Choice,
    /// Steps from one event of the dimer to the next.
    #[arg(long, default_value_t = 50)]
    interval: u32,
    /// Correct as the paper does: in each event, take out this share of the gradient along the dimer;
    /// 1 projects, 2 reflects. Without this option, the saddle-free step is taken.
    #[arg(long)]
    alpha: Option<f64>,
    /// Keep moments and N in bf16.
    #[arg(long)]
    bf16: bool,
    /// Where to write the curves.
    #[arg(long, default_value = "target/digits_mlp.svg")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Adamw,
    DeoAdamw,
    Both,
}

/// Images of one minibatch.
const BATCH: usize = 128;

/// Steps from one measurement of the test accuracy to the next.
const REPORT: u64 = 50;

/// One row of the table, and the curves behind it.
struct Run {
    curves: Curves,
    gradient_evaluations: u64,
    loss: f32,
    accuracy: f64,
    curvature: Option<f32>,
    time: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let mut dimer = Dimer {
        schedule: Schedule::Every(arguments.interval),
        seed: arguments.seed,
        ..Dimer::default()
    };
    if let Some(alpha) = arguments.alpha {
        dimer.translation = Translation::Project(Project { alpha, only_negative_curvature: false });
        dimer.correction = Correction::EventsOnly;
    }
    let mut runs = Vec::new();
    if arguments.optimizer != Choice::DeoAdamw {
        runs.push(train(&gpu, "AdamW", None, &arguments)?);
    }
    if arguments.optimizer != Choice::Adamw {
        runs.push(train(&gpu, "DEO-AdamW", Some(dimer), &arguments)?);
    }
    print_table(&runs, arguments.steps);
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let curves: Vec<Curves> = runs.into_iter().map(|run| run.curves).collect();
    chart::draw(&arguments.out, &curves)?;
    println!("\ncurves: {}", arguments.out.display());
    Ok(())
}

fn train(
    gpu: &Gpu,
    name: &str,
    dimer: Option<Dimer>,
    arguments: &Arguments,
) -> Result<Run, Box<dyn Error>> {
    let storage = if arguments.bf16 { Storage::Bf16 } else { Storage::F32 };
    let config =
        Config { learning_rate: LearningRate::Fixed(3e-3), storage, dimer, ..Config::default() };
    let has_dimer = config.dimer.is_some();
    let (train, test) = data::load();
    let params = network::initial_params(arguments.seed);
    let mut optimizer = Optimizer::new(gpu, network::layout()?, config, &params)?;
    let mut training = Training::new(&optimizer, &train, BATCH, arguments.seed);
    let accuracy = Accuracy::new(&optimizer, &test);
    let bar = ProgressBar::new(arguments.steps).with_prefix(name.to_owned()).with_style(
        ProgressStyle::with_template("{prefix:9} {bar:30} {pos:>5}/{len} {elapsed:>3}  {msg}")?,
    );
    let mut curves = Curves { name: name.to_owned(), loss: Vec::new(), curvature: Vec::new() };
    let (mut time, mut measured) = (Duration::ZERO, accuracy.measure());
    while optimizer.steps() < arguments.steps {
        let began = Instant::now();
        let end = (optimizer.steps() + REPORT).min(arguments.steps);
        while optimizer.steps() < end {
            optimizer.step(&mut training)?;
        }
        let records = optimizer.telemetry()?;
        time += began.elapsed();
        for record in &records {
            let step = record.step as f32;
            curves.loss.extend(record.loss.map(|loss| (step, loss)));
            curves.curvature.extend(record.event.then_some((step, record.curvature)));
        }
        measured = accuracy.measure();
        bar.set_position(end);
        bar.set_message(status(&curves, measured));
    }
    bar.finish();
    let last: Vec<f32> = curves.loss.iter().rev().take(BATCH / 8).map(|point| point.1).collect();
    Ok(Run {
        gradient_evaluations: optimizer.gradient_evaluations(),
        loss: last.iter().sum::<f32>() / last.len() as f32,
        accuracy: measured,
        curvature: has_dimer.then(|| curves.curvature.last().map_or(0.0, |point| point.1)),
        curves,
        time,
    })
}

/// What the progress bar says.
fn status(curves: &Curves, accuracy: f64) -> String {
    let mut status = String::new();
    if let Some((_, loss)) = curves.loss.last() {
        status += &format!("loss {loss:.4}  ");
    }
    status += &format!("test accuracy {:.2} %", 100.0 * accuracy);
    if let Some((_, curvature)) = curves.curvature.last() {
        status += &format!("  curvature {curvature:+.4}");
    }
    status
}

fn print_table(runs: &[Run], steps: u64) {
    println!(
        "\n{:10} {:>6} {:>10} {:>9} {:>9} {:>10} {:>8}",
        "optimizer", "steps", "gradients", "loss", "test", "curvature", "ms/step"
    );
    for run in runs {
        let curvature = run.curvature.map_or("-".to_owned(), |c| format!("{c:+.4}"));
        println!(
            "{:10} {:>6} {:>10} {:>9.5} {:>7.2} % {:>10} {:>8.3}",
            run.curves.name,
            steps,
            run.gradient_evaluations,
            run.loss,
            100.0 * run.accuracy,
            curvature,
            1e3 * run.time.as_secs_f64() / steps as f64
        );
    }
}
