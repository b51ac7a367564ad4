//! How many gradients it takes to leave saddles and plateaus: base optimizers alone and with a dimer,
//! on eight problems, at equal gradient evaluations (probes count).
//!
//! Every method gets the same sweep of learning rates, and its best one is reported. A learning rate from curvature
//! gets a sweep of starts, and the worst one is reported.

mod chart;
mod methods;
mod problems;
mod run;
mod suite;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use dimer::Gpu;
use methods::{BASES, METHODS, Method};
use problems::Problem;
use suite::{Row, Score, Sweep};

/// Counts the gradients that optimizers need to leave saddles.
#[derive(Parser)]
struct Arguments {
    /// Runs of each method; the median is reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seed of the first run.
    #[arg(long, default_value_t = 100)]
    first_seed: u64,
    /// Gradients after which a run has failed.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    budget: u64,
    /// Learning rates that every method is given.
    #[arg(long, value_delimiter = ',', default_values_t = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3])]
    rates: Vec<f64>,
    /// Starts of learning rates from curvature.
    #[arg(long, value_delimiter = ',', default_values_t = [1e-6, 1e-3, 1.0])]
    starts: Vec<f64>,
    /// Only the base optimizer and the methods whose names contain this.
    #[arg(long, default_value = "")]
    method: String,
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
    let is_chosen = |method: &Method| method.name.contains(&arguments.method);
    let (base, others) = METHODS.split_first().ok_or("no method")?;
    let others = others.iter().filter(|method| is_chosen(method));
    let methods: Vec<&Method> = std::iter::once(base).chain(others).collect();
    let sweep = Sweep {
        methods: &methods,
        rates: &arguments.rates,
        starts: &arguments.starts,
        seeds: arguments.first_seed..arguments.first_seed + arguments.seeds,
        budget: arguments.budget,
    };
    let rows = sweep.rows(&gpu, &cells)?;
    print_table(&methods, &rows, arguments.seeds);
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    chart::draw(&arguments.out, &methods, &rows)?;
    println!("\nchart: {}", arguments.out.display());
    Ok(())
}

fn print_table(methods: &[&Method], rows: &[Row], seeds: u64) {
    println!(
        "\nMedian gradients to the target (solved of {seeds}, where not all), @ the best rate or the worst start\n"
    );
    let names: Vec<&str> = methods.iter().map(|method| method.name).collect();
    println!("| problem | base | {} |", names.join(" | "));
    println!("| --- | --- |{}", " ---: |".repeat(names.len()));
    for row in rows {
        let cells: Vec<String> = row.methods.iter().map(|score| cell(score, seeds)).collect();
        println!("| {} | {} | {} |", row.problem, row.base, cells.join(" | "));
    }
}

fn cell(score: &Score, seeds: u64) -> String {
    let Score { gradients, solved, learning_rate } = score;
    match gradients {
        Some(gradients) if *solved as u64 == seeds => format!("{gradients} @ {learning_rate}"),
        Some(gradients) => format!("{gradients} ({solved}) @ {learning_rate}"),
        None => format!("- ({solved})"),
    }
}
