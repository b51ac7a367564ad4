//! Minimises the 4-D Rosenbrock function, a closure on the host, with DEO-AdamW.

use dimer::{Config, Gpu, HostObjective, Layout, LearningRate, Optimizer};

fn rosenbrock(x: &[f32], gradient: &mut [f32]) -> f32 {
    let mut loss = 0.0;
    for i in 0..x.len() - 1 {
        let (valley, offset) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
        loss += 100.0 * valley * valley + offset * offset;
        gradient[i] += -400.0 * x[i] * valley - 2.0 * offset;
        gradient[i + 1] += 200.0 * valley;
    }
    loss
}

fn main() -> dimer::Result<()> {
    let config = Config { learning_rate: LearningRate::Fixed(1e-2), ..Config::default() };
    let start = [-1.2, 1.0, -0.5, 0.8];
    let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(4)?, config, &start)?;
    let mut objective = HostObjective::new(rosenbrock);
    for _ in 0..1000 {
        optimizer.step(&mut objective)?;
    }
    for record in optimizer.telemetry()?.iter().filter(|record| record.event).step_by(4) {
        println!(
            "step {:4}  loss {:10.4}  curvature {:9.3}  residual {:9.3}",
            record.step,
            record.loss.unwrap_or(f32::NAN),
            record.curvature,
            record.residual
        );
    }
    println!("{:?}", optimizer.read_params()?);
    Ok(())
}
