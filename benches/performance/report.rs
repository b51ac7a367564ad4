//! The results as Markdown tables, as JSON, and the scaling as a chart.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use dimer::Gpu;
use plotters::prelude::*;

use crate::results::{Results, Row, SweepRow};
use crate::rounds::Spread;
use crate::{fused, host, scaling, sweep, tensors};

/// Prints the tables, and writes them, the JSON and the chart to `folder`.
pub fn write(gpu: &Gpu, results: &Results, folder: &Path) -> Result<(), Box<dyn Error>> {
    let info = gpu.device().adapter_info();
    let driver = format!("{} {}", info.driver, info.driver_info);
    let mut text = format!("Device: {}, driver {driver}\n", gpu.name());
    writeln!(text, "\nTuning: {}", sweep::name(gpu.tuning()))?;
    results.tests.iter().try_for_each(|line| writeln!(text, "\nTests against f64: {line}"))?;
    writeln!(text, "\n± is half of the distance between the quartiles.")?;
    fused_table(&mut text, results)?;
    scaling_tables(&mut text, results)?;
    peers_table(&mut text, results)?;
    tensors_table(&mut text, results)?;
    host_table(&mut text, results)?;
    sweep_tables(&mut text, results)?;
    if !results.left_out.is_empty() {
        writeln!(text, "\nLeft out: {}.", results.left_out.join("; "))?;
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("tables.md"), &text)?;
    let json = serde_json::json!({
        "device": gpu.name(),
        "driver": driver,
        "tuning": gpu.tuning(),
        "results": results,
    });
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&json)?)?;
    chart(&folder.join("scaling.svg"), results)?;
    println!("\n{text}\nThese tables, results.json and scaling.svg are in {}", folder.display());
    Ok(())
}

/// A table of the rows that have numbers, or nothing.
fn table(text: &mut String, title: &str, head: &[&str], rows: &[Vec<String>]) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n### {title}\n\n| {} |", head.join(" | "))?;
    let aligned: Vec<_> = (0..head.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
    writeln!(text, "| {} |", aligned.join(" | "))?;
    rows.iter().try_for_each(|row| writeln!(text, "| {} |", row.join(" | ")))
}

/// A number of parameters, as a power of two where it is one.
fn size(parameters: u64) -> String {
    if parameters.is_power_of_two() {
        format!("2^{}", parameters.ilog2())
    } else {
        parameters.to_string()
    }
}

fn milliseconds(spread: Spread) -> String {
    format!("{:.3} ± {:.0} %", spread.median / 1e6, 100.0 * spread.relative())
}

type Clock = fn(&Row) -> Option<Spread>;

/// By the host's clock, or by the GPU's, where it has one.
fn clocks() -> [(&'static str, Clock); 2] {
    [("wall time", |row| Some(row.times.wall)), ("GPU time", |row| row.times.gpu)]
}

fn fused_table(text: &mut String, results: &Results) -> std::fmt::Result {
    for (clock, time) in clocks() {
        let mut rows = Vec::new();
        for (operation, fused_words, unfused_words) in fused::OPERATIONS {
            for parameters in results.sizes(fused::PART) {
                let time = |name| time(results.find(fused::PART, operation, name, parameters)?);
                let (Some(fused), Some(unfused)) = (time("fused"), time("unfused")) else {
                    continue;
                };
                rows.push(vec![
                    operation.to_owned(),
                    size(parameters),
                    milliseconds(fused),
                    milliseconds(unfused),
                    format!("{:.2}", unfused.median / fused.median),
                    format!("{:.2}", unfused_words as f64 / fused_words as f64),
                ]);
            }
        }
        let head = ["operation", "parameters", "fused, ms", "unfused, ms", "ratio", "of the bytes"];
        table(text, &format!("Fused against unfused, AdamW, {clock}"), &head, &rows)?;
    }
    Ok(())
}

fn scaling_tables(text: &mut String, results: &Results) -> std::fmt::Result {
    let steps = scaling::STEPS.map(|(step, _)| step);
    let head: Vec<_> = ["parameters"].into_iter().chain(steps).collect();
    let sizes = results.sizes(scaling::PART);
    let row = |parameters: u64, cell: &dyn Fn(&Row) -> Option<String>| -> Option<Vec<String>> {
        let cells = steps
            .iter()
            .map(|step| results.find(scaling::PART, "step", step, parameters).and_then(cell));
        [Some(size(parameters))].into_iter().chain(cells).collect()
    };
    for (clock, time) in clocks() {
        let rows = sizes.iter().filter_map(|&size| row(size, &|row| time(row).map(milliseconds)));
        let rows: Vec<_> = rows.collect();
        table(text, &format!("Milliseconds per step, {clock}"), &head, &rows)?;
    }
    let shares = sizes.iter().filter_map(|&size| {
        let copy = results.find(scaling::PART, "step", scaling::COPY, size)?;
        let copy = copy.gigabytes_per_second();
        row(size, &|row| {
            let rate = row.gigabytes_per_second();
            Some(format!("{rate:.1} ({:.0} %)", 100.0 * rate / copy))
        })
    });
    let rows: Vec<_> = shares.collect();
    table(text, "GB/s, and the share of what the fastest copy reaches", &head, &rows)
}

/// Steps of peers and of this crate, by the GPU's clock where both have one.
fn peers_table(text: &mut String, results: &Results) -> std::fmt::Result {
    const UNIT: &str = "torch AdamW, fused";
    let mut names: Vec<&str> = Vec::new();
    for peer in &results.peers {
        if !names.contains(&peer.name.as_str()) {
            names.push(&peer.name);
        }
    }
    let own = ["AdamW, unguarded", "AdamW", "DEO, rotation"];
    let sizes: std::collections::BTreeSet<u64> =
        results.peers.iter().map(|peer| peer.parameters).collect();
    let rows = sizes.into_iter().filter_map(|parameters| {
        let peer = |name: &str| {
            let mut peers = results.peers.iter();
            let found = peers.find(|peer| peer.parameters == parameters && peer.name == name)?;
            Some(found.gpu_milliseconds.unwrap_or(found.milliseconds))
        };
        let of_own = |name: &&str| {
            let row = results.find(scaling::PART, "step", name, parameters)?;
            Some(row.time().median / 1e6)
        };
        let unit = peer(UNIT)?;
        let times = names.iter().map(|name| peer(name)).chain(own.iter().map(of_own));
        let cells = times.map(|time| match time {
            Some(time) => format!("{time:.3} ({:.2})", time / unit),
            None => "–".to_owned(),
        });
        Some([size(parameters)].into_iter().chain(cells).collect())
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head: Vec<&str> = ["parameters"].into_iter().chain(names.clone()).chain(own).collect();
    table(text, &format!("Milliseconds per step (multiples of {UNIT})"), &head, &rows)
}

fn tensors_table(text: &mut String, results: &Results) -> std::fmt::Result {
    let mut rows = Vec::new();
    for (step, ..) in tensors::STEPS {
        for (scope, _) in tensors::SCOPES {
            let find = |(layout, _): (&str, usize)| {
                let name = tensors::name(layout, scope);
                let row = results.find(tensors::PART, step, &name, tensors::LEN as u64)?;
                Some(row.time())
            };
            if let [Some(one), Some(many)] = tensors::LAYOUTS.map(find) {
                rows.push(vec![
                    format!("{scope}, {step}"),
                    milliseconds(one),
                    milliseconds(many),
                    format!("{:.2}", many.median / one.median),
                ]);
            }
        }
    }
    let head = ["step over 10^6 parameters", "one tensor, ms", "10 000 tensors, ms", "ratio"];
    table(text, "Many small tensors", &head, &rows)
}

fn host_table(text: &mut String, results: &Results) -> std::fmt::Result {
    let empty = results.host.iter().find(|row| row.call == host::CALLS[0]);
    let rows = empty.into_iter().flat_map(|empty| {
        results.host.iter().map(|row| {
            let time = row.nanoseconds;
            vec![
                row.call.to_owned(),
                format!("{:.1} ± {:.0} %", time.median / 1e3, 100.0 * time.relative()),
                format!("{:.2}", time.median / empty.nanoseconds.median),
            ]
        })
    });
    let head = ["call, 1000 parameters", "µs", "empty submissions"];
    table(text, "Time of the host per call", &head, &rows.collect::<Vec<_>>())
}

fn sweep_tables(text: &mut String, results: &Results) -> std::fmt::Result {
    /// Of each kernel, how many of the fastest tunings are shown.
    const SHOWN: usize = 6;
    for parameters in results.sizes(sweep::PART) {
        let copy = results.find(sweep::PART, "copy", "copy", parameters);
        let of_size = |row: &&SweepRow| row.parameters == parameters;
        let mut rows = Vec::new();
        for (kernel, ..) in sweep::SUBJECTS {
            let ranked = sweep::ranked(&results.sweep, kernel);
            for row in ranked.into_iter().filter(of_size).take(SHOWN) {
                let rate = row.gigabytes_per_second();
                rows.push(vec![
                    format!("{kernel}: {}", sweep::name(&row.tuning)),
                    milliseconds(row.nanoseconds),
                    format!("{rate:.1}"),
                    copy.map_or_else(String::new, |copy| {
                        format!("{:.0} %", 100.0 * rate / copy.gigabytes_per_second())
                    }),
                    format!("{:.3}", row.relative),
                ]);
            }
        }
        let head = ["kernel and tuning", "ms", "GB/s", "of the copy", "of the device's own tuning"];
        table(text, &format!("The fastest tunings, {}", size(parameters)), &head, &rows)?;
    }
    Ok(())
}

/// Gigabytes per second over the number of parameters.
fn chart(path: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    let sizes = results.sizes(scaling::PART);
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return Ok(()) };
    let lines = scaling::STEPS.map(|(step, _)| {
        let points = sizes.iter().filter_map(|&size| {
            let row = results.find(scaling::PART, "step", step, size)?;
            Some((f64::from(size.ilog2()), row.gigabytes_per_second()))
        });
        (step, points.collect::<Vec<_>>())
    });
    let top = lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).fold(0.0, f64::max);
    let area = SVGBackend::new(path, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let range = f64::from(first.ilog2())..f64::from(last.ilog2());
    let mut chart = ChartBuilder::on(&area)
        .caption("Bytes moved per second", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(range, 0.0..1.1 * top)?;
    chart
        .configure_mesh()
        .x_labels(sizes.len())
        .x_label_formatter(&|x| format!("2^{x:.0}"))
        .x_desc("parameters")
        .y_desc("GB/s")
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, (step, points)) in lines.into_iter().enumerate() {
        let color = if index == 0 { BLACK.to_rgba() } else { Palette99::pick(index).to_rgba() };
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(step)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
