//! Minimises the 4-D Rosenbrock function, a closure on the host, with AdamW and a learning rate from curvature.

use dimer::{Config, Gpu, HostObjective, Layout, Optimizer, cosine_with_warm_up};

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
    const STEPS: u64 = 1000;
    let start = [-1.2, 1.0, -0.5, 0.8];
    let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(4)?, Config::default(), &start)?;
    let mut objective = HostObjective::new(rosenbrock);
    for step in 0..STEPS {
        optimizer.set_rate_factor(cosine_with_warm_up(step, STEPS / 10, STEPS, 0.0))?;
        optimizer.step(&mut objective)?;
    }
    for record in optimizer.telemetry()?.iter().step_by(100) {
        println!(
            "step {:4}  loss {:10.6}  learning rate {:.2e}",
            record.step,
            record.loss.unwrap_or(f32::NAN),
            record.learning_rate
        );
    }
    println!("{:?}", optimizer.read_params()?);
    Ok(())
}
