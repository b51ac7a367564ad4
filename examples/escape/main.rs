//! How many gradients it takes to leave saddles and plateaus: base optimizers alone and with a dimer,
//! on eight problems, at equal gradient evaluations (probes count).
//!
//! Every method gets the same sweep of learning rates, and its best one is reported.

mod chart;
mod methods;
mod problems;
mod run;

use std::cmp::Reverse;
use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use dimer::Gpu;
use indicatif::{ParallelProgressIterator, ProgressStyle};
use methods::{BASES, METHODS};
use problems::Problem;
use rayon::prelude::*;
use run::Run;

/// Counts the gradients that optimizers need to leave saddles.
#[derive(Parser)]
struct Arguments {
    /// Runs of each method; the median is reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seed of the first run.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Gradients after which a run has failed.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    budget: u64,
    /// Learning rates that every method is given.
    #[arg(long, value_delimiter = ',', default_values_t = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3])]
    rates: Vec<f64>,
    /// Only the problems whose names contain this.
    #[arg(long, default_value = "")]
    problem: String,
    /// Only the base optimizers whose names contain this.
    #[arg(long, default_value = "")]
    base: String,
    /// Where to write the chart.
    #[arg(long, default_value = "target/escape.svg")]
    out: PathBuf,
}

/// The best learning rate of one method on one problem.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// Median gradients to the target; none if most runs did not reach it.
    gradients: Option<u64>,
    solved: usize,
    learning_rate: f64,
}

/// One row of the table: a base optimizer on a problem, by every method.
pub struct Row {
    problem: &'static str,
    base: &'static str,
    methods: Vec<Best>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    let problems: Vec<Problem> = problems::all()
        .into_iter()
        .filter(|problem| problem.name.contains(&arguments.problem))
        .collect();
    let bases = BASES.iter().filter(|base| base.0.contains(&arguments.base));
    let cells: Vec<_> = problems
        .iter()
        .flat_map(|problem| bases.clone().map(move |base| (problem, base)))
        .collect();
    let rows = rows(&gpu, &arguments, &cells)?;
    print_table(&rows, arguments.seeds);
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    chart::draw(&arguments.out, &rows)?;
    println!("\nchart: {}", arguments.out.display());
    Ok(())
}

type Cell<'a> = (&'a Problem, &'a (&'static str, dimer::Base));

fn rows(gpu: &Gpu, arguments: &Arguments, cells: &[Cell<'_>]) -> Result<Vec<Row>, dimer::Error> {
    let Arguments { seeds, first_seed, budget, rates, .. } = arguments;
    let runs: Vec<Run<'_>> = cells
        .iter()
        .flat_map(|(problem, (_, base))| {
            METHODS.iter().flat_map(move |method| {
                rates.iter().flat_map(move |&learning_rate| {
                    (*first_seed..first_seed + seeds).map(move |seed| Run {
                        problem,
                        config: method.config(*base),
                        learning_rate,
                        seed,
                        budget: *budget,
                    })
                })
            })
        })
        .collect();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left")
        .expect("a valid template");
    let gradients: Vec<Option<u64>> = runs
        .par_iter()
        .progress_with_style(style)
        .map(|run| run.gradients(gpu))
        .collect::<Result<_, _>>()?;
    let mut medians = gradients.chunks(*seeds as usize).zip(rates.iter().cycle()).map(median);
    let mut next = |_| {
        let by_rate = medians.by_ref().take(rates.len());
        by_rate.min_by_key(Best::rank).expect("at least one learning rate")
    };
    let row = |(problem, (base, _)): &Cell<'_>| Row {
        problem: problem.name,
        base,
        methods: METHODS.iter().map(&mut next).collect(),
    };
    Ok(cells.iter().map(row).collect())
}

/// The median of the runs of one learning rate.
fn median((gradients, &learning_rate): (&[Option<u64>], &f64)) -> Best {
    let mut sorted: Vec<u64> = gradients.iter().map(|run| run.unwrap_or(u64::MAX)).collect();
    sorted.sort_unstable();
    let middle = sorted[sorted.len() / 2];
    Best {
        gradients: (middle != u64::MAX).then_some(middle),
        solved: gradients.iter().flatten().count(),
        learning_rate,
    }
}

impl Best {
    /// Smaller is better: a rate at which runs fail is worse than any at which fewer do.
    fn rank(&self) -> (Reverse<usize>, u64) {
        (Reverse(self.solved), self.gradients.unwrap_or(u64::MAX))
    }
}

fn print_table(rows: &[Row], seeds: u64) {
    println!("\nMedian gradients to the target (solved of {seeds}, where not all), best rate\n");
    let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    println!("| problem | base | {} |", names.join(" | "));
    println!("| --- | --- |{}", " ---: |".repeat(names.len()));
    for row in rows {
        let cells: Vec<String> = row.methods.iter().map(|best| cell(best, seeds)).collect();
        println!("| {} | {} | {} |", row.problem, row.base, cells.join(" | "));
    }
}

fn cell(best: &Best, seeds: u64) -> String {
    let Best { gradients, solved, learning_rate } = best;
    match gradients {
        Some(gradients) if *solved as u64 == seeds => format!("{gradients} @ {learning_rate}"),
        Some(gradients) => format!("{gradients} ({solved}) @ {learning_rate}"),
        None => format!("- ({solved})"),
    }
}
