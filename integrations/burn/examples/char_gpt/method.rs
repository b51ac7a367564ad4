//! The optimizers to compare: a base alone, with a dimer, with the projection of the paper, and with its learning
//! rate from curvature.

use std::fmt;
use std::str::FromStr;

use burn::module::ParamGroup;
use dimer::{
    Adam, Base, Config, Correction, CurvatureRate, Dimer, Group, LearningRate, Projection,
    RateProbe, Rotation, RotationRate, Schedule, Sgd, Sophia, Translation,
};

/// What is added to the base.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Addition {
    Nothing,
    /// A dimer with the defaults of this library.
    Dimer,
    /// One rotation along the gradient, then the projection, in events only.
    Projection,
    /// The learning rate from curvature.
    Rate(RateProbe),
}

/// Their names, before that of the base.
const ADDITIONS: [(&str, Addition); 4] = [
    ("deo-", Addition::Dimer),
    ("projection-", Addition::Projection),
    ("curvature-", Addition::Rate(RateProbe::SeparateGradient)),
    ("repeated-", Addition::Rate(RateProbe::RepeatedMinibatch)),
];

/// One optimizer; its name is like `adamw`, `deo-adamw` or `curvature-adamw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    addition: Addition,
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
    /// `rate` is at the height of the schedule; one from curvature starts there.
    pub fn config(&self, interval: u32, rate: f64) -> Config {
        let schedule = Schedule::Every(interval);
        let rate = self.base.rate_scale * rate;
        let learning_rate = match self.addition {
            Addition::Rate(probe) => LearningRate::Curvature(CurvatureRate {
                initial: rate,
                probe,
                interval,
                ..CurvatureRate::default()
            }),
            _ => LearningRate::Fixed(rate),
        };
        let dimer = match self.addition {
            Addition::Nothing | Addition::Rate(_) => None,
            Addition::Dimer => Some(Dimer { schedule, ..Dimer::default() }),
            Addition::Projection => Some(Dimer {
                rotation: Rotation::gradient(RotationRate::Automatic),
                schedule,
                translation: Translation::Project(Projection {
                    alpha: 1.0,
                    only_negative_curvature: false,
                }),
                correction: Correction::EventsOnly,
                ..Dimer::default()
            }),
        };
        let BaseOptimizer { base, weight_decay, .. } = *self.base;
        let max_gradient_norm = Some(1.0);
        Config { base, learning_rate, weight_decay, max_gradient_norm, dimer, ..Config::default() }
    }

    /// Whether its learning rate comes from curvature.
    pub fn finds_rate(&self) -> bool {
        matches!(self.addition, Addition::Rate(_))
    }

    /// Norms do not decay.
    pub fn groups() -> Vec<(ParamGroup, Group)> {
        let no_decay = Group { weight_decay: Some(0.0), ..Group::default() };
        vec![(ParamGroup::from_regex("norm").expect("a valid pattern"), no_decay)]
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ADDITIONS.iter().find(|(_, addition)| *addition == self.addition);
        write!(formatter, "{}{}", name.map_or("", |(name, _)| name), self.base.name)
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = ADDITIONS
            .iter()
            .find_map(|&(prefix, addition)| Some((addition, name.strip_prefix(prefix)?)));
        let (addition, base) = found.unwrap_or((Addition::Nothing, name));
        let base = BASES.iter().find(|known| known.name == base).ok_or_else(|| {
            let bases = BASES.map(|base| base.name).join(", ");
            let additions = ADDITIONS.map(|(prefix, _)| prefix).join(", ");
            format!("one of {bases}, alone or after one of {additions}")
        })?;
        Ok(Self { addition, base })
    }
}
