//! Draws the density of the spectrum at each point, on a logarithmic axis, with both ends marked.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::Look;

/// Points of a curve.
const POINTS: usize = 800;

/// Least density that is drawn, as a share of the largest: one eigenvalue of some thousands is far above.
const LEAST: f64 = 1e-6;

pub fn draw(path: &Path, looks: &[Look]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (800, 340 * looks.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, look) in root.split_evenly((looks.len(), 1)).iter().zip(looks) {
        let ends: Vec<f64> = look.ends.iter().map(|mode| mode.curvature.into()).collect();
        let nodes = look.density.nodes();
        let all = || nodes.iter().map(|node| node.eigenvalue).chain(ends.iter().copied());
        let (low, high) = (all().fold(0.0, f64::min), all().fold(0.0, f64::max));
        // As wide as is usual: one hundredth of the range.
        let range = (high - low).max(f64::MIN_POSITIVE);
        let width = 0.01 * range;
        let (begin, end) = (low - 0.05 * range, high + 0.05 * range);
        let at = |i: usize| begin + (end - begin) * i as f64 / (POINTS - 1) as f64;
        let curve: Vec<(f64, f64)> =
            (0..POINTS).map(|i| (at(i), look.density.smoothed(at(i), width).value)).collect();
        let top = curve.iter().map(|point| point.1).fold(0.0, f64::max);
        let least = LEAST * top;
        // As many decimals as ten steps of the axis need.
        let decimals = (1.0 - range.log10()).ceil().max(0.0) as usize;
        let mut chart = ChartBuilder::on(area)
            .caption(format!("density of the eigenvalues {}", look.name), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(begin..end, (least..2.0 * top).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("eigenvalue")
            .y_desc("share per unit")
            .light_line_style(WHITE)
            .x_label_formatter(&|x| format!("{x:.decimals$}"))
            .y_label_formatter(&|y| format!("{y:.0e}"))
            .draw()?;
        let colour = Palette99::pick(0).to_rgba();
        let drawn = curve.into_iter().map(|(x, y)| (x, y.max(least)));
        chart.draw_series(LineSeries::new(drawn, colour.stroke_width(2)))?;
        let marks = ends.iter().map(|&x| {
            let line = [(x, least), (x, least * 10.0)];
            PathElement::new(line, Palette99::pick(3).stroke_width(2))
        });
        chart.draw_series(marks)?;
    }
    root.present()?;
    Ok(())
}
