//! Draws what was measured, by ranks: on the left memory with what it should be, on the right time.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Case, Row};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line of the chart: where it goes through, and the points on it that are marked.
struct Line {
    name: String,
    events: bool,
    points: Vec<(f64, f64)>,
    marks: Vec<(f64, f64)>,
}

/// Steps without and with events.
const COLOURS: [RGBColor; 2] = [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x27, 0x28)];

pub fn draw(path: &Path, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (900, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    panel(
        &left,
        "bytes per parameter: the model, and what a rank has",
        &memory(rows),
        SeriesLabelPosition::UpperRight,
    )?;
    panel(
        &right,
        "time of a step, in steps of one device",
        &time(rows),
        SeriesLabelPosition::UpperLeft,
    )?;
    root.present()?;
    Ok(())
}

fn name(events: bool) -> &'static str {
    if events { "an event in each step" } else { "AdamW" }
}

fn cut(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.case.ranks > 0)
}

/// What the model says, as a line, and what was measured, as marks.
fn memory(rows: &[Row]) -> Vec<Line> {
    let most = cut(rows).map(|row| row.case.ranks).max().unwrap_or(1);
    let line = |(events, whole, shared): (bool, f64, f64)| Line {
        name: name(events).to_owned(),
        events,
        points: (10..=10 * most)
            .map(|x| f64::from(x) / 10.0)
            .map(|r| (r, whole + shared / r))
            .collect(),
        marks: cut(rows)
            .filter(|row| row.case.events == events)
            .map(|row| (row.case.ranks.into(), row.bytes))
            .collect(),
    };
    // Bytes per parameter that every rank keeps, and those that ranks share.
    [(false, 8.0, 8.0), (true, 16.0, 36.0)].map(line).into()
}

/// A line per kind of step and length.
fn time(rows: &[Row]) -> Vec<Line> {
    let alone = rows.iter().filter(|row| row.case.ranks == 0);
    alone
        .map(|alone| {
            let Case { events, len, .. } = alone.case;
            let same = |row: &&Row| row.case.events == events && row.case.len == len;
            let points: Vec<_> = cut(rows)
                .filter(same)
                .map(|row| (row.case.ranks.into(), row.ms_per_step / alone.ms_per_step))
                .collect();
            let marks = points.clone();
            let name = format!("{}, {len:e}", name(events));
            Line { name, events, points, marks }
        })
        .collect()
}

fn panel(
    area: &Area<'_>,
    title: &str,
    lines: &[Line],
    position: SeriesLabelPosition,
) -> Result<(), Box<dyn Error>> {
    let all = || lines.iter().flat_map(|line| line.points.iter().chain(&line.marks));
    let most = all().map(|point| point.0).fold(1.0, f64::max);
    let high = all().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(32)
        .build_cartesian_2d(0.8..most + 0.2, 0.0..1.5 * high)?;
    chart
        .configure_mesh()
        .x_desc("ranks")
        .x_labels(most as usize)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{}", (10.0 * y).round() / 10.0))
        .light_line_style(WHITE)
        .draw()?;
    let mut drawn = [0; 2];
    for line in lines {
        // Longer vectors have thicker lines.
        let kind = usize::from(line.events);
        let colour = COLOURS[kind];
        drawn[kind] += 1;
        let style = colour.stroke_width(drawn[kind]);
        chart
            .draw_series(LineSeries::new(line.points.clone(), style))?
            .label(format!("{}   ", line.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        let marks = line.marks.iter().map(|&mark| Circle::new(mark, 4, colour.filled()));
        chart.draw_series(marks)?;
    }
    chart
        .configure_series_labels()
        .position(position)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.9))
        .draw()?;
    Ok(())
}
