//! Kernels under many tunings, each in turn with the tuning that the device has by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dimer::{Gpu, Optimizer, Tuning};

use crate::copy::Copy;
use crate::prepared::Prepared;
use crate::results::{Results, Row, SweepRow};
use crate::rounds::{Contestant, Effort, Spread, compare};
use crate::scaling::config;
use crate::setup::{fits, optimizer};
use crate::stopwatch::Stopwatch;

pub const PART: &str = "sweep";

/// Binary logarithm of the most parameters. With a quarter of them, all tunings are tried, and then the best of those.
const LARGEST: u32 = 26;

const WORKGROUP_SIZES: [u32; 2] = [256, 512];
const WORKGROUPS: [u32; 4] = [256, 512, 1024, 2048];
/// The first one stands for the whole workgroup.
const STREAM_WIDTHS: [u32; 3] = [u32::MAX, 32, 8];
/// Always a dispatch for the sums of tiles, and never.
const REREAD_TILES: [u32; 2] = [0, 2048];

/// How many of the fastest tunings of each kernel go on to the second size.
const BEST: usize = 3;

/// Most rounds with one tuning, and steps of one turn.
const ROUNDS: u32 = 3;
const STEPS: u32 = 5;

/// What is timed: a kernel of a kind of step, or the whole of it, with the bytes that it moves per parameter. The
/// dispatch that adds the sums of tiles belongs to the kernel that needs them.
pub const SUBJECTS: [(&str, &str, &str, u64); 5] = [
    ("gram, AdamW", "AdamW", "step/gram", 4),
    ("translate", "AdamW", "step/translate", 28),
    ("gram, event", "DEO, rotation", "step/gram", 12),
    ("rotate_translate", "DEO, rotation", "step/rotate_translate", 40),
    ("locally optimal event", "DEO, locally optimal", "", 212),
];

/// The steps of all subjects with one tuning.
struct Candidate {
    tuning: Tuning,
    steps: Vec<(&'static str, Optimizer)>,
}

impl Candidate {
    fn new(gpu: &Gpu, tuning: Tuning, size: u32) -> dimer::Result<Self> {
        let gpu = gpu.with_tuning(tuning)?;
        let mut steps: Vec<(&str, Optimizer)> = Vec::new();
        for (_, step, ..) in SUBJECTS {
            if steps.iter().all(|(known, _)| *known != step) {
                steps.push((step, optimizer(&gpu, config(step), 1 << size)?));
            }
        }
        Ok(Self { tuning, steps })
    }

    /// Nanoseconds of each subject in one turn.
    fn turn(&mut self, stopwatch: &Stopwatch) -> dimer::Result<Vec<f64>> {
        // By step and kernel; "" is the whole.
        let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for (step, optimizer) in &mut self.steps {
            let whole = stopwatch.time(STEPS, |to| optimizer.record_step(to, &mut Prepared))?;
            times.insert((step, ""), whole);
            optimizer.time_kernels(true)?;
            for _ in 0..STEPS {
                optimizer.step(&mut Prepared)?;
            }
            let mut sum = 0.0;
            for time in optimizer.kernel_times()? {
                if time.kernel == "step/sum_tiles" {
                    sum += time.nanoseconds;
                    continue;
                }
                let all = times.entry((step, time.kernel)).or_default();
                all.push(std::mem::take(&mut sum) + time.nanoseconds);
            }
            optimizer.time_kernels(false)?;
        }
        let of = |(_, step, kernel, _)| Spread::of(times[&(step, kernel)].clone()).median;
        Ok(SUBJECTS.map(of).to_vec())
    }
}

/// The device's own tuning with each way to add the sums of tiles, then all combinations, those that a GPU is most likely
/// to want first: there may not be time for all.
fn tunings(own: Tuning) -> Vec<Tuning> {
    let mut all = vec![own];
    for workgroups in WORKGROUPS {
        all.extend(REREAD_TILES.map(|reread_tiles| Tuning { workgroups, reread_tiles, ..own }));
    }
    for width in STREAM_WIDTHS {
        for workgroups in WORKGROUPS {
            for workgroup_size in WORKGROUP_SIZES {
                for subgroups in [false, true] {
                    let stream_width = width.min(workgroup_size);
                    all.push(Tuning { workgroup_size, workgroups, stream_width, subgroups, ..own });
                }
            }
        }
    }
    all
}

pub fn run(gpu: &Gpu, effort: &Effort, results: &mut Results) -> dimer::Result<()> {
    let Some(stopwatch) = Stopwatch::new(gpu) else {
        results.leave_out("the sweep of tunings".into(), "the device has no timestamps");
        return Ok(());
    };
    let mut tunings: Vec<_> = tunings(*gpu.tuning()).into_iter().step_by(effort.sparse).collect();
    let largest = LARGEST.min(effort.largest);
    for size in [largest - 2, largest] {
        println!("a sweep of {} tunings, 2^{size}", tunings.len());
        copy(gpu, effort, size, results)?;
        let what = format!("the device's own tuning, 2^{size}");
        let own = || Candidate::new(gpu, *gpu.tuning(), size);
        let Some(mut own) = fits(effort, results, &what, own)? else { return Ok(()) };
        let before = results.sweep.len();
        for &tuning in &tunings {
            // More threads than there can be, or subgroups where there are none.
            if gpu.with_tuning(tuning).is_err() {
                continue;
            }
            let what = format!("{}, 2^{size}", name(&tuning));
            let made = || Candidate::new(gpu, tuning, size);
            let Some(mut candidate) = fits(effort, results, &what, made)? else { continue };
            let rows = rows(effort, &stopwatch, size, &mut own, &mut candidate)?;
            results.sweep.extend(rows);
        }
        tunings = best(&results.sweep[before..]);
    }
    Ok(())
}

/// The limit of that size.
fn copy(gpu: &Gpu, effort: &Effort, size: u32, results: &mut Results) -> dimer::Result<()> {
    let share = f64::from(crate::copy::COPIES);
    let copy = Contestant { share, ..Contestant::new("copy", Copy::new(gpu, 1 << size)) };
    let times = compare(gpu, effort, &mut [copy])?[0];
    results.rows.push(Row {
        part: PART,
        operation: "copy",
        name: "copy".into(),
        parameters: 1 << size,
        bytes_per_parameter: 8,
        times,
    });
    Ok(())
}

fn rows(
    effort: &Effort,
    stopwatch: &Stopwatch,
    size: u32,
    own: &mut Candidate,
    candidate: &mut Candidate,
) -> dimer::Result<Vec<SweepRow>> {
    let mut readings = vec![(Vec::new(), Vec::new()); SUBJECTS.len()];
    let began = Instant::now();
    while began.elapsed() < effort.warm_up {
        candidate.turn(stopwatch)?;
    }
    for _ in 0..effort.rounds.min(ROUNDS) {
        let (one, other) = (own.turn(stopwatch)?, candidate.turn(stopwatch)?);
        for ((of_own, of_other), times) in readings.iter_mut().zip(one.into_iter().zip(other)) {
            of_own.push(times.0);
            of_other.push(times.1);
        }
    }
    let rows = SUBJECTS.into_iter().zip(readings).map(|((kernel, _, _, bytes), (one, other))| {
        let nanoseconds = Spread::of(other);
        SweepRow {
            parameters: 1 << size,
            tuning: candidate.tuning,
            kernel,
            bytes_per_parameter: bytes,
            nanoseconds,
            relative: nanoseconds.median / Spread::of(one).median,
        }
    });
    Ok(rows.collect())
}

/// The rows of one kernel, the fastest first.
pub fn ranked<'a>(rows: &'a [SweepRow], kernel: &str) -> Vec<&'a SweepRow> {
    let mut of_kernel: Vec<_> = rows.iter().filter(|row| row.kernel == kernel).collect();
    of_kernel.sort_by(|one, other| one.relative.total_cmp(&other.relative));
    of_kernel
}

/// The fastest tunings of each kernel.
fn best(rows: &[SweepRow]) -> Vec<Tuning> {
    let mut known = BTreeSet::new();
    let ranked = SUBJECTS.iter().map(|(kernel, ..)| ranked(rows, kernel));
    let fastest = ranked.flat_map(|rows| rows.into_iter().take(BEST).map(|row| row.tuning));
    fastest.filter(|tuning| known.insert(name(tuning))).collect()
}

/// In few words.
pub fn name(tuning: &Tuning) -> String {
    let Tuning { workgroup_size, workgroups, stream_width, reread_tiles, subgroups } = *tuning;
    let subgroups = if subgroups { ", subgroups" } else { "" };
    format!(
        "{workgroups} × {workgroup_size}, streams of {stream_width}, {reread_tiles} reread{subgroups}"
    )
}
