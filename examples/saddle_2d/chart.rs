//! Contours, paths and dimers, one panel per surface.

use std::error::Error;
use std::path::Path as File;

use contour::ContourBuilder;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::{Path, Scene};

const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
];
const GREY: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);

/// Points of the contour grid along each axis.
const GRID: usize = 60;
/// Half of a drawn dimer, as a share of the width of its panel.
const DIMER: f64 = 0.02;

pub fn draw(file: &File, panels: &[(Scene, Vec<Path>)]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (1080, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((1, panels.len()));
    for (index, (area, (scene, paths))) in areas.iter().zip(panels).enumerate() {
        panel(area, scene, paths, index == 0)?;
    }
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    scene: &Scene,
    paths: &[Path],
    with_legend: bool,
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(scene.name, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(32)
        .build_cartesian_2d(scene.x.0..scene.x.1, scene.y.0..scene.y.1)?;
    chart.configure_mesh().disable_mesh().x_labels(5).y_labels(5).draw()?;
    for line in contours(scene)? {
        chart.draw_series([PathElement::new(line, GREY)])?;
    }
    for (path, colour) in paths.iter().zip(COLOURS) {
        let line = path.points.iter().map(|&[x, y]| (x, y));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(path.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        let half = DIMER * (scene.x.1 - scene.x.0);
        for (step, [nx, ny]) in &path.dimers {
            let [x, y] = path.points[*step];
            let ends = [(x - half * nx, y - half * ny), (x + half * nx, y + half * ny)];
            chart.draw_series([PathElement::new(ends, colour.mix(0.6).stroke_width(1))])?;
            chart.draw_series(ends.map(|end| Circle::new(end, 2, colour.mix(0.6).filled())))?;
        }
        if let Some(&[x, y]) = path.points.last() {
            chart.draw_series([Circle::new((x, y), 5, colour.filled())])?;
        }
    }
    chart.draw_series([Cross::new(
        (scene.start[0].into(), scene.start[1].into()),
        5,
        BLACK.stroke_width(2),
    )])?;
    if !with_legend {
        return Ok(());
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .label_font(("sans-serif", 12))
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}

/// Points of one line.
type Line = Vec<(f64, f64)>;

/// The level lines of the surface, rounded, since a picture needs no more.
fn contours(scene: &Scene) -> Result<Vec<Line>, Box<dyn Error>> {
    let step = |(from, to): (f64, f64)| (to - from) / (GRID - 1) as f64;
    let (dx, dy) = (step(scene.x), step(scene.y));
    let value = |i: usize| {
        let (row, column) = (i / GRID, i % GRID);
        (scene.surface)(scene.x.0 + dx * column as f64, scene.y.0 + dy * row as f64).0
    };
    let values: Vec<f64> = (0..GRID * GRID).map(value).collect();
    let builder = ContourBuilder::new(GRID, GRID, true)
        .x_origin(scene.x.0)
        .y_origin(scene.y.0)
        .x_step(dx)
        .y_step(dy);
    let lines = builder.lines(&values, &scene.levels)?;
    let parts = lines.into_iter().flat_map(|line| line.into_inner().0);
    Ok(parts.map(|part| part.0.iter().map(|point| (point.x, point.y)).collect()).collect())
}
