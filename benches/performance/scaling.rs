//! Whole steps over 2¹⁰ to 2²⁸ parameters, next to the fastest copy.

use dimer::{Config, Dimer, Gpu, LearningRate, Schedule, Storage};

use crate::copy::{COPIES, Copy};
use crate::prepared::paper;
use crate::results::{Results, Row};
use crate::rounds::{Contestant, Effort, compare};
use crate::setup::{Steps, fits, optimizer};

pub const PART: &str = "scaling";

/// Binary logarithms of the numbers of parameters.
const SIZES: [u32; 10] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28];

/// Longest vectors that one binding may need to hold for the copy.
const COPY_LIMIT: u64 = 1 << 30;

pub const COPY: &str = "copy";

/// Kinds of step, each with the bytes that it moves per parameter.
pub const STEPS: [(&str, u64); 7] = [
    (COPY, 8),
    ("AdamW, unguarded", 28),
    ("AdamW", 32),
    ("DEO, no rotation", 40),
    ("DEO, rotation", 64),
    ("DEO, rotation, bf16", 48),
    ("DEO, locally optimal", 212),
];

pub fn config(step: &str) -> Config {
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

fn contestant(gpu: &Gpu, step: &str, size: u32) -> dimer::Result<Contestant> {
    if step != COPY {
        let optimizer = optimizer(gpu, config(step), 1 << size)?;
        return Ok(Contestant::new(step, Steps { optimizer, rotates: false }));
    }
    // The bytes of a longer vector, in rounds over one that a binding holds.
    let limit = gpu.device().limits().max_storage_buffer_binding_size;
    let len = (1_u64 << size).min(limit.min(COPY_LIMIT) / 4) as usize;
    let share = f64::from(COPIES) * len as f64 / (1_u64 << size) as f64;
    Ok(Contestant { share, ..Contestant::new(step, Copy::new(gpu, len)) })
}

pub fn run(gpu: &Gpu, effort: &Effort, results: &mut Results) -> dimer::Result<()> {
    for size in SIZES.into_iter().filter(|&size| size <= effort.largest) {
        let what = format!("whole steps, 2^{size}");
        println!("{what}");
        let made = || STEPS.iter().map(|(step, _)| contestant(gpu, step, size)).collect();
        let made: Option<Vec<Contestant>> = fits(effort, results, &what, made)?;
        let Some(mut contestants) = made else { continue };
        let times = compare(gpu, effort, &mut contestants)?;
        for ((contestant, (_, bytes)), times) in contestants.into_iter().zip(STEPS).zip(times) {
            results.rows.push(Row {
                part: PART,
                operation: "step",
                name: contestant.name,
                parameters: 1 << size,
                bytes_per_parameter: bytes,
                times,
            });
        }
    }
    Ok(())
}
