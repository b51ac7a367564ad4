//! Trains a small network on handwritten digits, all of it on the GPU: with AdamW at several learning rates, and
//! with AdamW whose learning rate comes from the curvature along its steps, from several starts.

#[path = "digits/chart.rs"]
mod chart;
#[allow(dead_code, reason = "centred images are for edge_of_stability")]
#[path = "digits/data.rs"]
mod data;
#[allow(dead_code, reason = "the squared error is for edge_of_stability")]
#[path = "digits/network.rs"]
mod network;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chart::Curves;
use clap::{Parser, ValueEnum};
use dimer::{Config, CurvatureRate, Gpu, LearningRate, Optimizer, RateProbe, cosine_with_warm_up};
use indicatif::{ProgressBar, ProgressStyle};
use network::{Accuracy, Training};

/// Trains a 64-64-32-10 network on the UCI handwritten digits.
#[derive(Parser)]
struct Arguments {
    /// Seed of the weights and the minibatches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps, each on 128 images; the first tenth warms up, and the rate then falls to a tenth.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Fixed learning rates to run, at the height of the schedule.
    #[arg(long, value_delimiter = ',', default_value = "1e-4,1e-3,1e-2,1e-1")]
    rates: Vec<f64>,
    /// Starts of a learning rate from curvature to run.
    #[arg(long, value_delimiter = ',', default_value = "1e-6,1e-3,1")]
    starts: Vec<f64>,
    /// How the curvature is measured.
    #[arg(long, value_enum, default_value_t = Probe::SeparateGradient)]
    probe: Probe,
    /// Where to write the curves.
    #[arg(long, default_value = "target/digits_mlp.svg")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Probe {
    SeparateGradient,
    RepeatedMinibatch,
}

/// Images of one minibatch.
const BATCH: usize = 128;

/// Steps from one measurement of the test accuracy to the next.
const REPORT: u64 = 50;

/// One row of the table, and the curves behind it.
struct Run {
    curves: Curves,
    gradient_evaluations: f64,
    loss: f32,
    accuracy: f64,
    /// At the height of the schedule.
    learning_rate: f32,
    time: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let probe = match arguments.probe {
        Probe::SeparateGradient => RateProbe::SeparateGradient,
        Probe::RepeatedMinibatch => RateProbe::RepeatedMinibatch,
    };
    let fixed =
        arguments.rates.iter().map(|&rate| (format!("{rate:e}"), LearningRate::Fixed(rate)));
    let starts = arguments.starts.iter().map(|&initial| {
        let rate = CurvatureRate { initial, probe, ..CurvatureRate::default() };
        (format!("curvature, from {initial:e}"), LearningRate::Curvature(rate))
    });
    let mut runs = Vec::new();
    for (name, learning_rate) in fixed.chain(starts) {
        runs.push(train(&gpu, &name, learning_rate, &arguments)?);
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
    learning_rate: LearningRate,
    arguments: &Arguments,
) -> Result<Run, Box<dyn Error>> {
    let config = Config { learning_rate, ..Config::default() };
    let (train, test) = data::load();
    let params = network::initial_params(arguments.seed);
    let mut optimizer = Optimizer::new(gpu, network::layout()?, config, &params)?;
    let mut training = Training::new(&optimizer, &train, BATCH, arguments.seed);
    let accuracy = Accuracy::new(&optimizer, &test);
    let bar = ProgressBar::new(arguments.steps).with_prefix(name.to_owned()).with_style(
        ProgressStyle::with_template("{prefix:20} {bar:30} {pos:>5}/{len} {elapsed:>3}  {msg}")?,
    );
    let mut curves = Curves { name: name.to_owned(), loss: Vec::new(), rate: Vec::new() };
    let (mut time, mut measured) = (Duration::ZERO, accuracy.measure());
    let mut found = 0.0;
    while optimizer.steps() < arguments.steps {
        let began = Instant::now();
        let end = (optimizer.steps() + REPORT).min(arguments.steps);
        while optimizer.steps() < end {
            let (step, steps) = (optimizer.steps(), arguments.steps);
            optimizer.set_rate_factor(cosine_with_warm_up(step, steps / 10, steps, 0.1))?;
            optimizer.step(&mut training)?;
        }
        let records = optimizer.telemetry()?;
        time += began.elapsed();
        for record in &records {
            let step = record.step as f32;
            curves.loss.extend(record.loss.map(|loss| (step, loss)));
            curves.rate.push((step, record.learning_rate));
            found = record.base_learning_rate;
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
        learning_rate: match learning_rate {
            LearningRate::Fixed(rate) => rate as f32,
            _ => found,
        },
        curves,
        time,
    })
}

/// What the progress bar says.
fn status(curves: &Curves, accuracy: f64) -> String {
    let loss = curves.loss.last().map_or(f32::NAN, |point| point.1);
    let rate = curves.rate.last().map_or(f32::NAN, |point| point.1);
    format!("loss {loss:.4}  test accuracy {:.2} %  rate {rate:.1e}", 100.0 * accuracy)
}

fn print_table(runs: &[Run], steps: u64) {
    println!(
        "\n{:22} {:>6} {:>10} {:>9} {:>9} {:>11} {:>8}",
        "learning rate", "steps", "gradients", "loss", "test", "last rate", "ms/step"
    );
    for run in runs {
        println!(
            "{:22} {:>6} {:>10} {:>9.5} {:>7.2} % {:>11.1e} {:>8.3}",
            run.curves.name,
            steps,
            run.gradient_evaluations,
            run.loss,
            100.0 * run.accuracy,
            run.learning_rate,
            1e3 * run.time.as_secs_f64() / steps as f64,
        );
    }
}
