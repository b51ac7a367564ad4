//! Draws the table: for each problem, the gradients of every method as a multiple of the base's.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::methods::{METHODS, Method};
use crate::suite::Row;

/// One for each method but the base.
const COLOURS: [RGBColor; METHODS.len() - 1] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x17, 0xbe, 0xcf),
];

/// Ratios that the axis shows; what lies beyond, or did not arrive, is drawn at its end.
const AXIS: (f64, f64) = (0.08, 12.0);

pub fn draw(path: &Path, methods: &[&Method], rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let height = 110 + 26 * rows.len() as u32;
    let root = SVGBackend::new(path, (860, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "gradients to the target, as a multiple of the base optimizer's",
            ("sans-serif", 18),
        )
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(230)
        .build_cartesian_2d((AXIS.0..AXIS.1).log_scale(), 0..rows.len())?;
    let name = |y: &usize| {
        rows.get(*y).map_or_else(String::new, |row| format!("{}, {}", row.problem, row.base))
    };
    chart
        .configure_mesh()
        .y_labels(rows.len() + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|x| format!("{x}"))
        .light_line_style(WHITE)
        .draw()?;
    chart.draw_series(LineSeries::new([(1.0, 0), (1.0, rows.len())], BLACK.stroke_width(2)))?;
    for ((index, method), colour) in methods.iter().enumerate().skip(1).zip(COLOURS) {
        let points = rows.iter().enumerate().filter_map(|(y, row)| {
            let base = row.methods[0].gradients? as f64;
            let found = row.methods[index].gradients;
            let ratio = found.map_or(AXIS.1, |found| found as f64 / base);
            Some(Circle::new((ratio.clamp(AXIS.0, AXIS.1), y), 5, colour.mix(0.8).filled()))
        });
        chart
            .draw_series(points)?
            .label(method.name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.mix(0.8).filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.9))
        .draw()?;
    root.present()?;
    Ok(())
}
