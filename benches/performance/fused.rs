//! Fused against unfused kernels: rotation, translation, and both in one step.

use dimer::unfused::UnfusedOptimizer;
use dimer::{Gpu, Layout, Optimizer};

use crate::prepared::{Prepared, paper, values, write_gradients};
use crate::results::{Results, Row};
use crate::rounds::{Contestant, Effort, Timed, compare};
use crate::setup::{Steps, fits, optimizer};

pub const PART: &str = "fused";

/// Binary logarithms of the numbers of parameters.
const SIZES: [u32; 6] = [12, 16, 20, 24, 26, 28];

/// What is timed, with the words that each variant moves per parameter (AdamW): those of the fused
/// ones are counted by `src/tests/traffic.rs`; the unfused are the sums over the chains in
/// `src/unfused/chains.rs`.
pub const OPERATIONS: [(&str, u64, u64); 3] = [
    ("rotation", 3 + 3 + 4, 5 + 19),
    ("translation", 2 + 8, 7 + 21),
    ("both", 3 + 3 + 10, 5 + 19 + 7 + 21),
];

struct Unfused {
    optimizer: UnfusedOptimizer,
    rotates: bool,
}

impl Timed for Unfused {
    fn call(&mut self) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.rotate(&mut Prepared)
        } else {
            self.optimizer.step(&mut Prepared)
        }
    }

    fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.record_rotation(encoder, &mut Prepared)
        } else {
            self.optimizer.record_step(encoder, &mut Prepared)
        }
    }
}

fn contestants(gpu: &Gpu, operation: &str, len: usize) -> dimer::Result<[Contestant; 2]> {
    let rotates = operation == "rotation";
    // Translation alone is what happens between two events.
    let config = paper(if operation == "translation" { u32::MAX } else { 1 });
    let fused: Optimizer = optimizer(gpu, config.clone(), len)?;
    let values = values(len);
    let mut optimizer = UnfusedOptimizer::new(gpu, Layout::flat(len)?, config, &values)?;
    write_gradients(gpu, &values, optimizer.gradient(), Some(optimizer.probe_gradient()));
    optimizer.rotate(&mut Prepared)?;
    Ok([
        Contestant::new("fused", Steps { optimizer: fused, rotates }),
        Contestant::new("unfused", Unfused { optimizer, rotates }),
    ])
}

pub fn run(gpu: &Gpu, effort: &Effort, results: &mut Results) -> dimer::Result<()> {
    for size in SIZES.into_iter().filter(|&size| size <= effort.largest) {
        for (operation, fused, unfused) in OPERATIONS {
            let what = format!("{operation}, fused and unfused, 2^{size}");
            println!("{what}");
            let made = || contestants(gpu, operation, 1 << size);
            let Some(mut contestants) = fits(effort, results, &what, made)? else { continue };
            let times = compare(gpu, effort, &mut contestants)?;
            for ((contestant, words), times) in
                contestants.into_iter().zip([fused, unfused]).zip(times)
            {
                results.rows.push(Row {
                    part: PART,
                    operation,
                    name: contestant.name,
                    parameters: 1 << size,
                    bytes_per_parameter: 4 * words,
                    times,
                });
            }
        }
    }
    Ok(())
}
