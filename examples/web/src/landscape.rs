//! Optimizers that walk on a surface of the plane from one point.

use dimer::{Gpu, Layout, Optimizer};

use crate::plane::Plane;
use crate::scenes::{Scene, scenes};

/// What is told of an optimizer: x, y, energy, slope, and N, of which there may be none yet.
pub const ROW: usize = 6;

pub struct Landscape {
    scene: Scene,
    slope: Plane,
    optimizers: Vec<Optimizer>,
}

impl Landscape {
    /// All optimizers of a scene, at one start.
    pub fn new(gpu: &Gpu, scene: usize, start: [f32; 2]) -> dimer::Result<Self> {
        let scene = scenes().into_iter().nth(scene).expect("a scene");
        let optimizers = scene.optimizers().into_iter();
        let optimizers = optimizers
            .map(|(_, config)| Optimizer::new(gpu, Layout::flat(2)?, config, &start))
            .collect::<dimer::Result<_>>()?;
        Ok(Self { slope: Plane::new(gpu, scene.on_gpu), scene, optimizers })
    }

    /// Takes a step, and tells where each optimizer is: a row for each.
    pub async fn step(&mut self) -> dimer::Result<Vec<f32>> {
        for optimizer in &mut self.optimizers {
            optimizer.step_async(&mut self.slope).await?;
        }
        let mut rows = Vec::new();
        for optimizer in &self.optimizers {
            let theta = optimizer.read_params_async().await?;
            let (energy, slope) = (self.scene.surface)(theta[0].into(), theta[1].into());
            let n = optimizer.read_orientation_async().await?.unwrap_or(vec![f32::NAN; 2]);
            let slope = slope[0].hypot(slope[1]);
            let row: [f32; ROW] = [theta[0], theta[1], energy as f32, slope as f32, n[0], n[1]];
            rows.extend(row);
        }
        Ok(rows)
    }
}

/// Heights of a scene on a grid, row by row from the top.
pub fn heights(scene: &Scene, width: usize, height: usize) -> Vec<f32> {
    let at = |(from, to): (f64, f64), i: usize, count: usize| {
        from + (to - from) * (i as f64 + 0.5) / count as f64
    };
    let point = |i: usize| {
        let (x, y) = (at(scene.x, i % width, width), at(scene.y, height - 1 - i / width, height));
        (scene.surface)(x, y).0 as f32
    };
    (0..width * height).map(point).collect()
}
