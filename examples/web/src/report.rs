//! What the checks and the times say, as Markdown that can go into an issue.

use std::fmt::Write;

use dimer::Gpu;

use crate::checks::Check;
use crate::common;
use crate::times::{LEN, Time};

/// What became of a check, or of the times: an error or a panic in words, where there is nothing else to say.
pub type Outcome<T> = Result<T, String>;

/// All that is known of a device.
pub struct Report<'a> {
    pub gpu: &'a Gpu,
    pub name: String,
    pub checks: Vec<(&'static Check, Outcome<common::Report>)>,
    /// None before they were measured.
    pub times: Option<Outcome<Vec<Time>>>,
}

/// Whether there are comparisons, all of which hold.
fn passes(outcome: &Outcome<common::Report>) -> bool {
    outcome.as_ref().is_ok_and(|report| {
        let mut comparisons = report.comparisons.values();
        comparisons.len() > 0 && comparisons.all(common::Comparison::holds)
    })
}

impl Report<'_> {
    /// What failed, by name.
    fn failures(&self) -> Vec<&'static str> {
        let failed = self.checks.iter().filter(|(_, outcome)| !passes(outcome));
        let mut names: Vec<_> = failed.map(|(check, _)| check.name).collect();
        if matches!(self.times, Some(Err(_))) {
            names.push("the times");
        }
        names
    }

    pub fn passes(&self) -> bool {
        self.failures().is_empty()
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes all");
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let info = self.gpu.device().adapter_info();
        let tuning = self.gpu.tuning();
        writeln!(to, "dimer {} on {}", env!("CARGO_PKG_VERSION"), self.name)?;
        let driver = [info.driver, info.driver_info].join(" ");
        if !driver.trim().is_empty() {
            writeln!(to, "driver: {}", driver.trim())?;
        }
        writeln!(
            to,
            "tuning: workgroups of {} threads, at most {} of them, streams of {}",
            tuning.workgroup_size, tuning.workgroups, tuning.stream_width
        )?;
        let verdict = match &self.failures()[..] {
            [] if self.times.is_none() => "So far all checks passed.".to_owned(),
            [] => "All checks passed.".to_owned(),
            failed => format!("FAILED: {}.", failed.join("; ")),
        };
        writeln!(to, "\n**{verdict}** Kernels against a reference in f64:\n")?;
        writeln!(
            to,
            "| check | kernels | quantity | compared | worst error | its bound | share |"
        )?;
        writeln!(to, "|---|---|---|--:|--:|--:|--:|")?;
        for (check, outcome) in &self.checks {
            write_check(to, check, outcome)?;
        }
        match &self.times {
            None => Ok(()),
            Some(Err(error)) => writeln!(to, "\nThe times: **{error}**"),
            Some(Ok(times)) => {
                writeln!(to, "\nAdamW, {LEN} parameters, a step in milliseconds:\n")?;
                writeln!(to, "| step | fused | unfused | unfused / fused |\n|---|--:|--:|--:|")?;
                for Time { step, fused, unfused } in times {
                    let [of_fused, of_unfused] =
                        [fused, unfused].map(|it| format!("{:.3}", 1e3 * it));
                    let ratio = unfused / fused;
                    writeln!(to, "| {step} | {of_fused} | {of_unfused} | {ratio:.2} |")?;
                }
                Ok(())
            }
        }
    }
}

/// A row for each quantity.
fn write_check(
    to: &mut String,
    check: &Check,
    outcome: &Outcome<common::Report>,
) -> std::fmt::Result {
    let name = check.name;
    let report = match outcome {
        Ok(report) if !report.comparisons.is_empty() => report,
        Ok(_) => return writeln!(to, "| {name} | | **nothing was compared** | | | | |"),
        Err(what) => {
            let what = what.replace(['|', '\n'], " ");
            return writeln!(to, "| {name} | | **{what}** | | | | |");
        }
    };
    // Some devices cannot tell which kernels ran, and none tells of those of an objective.
    let ran = |kernel: &str| {
        report.kernels.is_empty()
            || kernel.starts_with("objective/")
            || report.kernels.contains(kernel)
    };
    let kernels: Vec<_> = check.kernels.iter().filter(|kernel| ran(kernel)).copied().collect();
    let kernels = kernels.join(", ");
    let mut first = [name, &kernels];
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
    Ok(())
}
