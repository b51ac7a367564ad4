//! Trains a small network on handwritten digits by one rank, by two, and so on up to all of them, each on its share of the
//! same minibatches: `mpirun -n 4 data_parallel` by processes, `data_parallel --threads 4` by threads.

#[allow(dead_code, reason = "not every example needs all of it")]
#[path = "../../../../examples/digits/data.rs"]
mod data;
#[allow(dead_code, reason = "not every example needs all of it")]
#[path = "../../../../examples/digits/network.rs"]
mod network;
#[allow(dead_code, reason = "not every example needs all of it")]
mod timed;

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use dimer::{Collective, Config, Gpu, LearningRate, Optimizer, Part, Threads, cosine_with_warm_up};
use dimer_mpi::MpiGroup;
use indicatif::{ProgressBar, ProgressStyle};
use network::Training;
use timed::Timed;

/// Trains a 64-64-32-10 network on the UCI handwritten digits.
#[derive(Parser)]
struct Arguments {
    /// Threads of this process as ranks, in place of the processes of MPI.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Steps of each training; the first tenth warms up, and the rate then falls to a tenth.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(30..))]
    steps: u64,
    /// Images of a minibatch, of which each rank takes its share.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=1024))]
    batch: u32,
    /// A fixed learning rate without a dimer, as `ddp.py` trains; by default the rate is measured.
    #[arg(long)]
    rate: Option<f64>,
    /// Seed of the weights and the minibatches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Steps that are not timed: in the first ones the kernels are compiled.
const UNTIMED: u64 = 10;

/// What a training by so many ranks came to.
struct Row {
    ranks: u32,
    /// The mean of ten minibatches, at a third of the steps, at two thirds and at the end.
    losses: [f32; 3],
    ms_per_step: f64,
    /// Of that time, with the waiting for other ranks.
    in_collectives: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        for ranks in 1..=threads {
            let row = by_threads(ranks, &arguments)?;
            print_row(&row, &arguments);
        }
        return Ok(());
    }
    let mut all = MpiGroup::world()?;
    let outcome = by_processes(&mut all, &arguments);
    if let Err(error) = &outcome {
        // While MPI is there: then `mpirun` ends the other ranks.
        eprintln!("rank {}: {error}", all.rank());
    }
    Ok(outcome?)
}

fn by_processes(all: &mut MpiGroup, arguments: &Arguments) -> dimer::Result<()> {
    for ranks in 1..=all.size() {
        let takes_part = all.rank() < ranks;
        if let Some(group) = all.split(takes_part.then_some(0))?
            && let Some(row) = train(group, arguments)?
        {
            print_row(&row, arguments);
        }
        // The others wait in a call that leaves the processor to these.
        all.gather(&[])?;
    }
    Ok(())
}

fn by_threads(ranks: u32, arguments: &Arguments) -> dimer::Result<Row> {
    let rows = std::thread::scope(|scope| {
        let ranks = Threads::group(ranks)?.into_iter();
        let ranks: Vec<_> =
            ranks.map(|group| scope.spawn(move || train(group, arguments))).collect();
        let rows = ranks.into_iter().map(|rank| rank.join().expect("no panic"));
        Ok::<Vec<_>, dimer::Error>(rows.collect())
    })?;
    // That a rank has left, the others say as well; why, it says itself.
    let is_cause = |row: &dimer::Result<_>| matches!(row, Err(error) if !matches!(error, dimer::Error::Collective { .. }));
    let (causes, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_cause);
    let rows = causes.into_iter().chain(rows).collect::<dimer::Result<Vec<_>>>()?;
    Ok(rows.into_iter().flatten().next().expect("that of rank 0"))
}

/// Trains by the ranks of a group; rank 0 shows how far it is, and has the row.
fn train(group: impl Collective, arguments: &Arguments) -> dimer::Result<Option<Row>> {
    let (rank, ranks) = (group.rank(), group.size());
    let gpu = Gpu::for_rank(group.local_rank())?;
    let config = match arguments.rate {
        Some(rate) => {
            Config { learning_rate: LearningRate::Fixed(rate), dimer: None, ..Config::default() }
        }
        None => Config::default(),
    };
    let (images, _) = data::load();
    let params = network::initial_params(arguments.seed);
    let mut optimizer = Optimizer::new(&gpu, network::layout()?, config, &params)?;
    let (batch, share) = (arguments.batch as usize, Part { index: rank, of: ranks });
    let training = Training::on_share(&optimizer, &images, batch, arguments.seed, share);
    let mut objective = optimizer.data_parallel(training, Timed::new(group))?;
    objective.set_weight(share.range(batch).len() as f64)?;
    let bar = if rank == 0 { ProgressBar::new(arguments.steps) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{prefix:8} {bar:30} {pos:>5}/{len} {elapsed:>3}");
    bar.set_style(style.expect("a template"));
    bar.set_prefix(format!("{ranks} ranks"));
    let mut began = Instant::now();
    let mut losses = Vec::new();
    for step in 0..arguments.steps {
        if step == UNTIMED {
            optimizer.read_params()?;
            objective.group_mut().forget();
            began = Instant::now();
        }
        optimizer.set_rate_factor(cosine_with_warm_up(
            step,
            arguments.steps / 10,
            arguments.steps,
            0.1,
        ))?;
        optimizer.step(&mut objective)?;
        losses.extend(optimizer.poll_telemetry()?.iter().filter_map(|record| record.loss));
        bar.inc(1);
    }
    losses.extend(optimizer.telemetry()?.iter().filter_map(|record| record.loss));
    let (time, timed) = (began.elapsed().as_secs_f64(), arguments.steps - UNTIMED);
    let in_collectives = objective.group().time().as_secs_f64();
    bar.finish_and_clear();
    // As they were at the start, and still.
    optimizer.check_ranks(objective.group_mut())?;
    let mean = |end: usize| losses[end - 10..end].iter().sum::<f32>() / 10.0;
    Ok((rank == 0).then(|| Row {
        ranks,
        losses: [losses.len() / 3, losses.len() * 2 / 3, losses.len()].map(mean),
        ms_per_step: 1e3 * time / timed as f64,
        in_collectives: in_collectives / time,
    }))
}

fn print_row(row: &Row, arguments: &Arguments) {
    if row.ranks == 1 {
        let [third, two_thirds, end] =
            [arguments.steps / 3, arguments.steps * 2 / 3, arguments.steps];
        println!(
            "{:>5} {:>14} {:>14} {:>14} {:>9} {:>15}",
            "ranks",
            format!("loss at {third}"),
            format!("at {two_thirds}"),
            format!("at {end}"),
            "ms/step",
            "in collectives"
        );
    }
    let [third, two_thirds, end] = row.losses;
    println!(
        "{:>5} {third:>14.6} {two_thirds:>14.6} {end:>14.6} {:>9.2} {:>13.0} %",
        row.ranks,
        row.ms_per_step,
        100.0 * row.in_collectives
    );
}
