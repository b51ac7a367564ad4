//! Draws the runs: loss above, learning rate below, one line per run; both axes of numbers are logarithmic.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

/// The curves of one run, over steps.
pub struct Curves {
    pub name: String,
    pub loss: Vec<(f32, f32)>,
    pub rate: Vec<(f32, f32)>,
}

pub fn draw(path: &Path, runs: &[Curves]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (800, 800)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(400);
    let loss = "training loss, mean of 20 minibatches";
    panel(&above, loss, runs, |run| smooth(&run.loss), None)?;
    // Below the rates there is room.
    let legend = Some(SeriesLabelPosition::LowerRight);
    panel(&below, "learning rate", runs, |run| run.rate.clone(), legend)?;
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
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    runs: &[Curves],
    points: impl Fn(&Curves) -> Vec<(f32, f32)>,
    legend: Option<SeriesLabelPosition>,
) -> Result<(), Box<dyn Error>> {
    // A logarithm has no place for what is 0 or not finite.
    let drawn = |run: &Curves| -> Vec<(f32, f32)> {
        points(run).into_iter().filter(|point| point.1.is_finite() && point.1 > 0.0).collect()
    };
    let lines: Vec<_> = runs.iter().map(|run| (&run.name, drawn(run))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let last = all().map(|point| point.0).fold(1.0, f32::max);
    let low = all().map(|point| point.1).fold(1.0, f32::min);
    let high = all().map(|point| point.1).fold(f32::MIN_POSITIVE, f32::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, (0.8 * low..1.25 * high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("step")
        .light_line_style(WHITE)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0e}"))
        .draw()?;
    for (index, (name, points)) in lines.into_iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        // Those from curvature stand out.
        let style = colour.stroke_width(if name.starts_with("curvature") { 3 } else { 1 });
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(format!("{name}   "))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    if let Some(position) = legend {
        chart
            .configure_series_labels()
            .position(position)
            .border_style(BLACK.mix(0.3))
            .background_style(WHITE.mix(0.9))
            .draw()?;
    }
    Ok(())
}
