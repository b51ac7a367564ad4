//! What the checks and the times say, as Markdown that can go into an issue.

use std::fmt::Write;

use dimer::Gpu;

use crate::checks::Check;
use crate::common::Report;
use crate::times::{LEN, Time};

/// What became of a check, or of the times: an error or a panic in words, where there is nothing else to say.
pub type Outcome<T> = Result<T, String>;

/// Whether every comparison holds.
pub fn passes(outcome: &Outcome<Report>) -> bool {
    outcome.as_ref().is_ok_and(|report| report.comparisons.values().all(|it| it.holds()))
}

/// The report on a device of this name.
pub fn markdown(
    gpu: &Gpu,
    name: &str,
    checks: &[(&Check, Outcome<Report>)],
    times: &Outcome<Vec<Time>>,
) -> String {
    let mut text = String::new();
    write(&mut text, gpu, name, checks, times).expect("a string takes all");
    text
}

fn write(
    to: &mut String,
    gpu: &Gpu,
    name: &str,
    checks: &[(&Check, Outcome<Report>)],
    times: &Outcome<Vec<Time>>,
) -> std::fmt::Result {
    let info = gpu.device().adapter_info();
    let tuning = gpu.tuning();
    writeln!(to, "dimer {} on {name}", env!("CARGO_PKG_VERSION"))?;
    let driver = [info.driver, info.driver_info].join(" ");
    if !driver.trim().is_empty() {
        writeln!(to, "driver: {}", driver.trim())?;
    }
    writeln!(
        to,
        "tuning: workgroups of {} threads, at most {} of them, streams of {}",
        tuning.workgroup_size, tuning.workgroups, tuning.stream_width
    )?;
    let failed: Vec<_> = checks.iter().filter(|(_, it)| !passes(it)).map(|it| it.0.name).collect();
    match &failed[..] {
        [] => writeln!(to, "\n**All checks passed.** Kernels against a reference in f64:\n")?,
        failed => {
            writeln!(to, "\n**FAILED: {}.** Against a reference in f64:\n", failed.join("; "))?
        }
    }
    writeln!(to, "| check | kernels | quantity | compared | worst error | its bound | share |")?;
    writeln!(to, "|---|---|---|--:|--:|--:|--:|")?;
    for (check, outcome) in checks {
        let kernels = check.kernels.join(", ");
        let report = match outcome {
            Ok(report) => report,
            Err(what) => {
                let what = what.replace(['|', '\n'], " ");
                writeln!(to, "| {} | {kernels} | **{what}** | | | | |", check.name)?;
                continue;
            }
        };
        let mut first = [check.name, &kernels];
        for (quantity, it) in &report.comparisons {
            let share = format!("{:.0} %", 100.0 * it.share());
            let share = if it.holds() { share } else { format!("**{share}**") };
            let [name, kernels] = std::mem::take(&mut first);
            let [error, bound] = [it.error(), it.bound].map(|it| format!("{it:.1e}"));
            let count = it.count;
            writeln!(
                to,
                "| {name} | {kernels} | {quantity} | {count} | {error} | {bound} | {share} |"
            )?;
        }
    }
    match times {
        Ok(times) => {
            writeln!(to, "\nAdamW, {LEN} parameters, a step in milliseconds:\n")?;
            writeln!(to, "| step | fused | unfused | unfused / fused |\n|---|--:|--:|--:|")?;
            for Time { step, fused, unfused } in times {
                let [of_fused, of_unfused] = [fused, unfused].map(|it| format!("{:.3}", 1e3 * it));
                writeln!(to, "| {step} | {of_fused} | {of_unfused} | {:.2} |", unfused / fused)?;
            }
            Ok(())
        }
        Err(error) => writeln!(to, "\nThe times: {error}"),
    }
}
