//! One side of `benches/peers/peers.py`: times steps of burn-optim's AdamW over a given number of
//! parameters, on Burn's CPU backend and on its wgpu backend, and prints nanoseconds per step as JSON.

use std::time::Instant;

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use clap::Parser;
use dimer_burn::DimerDevice;

#[derive(Parser)]
struct Arguments {
    /// Number of parameters.
    #[arg(long, default_value_t = 1 << 20)]
    parameters: usize,
    /// Steps to time.
    #[arg(long, default_value_t = 5)]
    steps: u32,
}

#[derive(Module, Debug)]
struct Vector {
    x: Param<Tensor<1>>,
}

/// Nanoseconds per step.
fn time(device: &Device, arguments: &Arguments) -> Result<f64, Box<dyn std::error::Error>> {
    let random =
        || Tensor::<1>::random([arguments.parameters], Distribution::Uniform(0.0, 1.0), device);
    let mut module = Vector { x: Param::from_tensor(random()) };
    let gradient = random().inner();
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-2).init();
    let mut step = |module: Vector| {
        let mut gradients = GradientsParams::new();
        gradients.register(module.x.id, gradient.clone());
        optimizer.step(1e-3, module, gradients)
    };
    module = step(module);
    device.sync()?;
    let began = Instant::now();
    for _ in 0..arguments.steps {
        module = step(module);
    }
    device.sync()?;
    Ok(began.elapsed().as_nanos() as f64 / f64::from(arguments.steps))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let shared = DimerDevice::new()?;
    let flex = time(&Device::flex().autodiff(), &arguments)?;
    let wgpu = time(&shared.burn(), &arguments)?;
    println!("{{\"burn AdamW, flex\": {flex}, \"burn AdamW, wgpu\": {wgpu}}}");
    Ok(())
}
