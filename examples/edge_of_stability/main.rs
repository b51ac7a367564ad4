//! Trains a small network at the edge of stability, and watches it there: the sharpness rises until the step is barely
//! stable, and stays.

mod chart;
#[allow(dead_code, reason = "minibatches are for digits_mlp")]
#[path = "../digits/data.rs"]
mod data;
#[allow(dead_code, reason = "minibatches and accuracy are for digits_mlp")]
#[path = "../digits/network.rs"]
mod network;
mod training;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use dimer::Gpu;
use indicatif::{ProgressBar, ProgressStyle};
use training::Method;

/// Trains a 64-64-32-10 tanh network on 512 handwritten digits by gradient descent and by Adam, with all images in
/// every step, and draws its loss and its sharpness.
#[derive(Parser)]
struct Arguments {
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..))]
    steps: u64,
    /// Learning rates of gradient descent.
    #[arg(long, value_delimiter = ',', default_value = "0.6,0.3")]
    gradient_descent: Vec<f64>,
    /// Learning rates of Adam.
    #[arg(long, value_delimiter = ',', default_value = "3e-3,1e-3")]
    adam: Vec<f64>,
    /// Where to write the picture.
    #[arg(long, default_value = "target/edge_of_stability.svg")]
    out: PathBuf,
}

/// What one run showed.
pub struct Run {
    method: Method,
    gradient_evaluations: f64,
    /// By step.
    loss: Vec<(f32, f32)>,
    sharpness: Vec<(f32, f32)>,
}

impl Run {
    /// The last sharpness, and the least and largest of the last half, as shares of the limit.
    fn shares(&self) -> [f64; 3] {
        let limit = self.method.limit();
        let share = |point: &(f32, f32)| f64::from(point.1) / limit;
        let half = self.sharpness[self.sharpness.len() / 2..].iter().map(share);
        let least = half.clone().fold(f64::INFINITY, f64::min);
        let last = self.sharpness.last().map_or(f64::NAN, share);
        [last, least, half.fold(0.0, f64::max)]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let descents = arguments.gradient_descent.iter().copied().map(Method::GradientDescent);
    let adams = arguments.adam.iter().copied().map(Method::Adam);
    let mut runs = Vec::new();
    for method in descents.chain(adams) {
        runs.push(watch(&gpu, method, &arguments)?);
    }
    print_table(&runs, arguments.steps);
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    chart::draw(&arguments.out, &runs)?;
    println!("\npicture: {}", arguments.out.display());
    Ok(())
}

fn watch(gpu: &Gpu, method: Method, arguments: &Arguments) -> Result<Run, Box<dyn Error>> {
    let (mut optimizer, mut training) = method.start(gpu, arguments.seed)?;
    let style =
        ProgressStyle::with_template("{prefix:24} {bar:30} {pos:>5}/{len} {elapsed:>3}  {msg}")?;
    let bar = ProgressBar::new(arguments.steps).with_prefix(method.to_string()).with_style(style);
    let (mut loss, mut sharpness) = (Vec::new(), Vec::new());
    while optimizer.steps() < arguments.steps {
        optimizer.step(&mut training)?;
        if optimizer.steps() % 100 != 0 && optimizer.steps() < arguments.steps {
            continue;
        }
        for record in optimizer.telemetry()? {
            let step = record.step as f32;
            loss.extend(record.loss.map(|loss| (step, loss)));
            if record.event && record.resolved {
                sharpness.push((step, record.curvature));
            }
        }
        bar.set_position(optimizer.steps());
        let (found, limit) = (sharpness.last(), method.limit());
        bar.set_message(format!(
            "loss {:.5}  sharpness {:.1} of {limit:.1}",
            loss.last().map_or(f32::NAN, |point| point.1),
            found.map_or(f32::NAN, |point| point.1),
        ));
    }
    bar.finish();
    let gradient_evaluations = optimizer.gradient_evaluations();
    Ok(Run { method, gradient_evaluations, loss, sharpness })
}

fn print_table(runs: &[Run], steps: u64) {
    println!(
        "\n{:24} {:>6} {:>9} {:>9} {:>9} {:>9}  sharpness / limit: last, range of the last half",
        "method", "steps", "gradients", "loss", "sharpness", "limit"
    );
    for run in runs {
        let [last, least, most] = run.shares();
        println!(
            "{:24} {steps:>6} {:>9} {:>9.5} {:>9.1} {:>9.1}  {last:.3}, {least:.3} to {most:.3}",
            run.method.to_string(),
            run.gradient_evaluations,
            run.loss.last().map_or(f32::NAN, |point| point.1),
            last * run.method.limit(),
            run.method.limit(),
        );
    }
}
