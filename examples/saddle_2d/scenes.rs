//! Surfaces with saddles, and the optimizers that walk there.

use dimer::{
    Adam, Base, Config, Correction, Dimer, Displacement, LearningRate, Projection, Regime,
    Rotation, SaddleFree, Schedule, Sgd, Translation,
};

use super::surfaces::{Surface, double_well, monkey_saddle, muller_brown};

/// A surface, the part of it to draw, and a path's start and scale on it.
pub struct Scene {
    pub name: &'static str,
    pub surface: Surface,
    /// Its entry point in `plane.wgsl`.
    pub on_gpu: &'static str,
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub levels: Vec<f64>,
    pub start: [f32; 2],
    /// Learning rate of the base optimizers: SGD's in units of 1/curvature, Adam's of length.
    sgd: f64,
    adam: f64,
}

pub fn scenes() -> [Scene; 3] {
    let even = |from: f64, to: f64, count: i32| -> Vec<f64> {
        (0..count).map(|i| from + (to - from) * f64::from(i) / f64::from(count - 1)).collect()
    };
    [
        Scene {
            name: "x² − y² + y⁴/4",
            surface: double_well,
            on_gpu: "double_well",
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
            on_gpu: "monkey_saddle",
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
            on_gpu: "muller_brown",
            x: (-1.4, 1.2),
            y: (-0.5, 2.0),
            levels: even(-145.0, 60.0, 22),
            start: [-0.84, 0.60],
            sgd: 2e-4,
            adam: 0.02,
        },
    ]
}

/// Steps from one event to the next, but for a climb.
pub const EVENTS: u32 = 5;

impl Scene {
    /// Names and settings of the optimizers.
    pub fn optimizers(&self) -> [(&'static str, Config); 5] {
        let sgd = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let adam = Base::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
        let config = |base, rate, translation: Option<Translation>| Config {
            base,
            learning_rate: LearningRate::Fixed(rate),
            weight_decay: 0.0,
            dimer: translation.map(dimer),
            ..Config::default()
        };
        let project = Projection { alpha: 1.0, only_negative_curvature: false };
        let with_dimer = |translation| config(sgd, self.sgd, Some(translation));
        [
            ("SGD", config(sgd, self.sgd, None)),
            ("Adam", config(adam, self.adam, None)),
            ("DEO, projection", with_dimer(Translation::Project(project))),
            ("DEO, saddle-free", with_dimer(Translation::SaddleFree(SaddleFree::default()))),
            ("climb", with_dimer(Translation::Climb)),
        ]
    }
}

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
