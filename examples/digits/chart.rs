//! Draws the run: loss above, curvature below, one line per optimizer.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// One optimizer's curves, over steps.
pub struct Curves {
    pub name: String,
    pub loss: Vec<(f32, f32)>,
    /// Curvature of each event; none without a dimer.
    pub curvature: Vec<(f32, f32)>,
}

/// The first line is wide, so that it shows where the second one lies on it.
const STYLES: [(RGBColor, u32); 2] =
    [(RGBColor(0x1f, 0x77, 0xb4), 5), (RGBColor(0xd6, 0x27, 0x28), 2)];

pub fn draw(path: &Path, runs: &[Curves]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (800, 720)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(360);
    panel(&above, "training loss, mean of 20 minibatches", "loss", runs, |run| smooth(&run.loss))?;
    panel(&below, "curvature C = N·HN", "C", runs, |run| run.curvature.clone())?;
    root.present()?;
    Ok(())
}

/// Means over windows of 20 points: minibatches are noisy.
fn smooth(points: &[(f32, f32)]) -> Vec<(f32, f32)> {
    let mean = |window: &[(f32, f32)]| {
        let count = window.len() as f32;
        let (x, y) =
            window.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (x / count, y / count)
    };
    points.chunks(20).map(mean).collect()
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    quantity: &str,
    runs: &[Curves],
    points: impl Fn(&Curves) -> Vec<(f32, f32)>,
) -> Result<(), Box<dyn Error>> {
    let lines: Vec<_> = runs.iter().map(|run| (&run.name, points(run))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let last = all().map(|point| point.0).fold(1.0, f32::max);
    let low = all().map(|point| point.1).fold(0.0, f32::min);
    let high = all().map(|point| point.1).fold(f32::MIN_POSITIVE, f32::max);
    let margin = 0.05 * (high - low);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc(quantity)
        .light_line_style(WHITE)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for ((name, points), (colour, width)) in lines.into_iter().zip(STYLES.iter().cycle()) {
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(*width)))?
            .label(format!("{name}   "))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(*width)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.9))
        .draw()?;
    Ok(())
}
