//! A million parameters in one tensor and in 10 000, with one dimer and with one for each tensor.

use dimer::{Config, Dimer, Gpu, Layout, Optimizer, Scope};

use crate::prepared::{Prepared, paper, values, write_gradients};
use crate::results::{Results, Row};
use crate::rounds::{Contestant, Effort, compare};
use crate::setup::{Steps, fits};

pub const PART: &str = "tensors";

pub const LAYOUTS: [(&str, usize); 2] = [("one tensor", 1), ("10 000 tensors", 10_000)];
pub const SCOPES: [(&str, Scope); 2] = [("Global", Scope::Global), ("PerTensor", Scope::PerTensor)];
pub const LEN: usize = 1_000_000;

/// With events in every step, or in none, and the bytes that they move per parameter.
pub const STEPS: [(&str, u32, u64); 2] = [("rotation", 1, 64), ("no rotation", u32::MAX, 40)];

pub fn name(layout: &str, scope: &str) -> String {
    format!("{layout}, {scope}")
}

fn optimizer(gpu: &Gpu, tensors: usize, scope: Scope, interval: u32) -> dimer::Result<Optimizer> {
    let mut builder = Layout::builder();
    for i in 0..tensors {
        builder.tensor(i.to_string(), &[LEN / tensors]);
    }
    let layout = builder.build()?;
    let padded = values(layout.padded_len());
    let paper = paper(interval);
    let dimer = paper.dimer.map(|dimer| Dimer { scope, ..dimer });
    let config = Config { dimer, ..paper };
    let mut optimizer = Optimizer::new(gpu, layout, config, &values(LEN))?;
    write_gradients(gpu, &padded, optimizer.gradient(), optimizer.probe_gradient());
    optimizer.rotate(&mut Prepared)?;
    Ok(optimizer)
}

pub fn run(gpu: &Gpu, effort: &Effort, results: &mut Results) -> dimer::Result<()> {
    for (step, interval, bytes) in STEPS {
        let what = format!("many tensors, {step}");
        println!("{what}");
        let made = || {
            let mut all = Vec::new();
            for (scope_name, scope) in SCOPES {
                for (layout, tensors) in LAYOUTS {
                    let optimizer = optimizer(gpu, tensors, scope, interval)?;
                    let steps = Steps { optimizer, rotates: false };
                    all.push(Contestant::new(name(layout, scope_name), steps));
                }
            }
            Ok(all)
        };
        let Some(mut contestants) = fits(effort, results, &what, made)? else { continue };
        let times = compare(gpu, effort, &mut contestants)?;
        for (contestant, times) in contestants.into_iter().zip(times) {
            results.rows.push(Row {
                part: PART,
                operation: step,
                name: contestant.name,
                parameters: LEN as u64,
                bytes_per_parameter: bytes,
                times,
            });
        }
    }
    Ok(())
}
