//! Draws how optimizers walk near saddles of three surfaces in the plane, with the dimer of those that
//! have one.

mod chart;
#[path = "../surfaces/plane.rs"]
mod plane;
mod scenes;
#[allow(dead_code, reason = "the clusters are for saddle_search")]
#[path = "../surfaces/mod.rs"]
mod surfaces;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use dimer::{Gpu, Layout, Optimizer};
use plane::Plane;
use scenes::{EVENTS, Scene, scenes};

/// Draws paths near saddles.
#[derive(Parser)]
struct Arguments {
    /// Steps of each path.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Where to write the picture.
    #[arg(long, default_value = "target/saddle_2d.svg")]
    out: PathBuf,
}

/// One optimizer on one surface.
pub struct Path {
    name: &'static str,
    points: Vec<[f64; 2]>,
    /// N at some of the points, by index.
    dimers: Vec<(usize, [f64; 2])>,
}

fn walk(gpu: &Gpu, scene: &Scene, steps: u32) -> Result<Vec<Path>, dimer::Error> {
    let mut objective = Plane::new(gpu, scene.on_gpu);
    scene
        .optimizers()
        .into_iter()
        .map(|(name, config)| {
            let has_dimer = config.dimer.is_some();
            let mut optimizer = Optimizer::new(gpu, Layout::flat(2)?, config, &scene.start)?;
            let mut path = Path { name, points: vec![point(&scene.start)], dimers: Vec::new() };
            for step in 1..=steps {
                optimizer.step(&mut objective)?;
                path.points.push(point(&optimizer.read_params()?));
                if has_dimer && step % EVENTS == 0 {
                    let orientation = point(&optimizer.read_orientation()?.unwrap_or_default());
                    path.dimers.push((step as usize, orientation));
                }
            }
            Ok(path)
        })
        .collect()
}

fn point(values: &[f32]) -> [f64; 2] {
    [values[0].into(), values[1].into()]
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    let mut panels = Vec::new();
    for scene in scenes() {
        let paths = walk(&gpu, &scene, arguments.steps)?;
        println!("{} from ({}, {})", scene.name, scene.start[0], scene.start[1]);
        for path in &paths {
            let [x, y] = path.points[path.points.len() - 1];
            let (energy, slope) = (scene.surface)(x, y);
            let slope = slope[0].hypot(slope[1]);
            println!(
                "  {:16} ({x:+.4}, {y:+.4})  energy {energy:+10.4}  slope {slope:.1e}",
                path.name
            );
        }
        panels.push((scene, paths));
    }
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    chart::draw(&arguments.out, &panels)?;
    println!("picture: {}", arguments.out.display());
    Ok(())
}
