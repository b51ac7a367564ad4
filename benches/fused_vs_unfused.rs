//! Fused against unfused kernels, side by side: rotation, translation, and both in one step.
//!
//! The objective does nothing, so that the optimizer alone is timed; gradients are prepared. One
//! synchronisation a batch of steps. Throughput counts the bytes that each variant moves. On a
//! software renderer the ratio says how the work is scheduled, not how fast a GPU is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dimer::unfused::UnfusedOptimizer;
use dimer::{
    Config, Correction, Dimer, Displacement, Evaluation, Gpu, GpuSlice, Layout, Objective,
    Optimizer, Rate, Rotation, Schedule, Translation,
};

/// Binary logarithms of the numbers of parameters.
const SIZES: [u32; 5] = [12, 16, 20, 22, 24];

/// What is timed, with the words that each variant moves for one parameter (AdamW).
///
/// Fused: displace 3, gram 3 or with the correction alone 2, rotate 4, translate 8,
/// rotate_translate 10. Unfused: the sums over the chains in `src/unfused/chains.rs`.
const OPERATIONS: [(&str, u64, u64); 3] = [
    ("rotation", 3 + 3 + 4, 5 + 19),
    ("translation", 2 + 8, 7 + 21),
    ("both", 3 + 3 + 10, 5 + 19 + 7 + 21),
];

/// An objective whose gradients are there already.
struct Prepared;

impl Objective for Prepared {
    fn gradient(&mut self, _at: Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }
}

fn config(operation: &str) -> Config {
    let dimer = Dimer {
        rotation: Rotation::Gradient { rate: Rate::Fixed(1e-3) },
        displacement: Displacement::Absolute(1e-2),
        // Translation alone is what happens between two events.
        schedule: Schedule::Every(if operation == "translation" { u32::MAX } else { 1 }),
        translation: Translation::Project { alpha: 1.0, only_negative_curvature: false },
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    Config { dimer: Some(dimer), ..Config::default() }
}

/// Both variants behind one face.
enum Variant {
    Fused(Box<Optimizer>),
    Unfused(Box<UnfusedOptimizer>),
}

impl Variant {
    fn run(&mut self, operation: &str) -> dimer::Result<()> {
        match (self, operation) {
            (Self::Fused(optimizer), "rotation") => optimizer.rotate(&mut Prepared),
            (Self::Fused(optimizer), _) => optimizer.step(&mut Prepared),
            (Self::Unfused(optimizer), "rotation") => optimizer.rotate(&mut Prepared),
            (Self::Unfused(optimizer), _) => optimizer.step(&mut Prepared),
        }
    }

    fn gradients(&self) -> [&GpuSlice; 2] {
        match self {
            Self::Fused(optimizer) => [optimizer.gradient(), optimizer.probe_gradient()],
            Self::Unfused(optimizer) => [optimizer.gradient(), optimizer.probe_gradient()],
        }
    }
}

fn variant(gpu: &Gpu, fused: bool, operation: &str, len: usize) -> dimer::Result<Variant> {
    let layout = Layout::flat(len)?;
    let values: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
    let config = config(operation);
    let variant = if fused {
        Variant::Fused(Box::new(Optimizer::new(gpu, layout, config, &values)?))
    } else {
        Variant::Unfused(Box::new(UnfusedOptimizer::new(gpu, layout, config, &values)?))
    };
    for (slice, factor) in variant.gradients().into_iter().zip([1.0, 1.01]) {
        let gradient: Vec<f32> = values.iter().map(|x| factor * x).collect();
        gpu.queue().write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&gradient));
    }
    Ok(variant)
}

fn wait(gpu: &Gpu) {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
}

fn main() -> dimer::Result<()> {
    let gpu = Gpu::new()?;
    println!("device: {}", gpu.name());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    // Nanoseconds a step, by operation, size and whether fused.
    let times = RefCell::new(BTreeMap::<(usize, u32, bool), Vec<f64>>::new());
    for (which, (operation, fused_words, unfused_words)) in OPERATIONS.into_iter().enumerate() {
        let mut group = criterion.benchmark_group(operation);
        for size in SIZES {
            for fused in [true, false] {
                let (name, words) =
                    if fused { ("fused", fused_words) } else { ("unfused", unfused_words) };
                group.throughput(Throughput::Bytes((4 * words) << size));
                group.bench_function(BenchmarkId::new(name, 1_u32 << size), |bencher| {
                    let mut variant = variant(&gpu, fused, operation, 1 << size).expect("buffers");
                    // Steps are corrected from the first event on.
                    variant.run("rotation").expect("a rotation");
                    wait(&gpu);
                    bencher.iter_custom(|steps| {
                        let began = Instant::now();
                        for _ in 0..steps {
                            variant.run(operation).expect("a step");
                        }
                        wait(&gpu);
                        let time = began.elapsed();
                        let nanoseconds = time.as_nanos() as f64 / steps as f64;
                        times
                            .borrow_mut()
                            .entry((which, size, fused))
                            .or_default()
                            .push(nanoseconds);
                        time
                    });
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
    print_ratios(&times.into_inner());
    Ok(())
}

/// Medians of both variants and their ratio, as a Markdown table.
fn print_ratios(times: &BTreeMap<(usize, u32, bool), Vec<f64>>) {
    let median = |key| {
        let mut times = times.get(&key)?.clone();
        times.sort_by(f64::total_cmp);
        Some(times[times.len() / 2])
    };
    println!("\n| operation | parameters | fused, ms | unfused, ms | unfused / fused |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (which, (operation, ..)) in OPERATIONS.into_iter().enumerate() {
        for size in SIZES {
            let pair = (median((which, size, true)), median((which, size, false)));
            if let (Some(fused), Some(unfused)) = pair {
                println!(
                    "| {operation} | 2^{size} | {:.3} | {:.3} | {:.2} |",
                    fused / 1e6,
                    unfused / 1e6,
                    unfused / fused
                );
            }
        }
    }
}
