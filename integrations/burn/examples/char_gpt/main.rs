//! The experiment of arXiv 2507.19968: a character-level GPT, trained by SGD, Adam, AdamW and a
//! Sophia-like optimizer, each alone and with a dimer.
//!
//! Without `--text` it learns equations of modular addition, which have a plateau. A run that was
//! interrupted goes on where it was.

mod data;
mod lanczos;
mod method;
mod model;
mod report;
mod train;
mod watch;

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use dimer_burn::DimerDevice;

use data::Data;
use method::Method;
use model::Size;
use train::Experiment;

/// Trains a character-level GPT with and without a dimer.
#[derive(Parser)]
struct Arguments {
    /// A text file to learn; equations of modular addition if there is none.
    #[arg(long)]
    text: Option<PathBuf>,
    /// The modulus of those equations: the larger, the longer the plateau.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(2..=26))]
    modulus: u32,
    /// Layers, heads and width.
    #[arg(long, value_enum, default_value = "simple")]
    size: Size,
    /// Steps of each run.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Sequences in a minibatch.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Optimizers: sgd, adam, adam-l2, adamw, sophia, alone or after one of deo-, projection-, curvature- and
    /// repeated-; the last two take their learning rate from curvature.
    #[arg(long, value_delimiter = ',', default_values = ["adamw", "deo-adamw"])]
    optimizers: Vec<Method>,
    /// Runs of each optimizer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seed of the first run.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Steps from one event of the dimer, or measurement of the learning rate, to the next.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    interval: u32,
    /// Highest learning rate, after 100 steps, or the start of one from curvature; SGD's is 100 times this.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Steps from one validation loss to the next.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    evaluate_every: u64,
    /// Equal parts of the minibatch: an event uses one of them. With 4, its probes cost no gradient more.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    parts: u16,
    /// Follow the sharpness and the softest direction, whatever the optimizer, on 7 gradients of a minibatch, or of a part
    /// of it, in every interval, which are not counted. Both start anew when a run is taken up again.
    #[arg(long)]
    watch: bool,
    /// Steps after which both ends are compared with Lanczos over 16 minibatches, in NAME.ends.csv.
    #[arg(long, value_delimiter = ',', requires = "watch")]
    lanczos: Vec<u64>,
    /// Products of Lanczos, 32 gradients each.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(2..))]
    products: u16,
    /// Where gradients are computed.
    #[arg(long, value_enum, default_value = "auto")]
    device: Place,
    /// Folder of logs, checkpoints, table and chart.
    #[arg(long, default_value = "target/char_gpt")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Place {
    /// On the GPU if there is one, else on the CPU.
    Auto,
    /// Burn's wgpu backend, sharing its device with the optimizer.
    Gpu,
    /// Burn's CPU backend; the optimizer still runs in its kernels.
    Cpu,
}

impl Place {
    fn open(self) -> Result<DimerDevice, Box<dyn Error>> {
        let gpu = dimer::Gpu::new()?;
        let software = gpu.device().adapter_info().device_type == wgpu::DeviceType::Cpu;
        if self == Self::Gpu || (self == Self::Auto && !software) {
            return Ok(DimerDevice::new()?);
        }
        Ok(DimerDevice::host(Device::flex(), &gpu))
    }
}

impl Arguments {
    /// Makes the folder, and makes sure that runs which differ in more than optimizer and seed do not
    /// share it.
    fn claim_folder(&self) -> Result<(), Box<dyn Error>> {
        let Self {
            text,
            modulus,
            size,
            steps,
            batch,
            interval,
            learning_rate,
            evaluate_every,
            parts,
            watch,
            ..
        } = self;
        let settings = format!(
            "text {text:?}, modulus {modulus}, size {size:?}, steps {steps}, batch {batch}, \
             interval {interval}, learning rate {learning_rate}, evaluated every {evaluate_every}, \
             parts {parts}, watched {watch}\n"
        );
        std::fs::create_dir_all(&self.out)?;
        let path = self.out.join("settings.txt");
        match std::fs::read_to_string(&path) {
            Ok(found) if found != settings => Err(format!(
                "{} has runs of another experiment ({}); choose another folder with --out",
                self.out.display(),
                found.trim_end()
            )
            .into()),
            Ok(_) => Ok(()),
            Err(_) => Ok(std::fs::write(path, settings)?),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if !arguments.batch.is_multiple_of(arguments.parts) {
        let Arguments { batch, parts, .. } = arguments;
        return Err(format!("{batch} sequences cannot be cut into {parts} equal parts").into());
    }
    arguments.claim_folder()?;
    let data = match &arguments.text {
        Some(path) => Data::read(path, arguments.batch.into())?,
        None => Data::equations(arguments.modulus, arguments.batch.into())?,
    };
    let device = arguments.device.open()?;
    let place = if device.is_shared() { "there too" } else { "on the CPU" };
    println!("optimizer on {}, gradients {place}", device.gpu().name());
    let experiment = Experiment {
        data: &data,
        device: &device,
        size: arguments.size,
        steps: arguments.steps,
        interval: arguments.interval,
        learning_rate: arguments.learning_rate,
        evaluation_interval: arguments.evaluate_every,
        parts: arguments.parts.into(),
        watch: arguments.watch,
        lanczos: &arguments.lanczos,
        products: arguments.products.into(),
        folder: &arguments.out,
    };
    let mut runs = Vec::new();
    for &method in &arguments.optimizers {
        for seed in arguments.first_seed..arguments.first_seed + arguments.seeds {
            runs.push(experiment.run(method, seed)?);
        }
    }
    let table = report::table(&runs, arguments.steps);
    println!("\n{table}");
    std::fs::write(arguments.out.join("table.md"), table)?;
    let chart = arguments.out.join("validation_loss.svg");
    report::chart(&runs, &chart)?;
    println!("the curves are in {}", chart.display());
    Ok(())
}
