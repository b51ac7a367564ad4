//! A million parameters in one tensor and in 10 000, with one dimer and with one for each tensor.

use criterion::Criterion;
use dimer::{Config, Dimer, Gpu, Layout, Optimizer, Scope};

use crate::setup::{Prepared, paper, time, values, wait, write_gradients};
use crate::times::{Key, Times};

pub const LAYOUTS: [(&str, usize); 2] = [("one tensor", 1), ("10 000 tensors", 10_000)];
pub const SCOPES: [(&str, Scope); 2] = [("Global", Scope::Global), ("PerTensor", Scope::PerTensor)];
const LEN: usize = 1_000_000;

/// With events in every step, or in none.
pub const STEPS: [(&str, u32); 2] = [("rotation", 1), ("no rotation", u32::MAX)];

/// One name of what is timed.
pub fn name(layout: &str, scope: &str, step: &str) -> &'static str {
    let name = format!("{layout}, {scope}, {step}");
    // One of eight, leaked for the duration of the bench.
    Box::leak(name.into_boxed_str())
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
    optimizer.step(&mut Prepared)?;
    wait(gpu);
    Ok(optimizer)
}

pub fn run(gpu: &Gpu, criterion: &mut Criterion, times: &Times) {
    let mut group = criterion.benchmark_group("tensors");
    for (step, interval) in STEPS {
        for (scope_name, scope) in SCOPES {
            for (layout, tensors) in LAYOUTS {
                let name = name(layout, scope_name, step);
                let mut made = None;
                group.bench_function(name, |bencher| {
                    let optimizer = made.get_or_insert_with(|| {
                        optimizer(gpu, tensors, scope, interval).expect("memory")
                    });
                    let key = Key::new("tensors", name, 0);
                    let step = || optimizer.step(&mut Prepared);
                    time(gpu, bencher, step, |time| times.note(key, time));
                });
            }
        }
    }
    group.finish();
}
