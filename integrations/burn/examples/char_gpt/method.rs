//! The optimizers to compare: a base alone, with a dimer, and with the projection of the paper.

use std::fmt;
use std::str::FromStr;

use burn::module::ParamGroup;
use dimer::{
    Adam, Base, Config, Correction, Dimer, Group, Project, Rate, Rotation, Schedule, Sgd, Sophia,
    Translation,
};

/// What is done along N.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    Nothing,
    /// The defaults of this library.
    Dimer,
    /// One rotation along the gradient, then the projection, in events only.
    Projection,
}

/// One optimizer; its name is like `adamw`, `deo-adamw` or `projection-adamw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    dimer: Use,
    base: &'static BaseOptimizer,
}

#[derive(Debug, PartialEq)]
struct BaseOptimizer {
    name: &'static str,
    base: Base,
    weight_decay: f64,
    /// Factor on the learning rate, which is made for Adam.
    rate_scale: f64,
}

const BASES: [BaseOptimizer; 5] = [
    BaseOptimizer {
        name: "sgd",
        base: Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
        weight_decay: 0.0,
        rate_scale: 100.0,
    },
    BaseOptimizer { name: "adam", base: ADAM, weight_decay: 0.0, rate_scale: 1.0 },
    // The baseline of the published runs: a decay that goes through Adam's normalisation.
    BaseOptimizer { name: "adam-l2", base: ADAM, weight_decay: 0.1, rate_scale: 1.0 },
    BaseOptimizer {
        name: "adamw",
        base: Base::AdamW(Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }),
        weight_decay: 0.1,
        rate_scale: 1.0,
    },
    BaseOptimizer {
        name: "sophia",
        base: Base::Sophia(Sophia { beta1: 0.965, beta2: 0.99, rho: 0.04, epsilon: 1e-12 }),
        weight_decay: 0.0,
        rate_scale: 1.0,
    },
];

const ADAM: Base = Base::Adam(Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 });

impl Method {
    pub fn config(&self, interval: u32) -> Config {
        let schedule = Schedule::Every(interval);
        let dimer = match self.dimer {
            Use::Nothing => None,
            Use::Dimer => Some(Dimer { schedule, ..Dimer::default() }),
            Use::Projection => Some(Dimer {
                rotation: Rotation::Gradient { rate: Rate::Automatic },
                schedule,
                translation: Translation::Project(Project {
                    alpha: 1.0,
                    only_negative_curvature: false,
                }),
                correction: Correction::EventsOnly,
                ..Dimer::default()
            }),
        };
        let BaseOptimizer { base, weight_decay, .. } = *self.base;
        Config { base, weight_decay, max_gradient_norm: Some(1.0), dimer, ..Config::default() }
    }

    /// Factor on the learning rate.
    pub fn rate_scale(&self) -> f64 {
        self.base.rate_scale
    }

    /// Norms do not decay.
    pub fn groups() -> Vec<(ParamGroup, Group)> {
        let no_decay = Group { weight_decay: Some(0.0), ..Group::default() };
        vec![(ParamGroup::from_regex("norm").expect("a valid pattern"), no_decay)]
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.dimer {
            Use::Nothing => "",
            Use::Dimer => "deo-",
            Use::Projection => "projection-",
        };
        write!(formatter, "{prefix}{}", self.base.name)
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (dimer, base) = match name.split_once('-') {
            Some(("deo", base)) => (Use::Dimer, base),
            Some(("projection", base)) => (Use::Projection, base),
            _ => (Use::Nothing, name),
        };
        let names: Vec<_> = BASES.iter().map(|base| base.name).collect();
        let base = BASES.iter().find(|known| known.name == base).ok_or_else(|| {
            format!("one of {}, alone or after deo- or projection-", names.join(", "))
        })?;
        Ok(Self { dimer, base })
    }
}
