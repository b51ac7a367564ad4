//! Draws the runs: loss above, sharpness below with the limit of each rate as a dashed line; gradient descent on the
//! left, Adam on the right.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf32;
use plotters::prelude::*;

use super::Run;
use super::training::Method;

type Points = Vec<(f32, f32)>;

/// One curve, and the limit that belongs to it.
struct Line {
    name: String,
    points: Points,
    limit: Option<f32>,
}

pub fn draw(path: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (1000, 700)).into_drawing_area();
    root.fill(&WHITE)?;
    let is_descent = |run: &&Run| matches!(run.method, Method::GradientDescent(_));
    let (descents, adams): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(is_descent);
    let columns: Vec<_> = [("2/η", descents), ("38/η, preconditioned", adams)]
        .into_iter()
        .filter(|(_, runs)| !runs.is_empty())
        .collect();
    let areas = root.split_evenly((2, columns.len()));
    for (column, (limit, runs)) in columns.iter().enumerate() {
        let loss = |run: &&Run| Line {
            name: run.method.to_string(),
            points: run.loss.clone(),
            limit: None,
        };
        panel(&areas[column], "loss", &runs.iter().map(loss).collect::<Vec<_>>())?;
        let sharpness = |run: &&Run| Line {
            name: run.method.to_string(),
            points: run.sharpness.clone(),
            limit: Some(run.method.limit() as f32),
        };
        let lines: Vec<_> = runs.iter().map(sharpness).collect();
        panel(&areas[columns.len() + column], &format!("sharpness, and {limit}"), &lines)?;
    }
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let is_sharpness = lines.iter().any(|line| line.limit.is_some());
    let all = || lines.iter().flat_map(|line| &line.points);
    let last = all().map(|point| point.0).fold(1.0, f32::max);
    let low = all().map(|point| point.1).fold(f32::INFINITY, f32::min);
    let limits = lines.iter().filter_map(|line| line.limit);
    let high = all().map(|point| point.1).chain(limits).fold(f32::MIN_POSITIVE, f32::max);
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(56);
    if is_sharpness {
        curves(builder.build_cartesian_2d(0.0..last, 0.0..1.15 * high)?, lines)
    } else {
        let range = (0.8 * low..1.25 * high).log_scale();
        curves(builder.build_cartesian_2d(0.0..last, range)?, lines)
    }
}

fn curves<'a, Y: Ranged<ValueType = f32> + ValueFormatter<f32>>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf32, Y>>,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let label = |y: &f32| {
        if *y > 0.0 && *y < 1.0 { format!("{y:.0e}") } else { format!("{y:.0}") }
    };
    chart
        .configure_mesh()
        .x_desc("step")
        .light_line_style(WHITE)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&label)
        .draw()?;
    let last = chart.x_range().end;
    for (index, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(format!("{}   ", line.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        if let Some(limit) = line.limit {
            let ends = [(0.0, limit), (last, limit)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, colour.stroke_width(1)))?;
        }
    }
    let is_sharpness = lines.iter().any(|line| line.limit.is_some());
    let position = if is_sharpness {
        SeriesLabelPosition::LowerRight
    } else {
        SeriesLabelPosition::UpperRight
    };
    chart
        .configure_series_labels()
        .position(position)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.9))
        .draw()?;
    Ok(())
}
