//! Fused against unfused kernels: rotation, translation, and both in one step.

use criterion::{BenchmarkId, Criterion, Throughput};
use dimer::unfused::UnfusedOptimizer;
use dimer::{Gpu, Layout, Optimizer};

use crate::setup::{Prepared, optimizer, paper, time, values, wait, write_gradients};
use crate::times::{Key, Times};

/// Binary logarithms of the numbers of parameters.
pub const SIZES: [u32; 4] = [12, 16, 20, 24];

/// What is timed, with the words that each variant moves per parameter (AdamW): those of the fused
/// ones are counted by `src/tests/traffic.rs`; the unfused are the sums over the chains in
/// `src/unfused/chains.rs`.
pub const OPERATIONS: [(&str, u64, u64); 3] = [
    ("rotation", 3 + 3 + 4, 5 + 19),
    ("translation", 2 + 8, 7 + 21),
    ("both", 3 + 3 + 10, 5 + 19 + 7 + 21),
];

/// Both variants behind one interface.
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
}

fn variant(gpu: &Gpu, fused: bool, operation: &str, len: usize) -> dimer::Result<Variant> {
    // Translation alone is what happens between two events.
    let config = paper(if operation == "translation" { u32::MAX } else { 1 });
    if fused {
        return Ok(Variant::Fused(Box::new(optimizer(gpu, config, len)?)));
    }
    let values = values(len);
    let mut optimizer = UnfusedOptimizer::new(gpu, Layout::flat(len)?, config, &values)?;
    write_gradients(gpu, &values, optimizer.gradient(), Some(optimizer.probe_gradient()));
    optimizer.rotate(&mut Prepared)?;
    optimizer.step(&mut Prepared)?;
    wait(gpu);
    Ok(Variant::Unfused(Box::new(optimizer)))
}

pub fn run(gpu: &Gpu, criterion: &mut Criterion, times: &Times) {
    for (operation, fused_words, unfused_words) in OPERATIONS {
        let mut group = criterion.benchmark_group(operation);
        for size in SIZES {
            for (name, words) in [("fused", fused_words), ("unfused", unfused_words)] {
                group.throughput(Throughput::Bytes((4 * words) << size));
                let fused = name == "fused";
                let mut made = None;
                group.bench_function(BenchmarkId::new(name, 1_u32 << size), |bencher| {
                    let variant = made.get_or_insert_with(|| {
                        variant(gpu, fused, operation, 1 << size).expect("memory")
                    });
                    let key = Key::new(operation, name, size);
                    time(gpu, bencher, || variant.run(operation), |time| times.note(key, time));
                });
            }
        }
        group.finish();
    }
}
