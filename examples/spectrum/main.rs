//! Looks at the spectrum of the Hessian of a small network, before and after it is trained: both ends, the trace, and the
//! density of all eigenvalues.

mod chart;
#[allow(dead_code, reason = "centred images are for edge_of_stability")]
#[path = "../digits/data.rs"]
mod data;
#[allow(dead_code, reason = "accuracy and the squared error are for other examples")]
#[path = "../digits/network.rs"]
mod network;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use data::Images;
use dimer::{
    Config, Density, Dimer, Eigenpair, Gpu, Optimizer, Spectrum, SpectrumConfig,
    cosine_with_warm_up,
};
use network::{Loss, Training};
use serde::Serialize;

/// Trains a 64-64-32-10 tanh network on handwritten digits, and looks at the Hessian of its loss before and after.
#[derive(Parser)]
struct Arguments {
    /// Seed of the weights, the minibatches and the random vectors.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of AdamW, each on 128 images, with a learning rate from curvature.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Images over which the Hessian is taken.
    #[arg(long, default_value_t = 512)]
    images: usize,
    /// Eigenpairs at each end.
    #[arg(long, default_value_t = 3)]
    ends: usize,
    /// Rotations of the eigenpairs.
    #[arg(long, default_value_t = 30)]
    rotations: u32,
    /// Random vectors for the trace and the density.
    #[arg(long, default_value_t = 5)]
    vectors: u32,
    /// Steps of the Lanczos method from each.
    #[arg(long, default_value_t = 60)]
    lanczos: u32,
    /// Where to write the picture.
    #[arg(long, default_value = "target/spectrum.svg")]
    out: PathBuf,
    /// Where to write what was found, with the data and the parameters, for a comparison by other tools.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What was found at one point.
pub struct Look {
    name: &'static str,
    params: Vec<f32>,
    ends: Vec<Eigenpair>,
    density: Density,
    displacement: Option<f32>,
    /// Those of the ends, and those of the density.
    gradients: [f64; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let (all, _) = data::load();
    let count = arguments.images.clamp(1, all.len());
    let images = Images {
        pixels: all.pixels[..count * data::PIXELS].to_vec(),
        labels: all.labels[..count].to_vec(),
    };
    let params = network::initial_params(arguments.seed);
    let before = look(&gpu, "before training", &params, &images, &arguments)?;
    let params = train(&gpu, &params, &all, &arguments)?;
    let after = look(&gpu, "after training", &params, &images, &arguments)?;
    let looks = [before, after];
    for look in &looks {
        print_table(look, arguments.ends);
    }
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    chart::draw(&arguments.out, &looks)?;
    println!("\npicture: {}", arguments.out.display());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec(&Report::new(&images, &looks))?)?;
        println!("numbers: {}", path.display());
    }
    Ok(())
}

/// The parameters after training.
fn train(
    gpu: &Gpu,
    params: &[f32],
    images: &Images,
    arguments: &Arguments,
) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut optimizer = Optimizer::new(gpu, network::layout()?, Config::default(), params)?;
    let mut training = Training::new(&optimizer, images, 128, arguments.seed);
    let steps = arguments.steps;
    while optimizer.steps() < steps {
        let factor = cosine_with_warm_up(optimizer.steps(), steps / 10, steps, 0.1);
        optimizer.set_rate_factor(factor)?;
        optimizer.step(&mut training)?;
    }
    let loss = optimizer.telemetry()?.last().and_then(|record| record.loss);
    println!("trained in {steps} steps to a loss of {:.5}", loss.unwrap_or(f32::NAN));
    Ok(optimizer.read_params()?)
}

/// Both ends, trace and density at `params`, of the mean loss of `images`.
fn look(
    gpu: &Gpu,
    name: &'static str,
    params: &[f32],
    images: &Images,
    arguments: &Arguments,
) -> Result<Look, Box<dyn Error>> {
    let config = Config { dimer: Some(Dimer::default()), ..Config::default() };
    let mut optimizer = Optimizer::new(gpu, network::layout()?, config, params)?;
    let mut loss = Training::on_all(&optimizer, images, Loss::CrossEntropy);
    let settings = SpectrumConfig {
        lowest: arguments.ends,
        highest: arguments.ends,
        seed: arguments.seed,
        ..SpectrumConfig::default()
    };
    let mut spectrum = Spectrum::with_config(&mut optimizer, settings)?;
    spectrum.rotate(&mut loss, arguments.rotations)?;
    let ends = spectrum.read()?;
    let of_ends = spectrum.optimizer().gradient_evaluations();
    let density = spectrum.density(&mut loss, arguments.vectors, arguments.lanczos)?;
    let displacement = spectrum.displacement()?;
    let gradients = [of_ends, optimizer.gradient_evaluations() - of_ends];
    Ok(Look { name, params: params.to_vec(), ends, density, displacement, gradients })
}

fn print_table(look: &Look, lowest: usize) {
    println!("\n{}: probes at {:.2e}", look.name, look.displacement.unwrap_or(f32::NAN));
    for (index, mode) in look.ends.iter().enumerate() {
        let end = if index < lowest { "lowest" } else { "highest" };
        let mark = if mode.converged { "" } else { "  not converged" };
        println!("  {end:8} {:>12.5} ± {:.5}{mark}", mode.curvature, mode.error);
    }
    let trace = look.density.trace;
    println!("  trace    {:>12.5} ± {:.5} (standard error)", trace.value, trace.standard_error);
    let nodes = look.density.nodes();
    let largest = nodes.iter().map(|node| node.eigenvalue.abs()).fold(0.0, f64::max);
    let share = |is_in: &dyn Fn(f64) -> bool| {
        let inside = nodes.iter().filter(|node| is_in(node.eigenvalue / largest));
        inside.fold(0.0, |sum, node| sum + 100.0 * node.weight)
    };
    println!(
        "  of all eigenvalues {:.2} % are below -1 %, {:.2} % above 1 % and {:.2} % above 10 % of the largest",
        share(&|x| x < -0.01),
        share(&|x| x > 0.01),
        share(&|x| x > 0.1)
    );
    let [ends, density] = look.gradients;
    println!("  {ends} gradients for the ends, {density} for the density");
}

/// What another tool needs to check the numbers.
#[derive(Serialize)]
struct Report<'a> {
    /// In [0, 1], image by image.
    pixels: &'a [f32],
    labels: &'a [u32],
    looks: Vec<ReportOfLook<'a>>,
}

#[derive(Serialize)]
struct ReportOfLook<'a> {
    name: &'a str,
    /// Weight and bias of each layer; a weight has a row for each input.
    params: &'a [f32],
    /// The lowest first, with their errors.
    ends: Vec<[f32; 2]>,
    trace: [f64; 2],
    /// Eigenvalue and weight.
    nodes: Vec<[f64; 2]>,
    gradients: [f64; 2],
}

impl<'a> Report<'a> {
    fn new(images: &'a Images, looks: &'a [Look]) -> Self {
        let of_look = |look: &'a Look| ReportOfLook {
            name: look.name,
            params: &look.params,
            ends: look.ends.iter().map(|mode| [mode.curvature, mode.error]).collect(),
            trace: [look.density.trace.value, look.density.trace.standard_error],
            nodes: look.density.nodes().iter().map(|node| [node.eigenvalue, node.weight]).collect(),
            gradients: look.gradients,
        };
        let looks = looks.iter().map(of_look).collect();
        Self { pixels: &images.pixels, labels: &images.labels, looks }
    }
}
