//! Leaves a saddle by momentum SGD, alone and with a dimer, side by side and at the same learning rate: a linear network of
//! three layers starts near zero, where the gradient all but vanishes.

#[allow(dead_code, reason = "the others are for escape")]
#[path = "escape/problems/mod.rs"]
mod problems;
#[allow(dead_code, reason = "whole runs are for escape")]
#[path = "escape/run.rs"]
mod run;

use std::error::Error;

use clap::Parser;
use dimer::{Base, Config, Dimer, Gpu, LearningRate, Sgd};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use run::{Reached, Run};

/// Leaves a saddle with and without a dimer.
#[derive(Parser)]
struct Arguments {
    /// Seed of the start.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Learning rate of both.
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
    /// Gradients after which a run is given up.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    budget: u64,
}

/// Of the progress bars.
const LENGTH: u64 = 1000;

/// A run, and what shows it.
struct Shown<'a> {
    name: &'static str,
    run: Run<'a>,
    bar: ProgressBar,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let problems = problems::all();
    let problem = problems.iter().find(|problem| problem.name == "deep linear");
    let problem = problem.expect("a problem of the suite");
    println!("a deep linear network of {} parameters starts at a saddle:", problem.len);
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:24} {bar:40}  {msg}")?;
    let methods = [("momentum SGD", None), ("momentum SGD, dimer", Some(Dimer::alternating()))];
    let shown = methods.map(|(name, dimer)| {
        let config = Config {
            base: Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
            learning_rate: LearningRate::Fixed(arguments.rate),
            weight_decay: 0.0,
            dimer,
            ..Config::default()
        };
        let Arguments { seed, budget, .. } = arguments;
        let bar = bars.add(ProgressBar::new(LENGTH)).with_prefix(name).with_style(style.clone());
        Shown { name, run: Run { problem, config, seed, budget }, bar }
    });
    for (name, gradients) in side_by_side(&gpu, &shown)? {
        match gradients {
            Some(gradients) => println!("{name:24} {gradients:>5} gradients"),
            None => println!("{name:24} not within {} gradients", arguments.budget),
        }
    }
    Ok(())
}

/// The gradients that each needs, if it gets there. They take turns, so that the bars show them after as many gradients.
fn side_by_side(
    gpu: &Gpu,
    shown: &[Shown<'_>],
) -> Result<Vec<(&'static str, Option<u64>)>, dimer::Error> {
    let mut found: Vec<_> = shown.iter().map(|shown| (shown.name, None)).collect();
    let starts = shown.iter().map(|shown| shown.run.start(gpu));
    let mut descents = starts.collect::<Result<Vec<_>, _>>()?;
    let mut first_losses = vec![None; shown.len()];
    let mut under_way = vec![true; shown.len()];
    while under_way.contains(&true) {
        for i in 0..shown.len() {
            if !under_way[i] {
                continue;
            }
            let Shown { run, bar, .. } = &shown[i];
            let Reached { gradients, loss } = descents[i].step()?;
            let first = *first_losses[i].get_or_insert(loss);
            let share = (first / loss).ln() / (first / run.problem.target).ln();
            bar.set_position((share.clamp(0.0, 1.0) * LENGTH as f64) as u64);
            bar.set_message(format!("{gradients:>5} gradients, loss {loss:.5}"));
            let arrived = loss <= run.problem.target;
            under_way[i] = !arrived && loss.is_finite() && gradients < run.budget;
            if !under_way[i] {
                bar.abandon();
                found[i].1 = arrived.then_some(gradients);
            }
        }
    }
    Ok(found)
}
