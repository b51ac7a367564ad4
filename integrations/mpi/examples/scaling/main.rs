//! How long steps take whose state is cut among ranks: by one rank, by two, and so on up to all of them. The objective copies a
//! prepared gradient, so that only the optimizer and the exchange are timed: `mpirun -n 4 scaling` by processes,
//! `scaling --threads 4` by threads.

#[allow(dead_code, reason = "not every example needs all of it")]
#[path = "../data_parallel/timed.rs"]
mod timed;

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use dimer::{
    Collective, Config, Dimer, Evaluation, Gpu, Layout, LearningRate, Objective, Optimizer,
    Schedule, ShardedOptimizer, Threads, Translation,
};
use dimer_mpi::MpiGroup;
use timed::Timed;

/// Times steps of AdamW, with an event of the default dimer in each if asked for.
#[derive(Parser)]
struct Arguments {
    /// Threads of this process as ranks, in place of the processes of MPI.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Numbers of parameters.
    #[arg(long, num_args = 1.., default_values_t = [100_000, 1_000_000, 10_000_000])]
    lengths: Vec<usize>,
    /// Steps that are timed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// An event in every step, in place of none.
    #[arg(long)]
    events: bool,
}

/// Steps before those that are timed.
const UNTIMED: u32 = 3;

/// A gradient that lies ready on the GPU.
struct Prepared(wgpu::Buffer);

impl Objective for Prepared {
    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        let (from, to) = (&self.0, at.gradient);
        at.encoder.copy_buffer_to_buffer(from, 0, &to.buffer, to.offset, to.size);
        Ok(())
    }

    fn supplies_loss(&self) -> bool {
        false
    }
}

/// What steps of one length took by so many ranks.
struct Row {
    ms_per_step: f64,
    ms_in_gatherings: f64,
    gatherings: f64,
    megabytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let header = ["parameters", "ranks", "ms/step", "in gatherings", "gatherings", "MB brought"];
    let print_header = || println!("{}", header.map(|name| format!("{name:>14}")).concat());
    if let Some(threads) = arguments.threads {
        print_header();
        for &len in &arguments.lengths {
            for ranks in 0..=threads {
                print_row(len, ranks, &by_threads(ranks, len, &arguments)?);
            }
        }
        return Ok(());
    }
    let mut all = MpiGroup::world()?;
    if all.rank() == 0 {
        print_header();
    }
    let outcome = by_processes(&mut all, &arguments);
    if let Err(error) = &outcome {
        // While MPI is there: then `mpirun` ends the other ranks.
        eprintln!("rank {}: {error}", all.rank());
    }
    Ok(outcome?)
}

fn by_processes(all: &mut MpiGroup, arguments: &Arguments) -> dimer::Result<()> {
    for &len in &arguments.lengths {
        if all.rank() == 0 {
            print_row(len, 0, &alone(len, arguments)?);
        }
        all.gather(&[])?;
        for ranks in 1..=all.size() {
            let takes_part = all.rank() < ranks;
            if let Some(group) = all.split(takes_part.then_some(0))? {
                let is_first = group.rank() == 0;
                let row = sharded(group, len, arguments)?;
                if is_first {
                    print_row(len, ranks, &row);
                }
            }
            // The others wait in a call that leaves the processor to these.
            all.gather(&[])?;
        }
    }
    Ok(())
}

/// By so many threads; by none it is an optimizer that is not cut.
fn by_threads(ranks: u32, len: usize, arguments: &Arguments) -> dimer::Result<Row> {
    if ranks == 0 {
        return alone(len, arguments);
    }
    let rows: Vec<_> = std::thread::scope(|scope| {
        let ranks = Threads::group(ranks)?.into_iter();
        let ranks: Vec<_> =
            ranks.map(|group| scope.spawn(move || sharded(group, len, arguments))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
    })?;
    Ok(rows.into_iter().next().expect("that of rank 0"))
}

fn config(arguments: &Arguments) -> Config {
    // A translation would take the rotation into account or not, by what it finds.
    let event =
        Dimer { schedule: Schedule::Every(1), translation: Translation::None, ..Dimer::default() };
    let learning_rate = LearningRate::Fixed(1e-6);
    Config { learning_rate, dimer: arguments.events.then_some(event), ..Config::default() }
}

fn prepared(gpu: &Gpu, layout: &Layout) -> Prepared {
    let size = layout.bytes();
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let gradient: Vec<f32> = (0..size / 4).map(|i| (i % 1000) as f32 * 1e-4 - 0.05).collect();
    gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&gradient));
    Prepared(buffer)
}

fn alone(len: usize, arguments: &Arguments) -> dimer::Result<Row> {
    let gpu = Gpu::new()?;
    let layout = Layout::flat(len)?;
    let mut optimizer = Optimizer::new(&gpu, layout, config(arguments), &vec![0.1; len])?;
    let mut objective = prepared(&gpu, optimizer.layout());
    let mut began = Instant::now();
    for step in 0..UNTIMED + arguments.steps {
        if step == UNTIMED {
            optimizer.telemetry()?;
            began = Instant::now();
        }
        optimizer.step(&mut objective)?;
    }
    // Waits for all steps.
    optimizer.telemetry()?;
    let ms_per_step = 1e3 * began.elapsed().as_secs_f64() / f64::from(arguments.steps);
    Ok(Row { ms_per_step, ms_in_gatherings: 0.0, gatherings: 0.0, megabytes: 0.0 })
}

fn sharded(group: impl Collective, len: usize, arguments: &Arguments) -> dimer::Result<Row> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let layout = Layout::flat(len)?;
    let (config, params) = (config(arguments), vec![0.1; len]);
    let mut optimizer = ShardedOptimizer::new(&gpu, layout, config, &params, Timed::new(group))?;
    let mut objective = prepared(&gpu, optimizer.layout());
    let mut began = Instant::now();
    for step in 0..UNTIMED + arguments.steps {
        if step == UNTIMED {
            optimizer.group_mut().forget();
            began = Instant::now();
        }
        optimizer.step(&mut objective)?;
    }
    let steps = f64::from(arguments.steps);
    let ms_per_step = 1e3 * began.elapsed().as_secs_f64() / steps;
    let group = optimizer.group();
    Ok(Row {
        ms_per_step,
        ms_in_gatherings: 1e3 * group.time().as_secs_f64() / steps,
        gatherings: group.calls() as f64 / steps,
        megabytes: group.brought() as f64 / steps / 1e6,
    })
}

fn print_row(len: usize, ranks: u32, row: &Row) {
    let ranks = if ranks == 0 { "not cut".to_owned() } else { ranks.to_string() };
    println!(
        "{len:>14}{ranks:>14}{:>14.2}{:>14.2}{:>14.1}{:>14.3}",
        row.ms_per_step, row.ms_in_gatherings, row.gatherings, row.megabytes
    );
}
