//! Whole steps over 2¹⁰ to 2²⁶ parameters, next to the fastest copy.

use criterion::{BenchmarkId, Criterion, Throughput};
use dimer::{Config, Dimer, Gpu, LearningRate, Schedule, Storage};

use crate::copy::{COPIES, Copy};
use crate::setup::{Prepared, optimizer, paper, time};
use crate::times::{Key, Times};

/// Binary logarithms of the numbers of parameters.
pub const SIZES: [u32; 9] = [10, 12, 14, 16, 18, 20, 22, 24, 26];

/// Longest vectors that one binding may need to hold for the copy.
const COPY_LIMIT: u64 = 1 << 27;

/// Kinds of step, each with the bytes that it moves per parameter.
pub const STEPS: [(&str, u64); 7] = [
    ("copy", 8),
    ("AdamW, unguarded", 28),
    ("AdamW", 32),
    ("DEO, no rotation", 40),
    ("DEO, rotation", 64),
    ("DEO, rotation, bf16", 48),
    ("DEO, locally optimal", 212),
];

fn config(step: &str) -> Config {
    let learning_rate = LearningRate::Fixed(1e-3);
    let alone = Config { learning_rate, ..Config::default() };
    let default = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
    match step {
        "AdamW, unguarded" => Config { skip_non_finite: false, ..alone },
        "AdamW" => alone,
        "DEO, no rotation" => paper(u32::MAX),
        "DEO, rotation" => paper(1),
        "DEO, rotation, bf16" => Config { storage: Storage::Bf16, ..paper(1) },
        _ => Config { dimer: Some(default), ..alone },
    }
}

pub fn run(gpu: &Gpu, criterion: &mut Criterion, times: &Times) {
    let mut group = criterion.benchmark_group("scaling");
    for size in SIZES {
        for (step, bytes) in STEPS {
            group.throughput(Throughput::Bytes(bytes << size));
            let (mut copy, mut made) = (None, None);
            group.bench_function(BenchmarkId::new(step, 1_u32 << size), |bencher| {
                let key = Key::new("scaling", step, size);
                if step == "copy" {
                    // The bytes of a longer vector, in rounds over one that a binding holds.
                    let limit = gpu.device().limits().max_storage_buffer_binding_size;
                    let len = (1_u64 << size).min(limit.min(COPY_LIMIT) / 4) as usize;
                    let share = f64::from(COPIES) * len as f64 / f64::from(1_u32 << size);
                    let copy = copy.get_or_insert_with(|| Copy::new(gpu, len));
                    time(gpu, bencher, || copy.run(), |time| times.note(key, time / share));
                } else {
                    let made = made.get_or_insert_with(|| {
                        optimizer(gpu, config(step), 1 << size).expect("memory")
                    });
                    let step = || made.step(&mut Prepared);
                    time(gpu, bencher, step, |time| times.note(key, time));
                }
            });
        }
    }
    group.finish();
}
