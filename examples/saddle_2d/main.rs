//! Draws how optimizers walk near saddles of three surfaces in the plane, with the dimer of those that
//! have one.

mod chart;
#[allow(dead_code, reason = "the clusters are for saddle_search")]
#[path = "../surfaces/mod.rs"]
mod surfaces;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use dimer::{
    Adam, Base, Config, Correction, Dimer, Displacement, Gpu, HostObjective, Layout, LearningRate,
    Optimizer, Projection, Regime, Rotation, SaddleFree, Schedule, Sgd, Translation,
};
use surfaces::{Surface, double_well, monkey_saddle, muller_brown};

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

/// A surface, the part of it to draw, and a path's start and scale on it.
pub struct Scene {
    name: &'static str,
    surface: Surface,
    x: (f64, f64),
    y: (f64, f64),
    levels: Vec<f64>,
    start: [f32; 2],
    /// Learning rate of the base optimizers: SGD's in units of 1/curvature, Adam's of length.
    sgd: f64,
    adam: f64,
}

/// One optimizer on one surface.
pub struct Path {
    name: &'static str,
    points: Vec<[f64; 2]>,
    /// N at some of the points, by index.
    dimers: Vec<(usize, [f64; 2])>,
}

fn scenes() -> [Scene; 3] {
    let even = |from: f64, to: f64, count: i32| -> Vec<f64> {
        (0..count).map(|i| from + (to - from) * f64::from(i) / f64::from(count - 1)).collect()
    };
    [
        Scene {
            name: "x² − y² + y⁴/4",
            surface: double_well,
            x: (-1.3, 1.3),
            y: (-2.0, 2.0),
            levels: even(-1.0, 2.5, 15),
            start: [1.0, 2e-3],
            sgd: 0.04,
            adam: 0.04,
        },
        Scene {
            name: "monkey saddle",
            surface: monkey_saddle,
            x: (-1.3, 1.3),
            y: (-2.0, 2.0),
            levels: even(-0.9, 3.0, 20),
            start: [0.75, 0.02],
            sgd: 0.03,
            adam: 0.03,
        },
        Scene {
            name: "Müller–Brown",
            surface: muller_brown,
            x: (-1.4, 1.2),
            y: (-0.5, 2.0),
            levels: even(-145.0, 60.0, 22),
            start: [-0.84, 0.60],
            sgd: 2e-4,
            adam: 0.02,
        },
    ]
}

/// Name, base optimizer with its rate, and translation.
fn optimizers(scene: &Scene) -> [(&'static str, Base, f64, Option<Translation>); 5] {
    let sgd = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
    let adam = Base::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
    let project = Translation::Project(Projection { alpha: 1.0, only_negative_curvature: false });
    [
        ("SGD", sgd, scene.sgd, None),
        ("Adam", adam, scene.adam, None),
        ("DEO, projection", sgd, scene.sgd, Some(project)),
        ("DEO, saddle-free", sgd, scene.sgd, Some(Translation::SaddleFree(SaddleFree::default()))),
        ("climb", sgd, scene.sgd, Some(Translation::Climb)),
    ]
}

/// Steps from one drawn dimer to the next, and from one event to the next.
const EVENTS: u32 = 5;

fn dimer(translation: Translation) -> Dimer {
    // To climb is to follow N: it must be right at every step.
    let interval = if translation == Translation::Climb { 1 } else { EVENTS };
    Dimer {
        rotation: Rotation::locally_optimal(Regime::rotations(2)),
        schedule: Schedule::Every(interval),
        displacement: Displacement::Absolute(1e-3),
        translation,
        correction: Correction::EveryStep,
        ..Dimer::default()
    }
}

fn walk(gpu: &Gpu, scene: &Scene, steps: u32) -> Result<Vec<Path>, dimer::Error> {
    optimizers(scene)
        .into_iter()
        .map(|(name, base, learning_rate, translation)| {
            let config = Config {
                base,
                learning_rate: LearningRate::Fixed(learning_rate),
                weight_decay: 0.0,
                dimer: translation.map(dimer),
                ..Config::default()
            };
            let mut optimizer = Optimizer::new(gpu, Layout::flat(2)?, config, &scene.start)?;
            let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
                let (energy, slope) = (scene.surface)(theta[0].into(), theta[1].into());
                gradient.copy_from_slice(&slope.map(|slope| slope as f32));
                energy as f32
            });
            let mut path = Path { name, points: vec![point(&scene.start)], dimers: Vec::new() };
            for step in 1..=steps {
                optimizer.step(&mut objective)?;
                path.points.push(point(&optimizer.read_params()?));
                if translation.is_some() && step % EVENTS == 0 {
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
