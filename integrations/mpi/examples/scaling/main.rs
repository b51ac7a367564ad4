//! What steps take whose state is cut among ranks, in time and in memory: by one rank, by two, and so on up to all of them.
//! The objective copies a prepared gradient, so that only the optimizer and the exchange are timed: `mpirun -n 4 scaling` by
//! processes, `scaling --threads 4` by threads.

mod chart;

#[allow(dead_code, reason = "not every example needs all of it")]
#[path = "../data_parallel/timed.rs"]
mod timed;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use dimer::{
    Collective, Config, Dimer, Evaluation, Gpu, Layout, LearningRate, Objective, Optimizer,
    Schedule, ShardedOptimizer, Threads, Translation,
};
use dimer_mpi::MpiGroup;
use timed::Timed;

/// Measures steps of AdamW alone, and with an event of the default dimer in each.
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
    /// Times that everything is measured; the median is reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Where to draw what was measured, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
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

/// Steps of one kind, of one length, by so many ranks.
#[derive(Clone, Copy)]
struct Case {
    events: bool,
    len: usize,
    /// 0 is an optimizer that is not cut.
    ranks: u32,
}

/// What they took on the first rank.
struct Row {
    case: Case,
    ms_per_step: f64,
    ms_in_gatherings: f64,
    gatherings: f64,
    megabytes: f64,
    /// Of the GPU's memory, per parameter.
    bytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let Some(threads) = arguments.threads else {
        return by_mpi(&arguments);
    };
    print_header();
    let measured = cases(threads, &arguments).map(|case| {
        let row = median(&arguments, || by_threads(case, arguments.steps))?;
        print_row(&row);
        Ok(row)
    });
    let rows = measured.collect::<dimer::Result<Vec<_>>>()?;
    draw(&rows, &arguments)
}

/// Steps without and with an event, of each length, by no rank to all of them.
fn cases(most: u32, arguments: &Arguments) -> impl Iterator<Item = Case> {
    let of = move |events, len| (0..=most).map(move |ranks| Case { events, len, ranks });
    let lengths = move |events| arguments.lengths.iter().flat_map(move |&len| of(events, len));
    [false, true].into_iter().flat_map(lengths)
}

/// The run of median time.
fn median(
    arguments: &Arguments,
    mut run: impl FnMut() -> dimer::Result<Row>,
) -> dimer::Result<Row> {
    let mut rows = (0..arguments.runs).map(|_| run()).collect::<dimer::Result<Vec<_>>>()?;
    rows.sort_by(|a, b| a.ms_per_step.total_cmp(&b.ms_per_step));
    Ok(rows.swap_remove(rows.len() / 2))
}

fn draw(rows: &[Row], arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    arguments.chart.as_ref().map_or(Ok(()), |path| chart::draw(path, rows))
}

fn by_mpi(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut all = MpiGroup::world()?;
    if all.rank() == 0 {
        print_header();
    }
    let outcome = by_processes(&mut all, arguments);
    if let Err(error) = &outcome {
        // While MPI is there: then `mpirun` ends the other ranks.
        eprintln!("rank {}: {error}", all.rank());
    }
    let rows = outcome?;
    if all.rank() == 0 { draw(&rows, arguments) } else { Ok(()) }
}

/// The rows, on the first rank of all.
fn by_processes(all: &mut MpiGroup, arguments: &Arguments) -> dimer::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in cases(all.size(), arguments) {
        let takes_part = all.rank() < case.ranks.max(1);
        if let Some(mut group) = all.split(takes_part.then_some(0))? {
            let row = median(arguments, || match case.ranks {
                0 => not_cut(case, arguments.steps),
                _ => sharded(&mut group, case, arguments.steps),
            })?;
            if group.rank() == 0 {
                print_row(&row);
                rows.push(row);
            }
        }
        // The others wait in a call that leaves the processor to these.
        all.gather(&[])?;
    }
    Ok(rows)
}

fn by_threads(case: Case, steps: u32) -> dimer::Result<Row> {
    if case.ranks == 0 {
        return not_cut(case, steps);
    }
    let rows: Vec<_> = std::thread::scope(|scope| {
        let ranks = Threads::group(case.ranks)?.into_iter();
        let ranks: Vec<_> =
            ranks.map(|group| scope.spawn(move || sharded(group, case, steps))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
    })?;
    Ok(rows.into_iter().next().expect("that of rank 0"))
}

fn config(events: bool) -> Config {
    // A translation would take the rotation into account or not, by what it finds.
    let event =
        Dimer { schedule: Schedule::Every(1), translation: Translation::None, ..Dimer::default() };
    let learning_rate = LearningRate::Fixed(1e-6);
    Config { learning_rate, dimer: events.then_some(event), ..Config::default() }
}

/// What buffers hold of the GPU's memory, by wgpu's own count.
fn memory(gpu: &Gpu) -> f64 {
    // What is written is kept twice until it is submitted and done.
    gpu.queue().submit([]);
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
    gpu.device().get_internal_counters().hal.buffer_memory.read() as f64
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

fn not_cut(case: Case, steps: u32) -> dimer::Result<Row> {
    let gpu = Gpu::new()?;
    let before = memory(&gpu);
    let params = vec![0.1; case.len];
    let mut optimizer =
        Optimizer::new(&gpu, Layout::flat(case.len)?, config(case.events), &params)?;
    let bytes = (memory(&gpu) - before) / case.len as f64;
    let mut objective = prepared(&gpu, optimizer.layout());
    let mut began = Instant::now();
    for step in 0..UNTIMED + steps {
        if step == UNTIMED {
            optimizer.telemetry()?;
            began = Instant::now();
        }
        optimizer.step(&mut objective)?;
    }
    // Waits for all steps.
    optimizer.telemetry()?;
    let ms_per_step = 1e3 * began.elapsed().as_secs_f64() / f64::from(steps);
    let (ms_in_gatherings, gatherings, megabytes) = (0.0, 0.0, 0.0);
    Ok(Row { case, ms_per_step, ms_in_gatherings, gatherings, megabytes, bytes })
}

fn sharded(group: impl Collective, case: Case, steps: u32) -> dimer::Result<Row> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let before = memory(&gpu);
    let layout = Layout::flat(case.len)?;
    let (config, params) = (config(case.events), vec![0.1; case.len]);
    let mut optimizer = ShardedOptimizer::new(&gpu, layout, config, &params, Timed::new(group))?;
    let bytes = (memory(&gpu) - before) / case.len as f64;
    let mut objective = prepared(&gpu, optimizer.layout());
    let mut began = Instant::now();
    for step in 0..UNTIMED + steps {
        if step == UNTIMED {
            optimizer.group_mut().forget();
            began = Instant::now();
        }
        optimizer.step(&mut objective)?;
    }
    let steps = f64::from(steps);
    let ms_per_step = 1e3 * began.elapsed().as_secs_f64() / steps;
    let group = optimizer.group();
    Ok(Row {
        case,
        ms_per_step,
        ms_in_gatherings: 1e3 * group.time().as_secs_f64() / steps,
        gatherings: group.calls() as f64 / steps,
        megabytes: group.brought() as f64 / steps / 1e6,
        bytes,
    })
}

fn print_header() {
    let names = ["events", "parameters", "ranks", "ms/step", "in gatherings", "gatherings"];
    let names = names.into_iter().chain(["MB brought", "bytes/param"]);
    println!("{}", names.map(|name| format!("{name:>14}")).collect::<String>());
}

fn print_row(row: &Row) {
    let Case { events, len, ranks } = row.case;
    let events = if events { "every step" } else { "none" };
    let ranks = if ranks == 0 { "not cut".to_owned() } else { ranks.to_string() };
    println!(
        "{events:>14}{len:>14}{ranks:>14}{:>14.2}{:>14.2}{:>14.1}{:>14.3}{:>14.2}",
        row.ms_per_step, row.ms_in_gatherings, row.gatherings, row.megabytes, row.bytes
    );
}
