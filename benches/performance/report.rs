//! Medians as Markdown tables, and the scaling as a chart.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use plotters::prelude::*;

use crate::times::Times;
use crate::{fused, host, scaling, tensors};

/// Prints the tables, and writes them and the chart to `target/performance/`.
pub fn write(device: &str, times: &Times) -> Result<(), Box<dyn Error>> {
    let mut text = format!("Device: {device}\n");
    fused_table(&mut text, times)?;
    scaling_tables(&mut text, times)?;
    tensors_table(&mut text, times)?;
    host_table(&mut text, times)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/performance");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("tables.md"), &text)?;
    chart(&folder.join("scaling.svg"), times)?;
    println!("\n{text}\nThese tables and scaling.svg are in {}", folder.display());
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

fn fused_table(text: &mut String, times: &Times) -> std::fmt::Result {
    let mut rows = Vec::new();
    for (operation, ..) in fused::OPERATIONS {
        for size in fused::SIZES {
            let median = |name| times.median(operation, name, size);
            if let (Some(fused), Some(unfused)) = (median("fused"), median("unfused")) {
                rows.push(vec![
                    operation.to_owned(),
                    format!("2^{size}"),
                    format!("{:.3}", fused / 1e6),
                    format!("{:.3}", unfused / 1e6),
                    format!("{:.2}", unfused / fused),
                ]);
            }
        }
    }
    let head = ["operation", "parameters", "fused, ms", "unfused, ms", "unfused / fused"];
    table(text, "Fused against unfused, AdamW", &head, &rows)
}

fn scaling_tables(text: &mut String, times: &Times) -> std::fmt::Result {
    let steps = scaling::STEPS.map(|(step, _)| step);
    let row = |size: u32, cell: &dyn Fn(&str, u64) -> Option<String>| -> Option<Vec<String>> {
        let cells = scaling::STEPS.iter().map(|(step, bytes)| cell(step, *bytes));
        [Some(format!("2^{size}"))].into_iter().chain(cells).collect()
    };
    let median = |step: &str, size| times.median("scaling", step, size);
    let head: Vec<_> = ["parameters"].into_iter().chain(steps).collect();
    let milliseconds = scaling::SIZES
        .into_iter()
        .filter_map(|size| row(size, &|step, _| Some(format!("{:.3}", median(step, size)? / 1e6))));
    let rows: Vec<_> = milliseconds.collect();
    table(text, "Milliseconds per step", &head, &rows)?;
    // Bytes per nanosecond are gigabytes per second.
    let rate =
        |step: &str, bytes: u64, size: u32| Some((bytes << size) as f64 / median(step, size)?);
    let shares = scaling::SIZES.into_iter().filter_map(|size| {
        let copy = rate("copy", scaling::STEPS[0].1, size)?;
        row(size, &|step, bytes| {
            let rate = rate(step, bytes, size)?;
            Some(format!("{rate:.1} ({:.0} %)", 100.0 * rate / copy))
        })
    });
    let rows: Vec<_> = shares.collect();
    table(text, "GB/s, and the share of what the fastest copy reaches", &head, &rows)
}

fn tensors_table(text: &mut String, times: &Times) -> std::fmt::Result {
    let mut rows = Vec::new();
    for (step, _) in tensors::STEPS {
        for (scope, _) in tensors::SCOPES {
            let median = |layout| times.median("tensors", tensors::name(layout, scope, step), 0);
            let [one, many] = tensors::LAYOUTS.map(|(layout, _)| median(layout));
            if let (Some(one), Some(many)) = (one, many) {
                rows.push(vec![
                    format!("{scope}, {step}"),
                    format!("{:.3}", one / 1e6),
                    format!("{:.3}", many / 1e6),
                    format!("{:.2}", many / one),
                ]);
            }
        }
    }
    let head = ["step over 10^6 parameters", "one tensor, ms", "10 000 tensors, ms", "ratio"];
    table(text, "Many small tensors", &head, &rows)
}

fn host_table(text: &mut String, times: &Times) -> std::fmt::Result {
    let median = |call| times.median("host", call, 0);
    let mut rows = Vec::new();
    for call in host::CALLS {
        if let (Some(time), Some(empty)) = (median(call), median(host::CALLS[0])) {
            rows.push(vec![
                call.to_owned(),
                format!("{:.1}", time / 1e3),
                format!("{:.2}", time / empty),
            ]);
        }
    }
    let head = ["call, 1000 parameters", "µs", "empty submissions"];
    table(text, "Time of the host per call", &head, &rows)
}

/// Gigabytes per second over the number of parameters.
fn chart(path: &Path, times: &Times) -> Result<(), Box<dyn Error>> {
    let lines = scaling::STEPS.map(|(step, bytes)| {
        let points = scaling::SIZES.into_iter().filter_map(|size| {
            let median = times.median("scaling", step, size)?;
            Some((f64::from(size), (bytes << size) as f64 / median))
        });
        (step, points.collect::<Vec<_>>())
    });
    let top = lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).fold(0.0, f64::max);
    if top == 0.0 {
        return Ok(());
    }
    let area = SVGBackend::new(path, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let (first, last) = (scaling::SIZES[0], scaling::SIZES[scaling::SIZES.len() - 1]);
    let mut chart = ChartBuilder::on(&area)
        .caption("Bytes moved per second", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(f64::from(first)..f64::from(last), 0.0..1.1 * top)?;
    chart
        .configure_mesh()
        .x_labels(scaling::SIZES.len())
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
