//! The table and the chart of an experiment.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::method::Method;
use crate::train::{Row, Run};

/// The runs of one optimizer.
struct Line<'a> {
    method: Method,
    runs: Vec<&'a Run>,
}

fn lines(runs: &[Run]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for run in runs {
        match lines.iter_mut().find(|line| line.method == run.method) {
            Some(line) => line.runs.push(run),
            None => lines.push(Line { method: run.method, runs: vec![run] }),
        }
    }
    lines
}

/// Mean and half the range.
fn mean_and_spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    if values.is_empty() {
        return "-".into();
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) =
        values.iter().fold((mean, mean), |(low, high), v| (low.min(*v), high.max(*v)));
    if values.len() == 1 {
        return format!("{mean:.3}");
    }
    format!("{mean:.3} ± {:.3}", (high - low) / 2.0)
}

fn most_gradients<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    rows.map(|row| row.gradients).fold(0.0, f64::max)
}

/// From the lowest to the highest.
fn rates(values: impl Iterator<Item = f32>) -> String {
    let range = values.map(|rate| (rate, rate)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    range.map_or_else(|| "-".into(), |(low, high)| format!("{low:.1e} to {high:.1e}"))
}

/// Markdown: one row per optimizer, at equal steps and at equal gradients.
pub fn table(runs: &[Run], gradients: u64) -> String {
    let mut table = format!(
        "| optimizer | seeds | gradients | train loss | validation loss | the same at {gradients} \
         gradients | learning rate | curvature along N | s per step |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for Line { method, runs } in lines(runs) {
        let last = || runs.iter().filter_map(|run| run.rows.last());
        let equal = runs.iter().filter_map(|run| run.at_gradients(gradients as f64));
        let cells = [
            method.to_string(),
            runs.len().to_string(),
            most_gradients(last()).to_string(),
            mean_and_spread(last().map(|row| row.train_loss.into())),
            mean_and_spread(last().map(|row| row.validation_loss.into())),
            mean_and_spread(equal.map(|row| row.validation_loss.into())),
            rates(last().filter_map(|row| row.learning_rate)),
            mean_and_spread(last().filter_map(|row| row.curvature.map(f64::from))),
            mean_and_spread(last().map(|row| row.seconds / row.step as f64)),
        ];
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

/// Validation loss against gradients: one curve per run, one colour per optimizer.
pub fn chart(runs: &[Run], path: &Path) -> Result<(), Box<dyn Error>> {
    let rows = || runs.iter().flat_map(|run| &run.rows);
    let losses = rows().map(|row| row.validation_loss).filter(|loss| loss.is_finite());
    let (low, high) = losses.fold((f32::MAX, f32::MIN), |(a, b), loss| (a.min(loss), b.max(loss)));
    let most = most_gradients(rows()).max(1.0);
    let root = SVGBackend::new(path, (860, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..most, low - 0.05..high + 0.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("gradients, probes included")
        .y_desc("validation loss, nats per character")
        .draw()?;
    for (index, Line { method, runs }) in lines(runs).iter().enumerate() {
        let colour = Palette99::pick(index).mix(0.9);
        for (nth, run) in runs.iter().enumerate() {
            let points = run.rows.iter().map(|row| (row.gradients, row.validation_loss));
            let series = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            if nth == 0 {
                series.label(method.to_string()).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            }
        }
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    root.present()?;
    Ok(())
}
