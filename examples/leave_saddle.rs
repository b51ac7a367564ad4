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
use run::{Descent, Reached, Run};

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

/// A run on its way, and what shows it.
struct Shown<'a> {
    name: &'static str,
    run: &'a Run<'a>,
    descent: Descent<'a>,
    bar: ProgressBar,
    first_loss: Option<f64>,
    outcome: Option<Outcome>,
}

enum Outcome {
    /// After so many gradients.
    Arrived(u64),
    GivenUp,
}

impl Shown<'_> {
    fn step(&mut self) -> dimer::Result<()> {
        let Reached { gradients, loss } = self.descent.step()?;
        let (first, target) = (*self.first_loss.get_or_insert(loss), self.run.problem.target);
        let share = (first / loss).ln() / (first / target).ln();
        self.bar.set_position((share.clamp(0.0, 1.0) * LENGTH as f64) as u64);
        self.bar.set_message(format!("{gradients:>5} gradients, loss {loss:.5}"));
        if loss <= target {
            self.outcome = Some(Outcome::Arrived(gradients));
        } else if !loss.is_finite() || gradients >= self.run.budget {
            self.outcome = Some(Outcome::GivenUp);
        }
        if self.outcome.is_some() {
            self.bar.abandon();
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let problems = problems::all();
    let problem = problems.iter().find(|problem| problem.name == "deep linear");
    let problem = problem.expect("a problem of the suite");
    println!("a deep linear network of {} parameters starts at a saddle:", problem.len);
    let methods = [("momentum SGD", None), ("momentum SGD, dimer", Some(Dimer::alternating()))];
    let runs = methods.map(|(name, dimer)| {
        let config = Config {
            base: Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
            learning_rate: LearningRate::Fixed(arguments.rate),
            weight_decay: 0.0,
            dimer,
            ..Config::default()
        };
        let Arguments { seed, budget, .. } = arguments;
        (name, Run { problem, config, seed, budget })
    });
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:24} {bar:40}  {msg}")?;
    let mut shown = Vec::new();
    for (name, run) in &runs {
        let bar = bars.add(ProgressBar::new(LENGTH)).with_prefix(*name).with_style(style.clone());
        let descent = run.start(&gpu)?;
        shown.push(Shown { name, run, descent, bar, first_loss: None, outcome: None });
    }
    // They take turns, so that the bars show them after as many gradients.
    while shown.iter().any(|shown| shown.outcome.is_none()) {
        for shown in shown.iter_mut().filter(|shown| shown.outcome.is_none()) {
            shown.step()?;
        }
    }
    for Shown { name, run, outcome, .. } in shown {
        match outcome {
            Some(Outcome::Arrived(gradients)) => println!("{name:24} {gradients:>5} gradients"),
            _ => println!("{name:24} not within {} gradients", run.budget),
        }
    }
    Ok(())
}
