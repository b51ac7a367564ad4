//! Fused against unfused kernels, by the clock of the host.

use dimer::unfused::UnfusedOptimizer;
use dimer::{Gpu, Layout, Optimizer};

use crate::prepared::{Prepared, paper, values, write_gradients};

/// Parameters of the vector that is timed.
pub const LEN: usize = 1 << 20;

/// Readings of each variant, of which the fastest counts.
const READINGS: usize = 5;

/// How long a reading takes at least, in seconds, unless it has this many steps.
const SHORTEST: f64 = 0.02;
const MOST_STEPS: u32 = 128;

/// One kind of step; seconds of each variant.
pub struct Time {
    pub step: &'static str,
    pub fused: f64,
    pub unfused: f64,
}

enum Variant {
    Fused(Box<Optimizer>),
    Unfused(Box<UnfusedOptimizer>),
}

impl Variant {
    /// So many steps in one submission, until the GPU has finished; in seconds.
    async fn time(&mut self, gpu: &Gpu, clock: fn() -> f64, steps: u32) -> dimer::Result<f64> {
        let began = clock();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..steps {
            match self {
                Self::Fused(it) => it.record_step_async(&mut encoder, &mut Prepared).await?,
                Self::Unfused(it) => it.record_step_async(&mut encoder, &mut Prepared).await?,
            }
        }
        gpu.queue().submit([encoder.finish()]);
        finished(gpu).await;
        Ok(clock() - began)
    }
}

/// Waits for all that was submitted.
async fn finished(gpu: &Gpu) {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    gpu.queue().on_submitted_work_done(move || {
        let _ = sender.send(());
    });
    // In a browser nothing can wait but by coming back later. A device that is lost says so in the next step, if there is one.
    #[cfg(not(target_family = "wasm"))]
    let _ = gpu.device().poll(dimer::wgpu::PollType::wait_indefinitely());
    receiver.receive().await;
}

/// A step with an event of the dimer, and one without; AdamW. `clock` tells seconds.
pub async fn measure(gpu: &Gpu, clock: fn() -> f64) -> dimer::Result<Vec<Time>> {
    let mut times = Vec::new();
    for (step, interval) in [("with a rotation", 1), ("without", u32::MAX)] {
        let (config, values, layout) = (paper(interval), values(LEN), Layout::flat(LEN)?);
        let fused = Optimizer::new(gpu, layout.clone(), config.clone(), &values)?;
        write_gradients(gpu, &values, fused.gradient(), fused.probe_gradient());
        let unfused = UnfusedOptimizer::new(gpu, layout, config, &values)?;
        write_gradients(gpu, &values, unfused.gradient(), Some(unfused.probe_gradient()));
        let mut variants = [Variant::Fused(Box::new(fused)), Variant::Unfused(Box::new(unfused))];
        let (mut steps, mut fastest) = ([1; 2], [f64::INFINITY; 2]);
        for (variant, steps) in variants.iter_mut().zip(&mut steps) {
            // The first also compiles.
            variant.time(gpu, clock, 1).await?;
            while *steps < MOST_STEPS && variant.time(gpu, clock, *steps).await? < SHORTEST {
                *steps *= 2;
            }
        }
        // By turns, so that what else the machine does meets both.
        for _ in 0..READINGS {
            for (i, variant) in variants.iter_mut().enumerate() {
                let time = variant.time(gpu, clock, steps[i]).await? / f64::from(steps[i]);
                fastest[i] = fastest[i].min(time);
            }
        }
        times.push(Time { step, fused: fastest[0], unfused: fastest[1] });
    }
    Ok(times)
}
