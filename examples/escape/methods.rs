//! What is compared: base optimizers, what a dimer adds to them, and what takes the place of their learning rate.

use dimer::{
    Adam, Base, Config, Correction, CurvatureRate, Dimer, LearningRate, OnPlateau, Projection,
    RateProbe, Schedule, Sgd, Sophia, Translation,
};

pub const BASES: [(&str, Base); 3] = [
    ("momentum SGD", Base::Sgd(Sgd { momentum: 0.9, nesterov: false })),
    ("Adam", Base::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 })),
    ("Sophia-like", Base::Sophia(Sophia { beta1: 0.965, beta2: 0.99, rho: 0.04, epsilon: 1e-12 })),
];

/// One column of the table.
pub struct Method {
    pub name: &'static str,
    dimer: fn() -> Option<Dimer>,
    /// Of a learning rate from curvature.
    rate: Option<RateProbe>,
}

impl Method {
    const fn with_dimer(name: &'static str, dimer: fn() -> Option<Dimer>) -> Self {
        Self { name, dimer, rate: None }
    }

    const fn with_rate(name: &'static str, probe: RateProbe) -> Self {
        Self { name, dimer: || None, rate: Some(probe) }
    }

    /// Whether it has a learning rate that can be tuned.
    pub fn is_tuned(&self) -> bool {
        self.rate.is_none()
    }

    /// Its settings on top of a base optimizer, without weight decay; a rate from curvature starts at `rate`.
    pub fn config(&self, base: Base, rate: f64) -> Config {
        let learning_rate = match self.rate {
            None => LearningRate::Fixed(rate),
            Some(probe) => LearningRate::Curvature(CurvatureRate {
                initial: rate,
                probe,
                ..CurvatureRate::default()
            }),
        };
        let dimer = (self.dimer)();
        Config { base, learning_rate, weight_decay: 0.0, dimer, ..Config::default() }
    }
}

/// The base optimizer comes first; the others are compared to it.
pub const METHODS: [Method; 8] = [
    Method::with_dimer("base", || None),
    Method::with_dimer("DEO", || Some(Dimer::default())),
    Method::with_dimer("DEO, alternating", || Some(Dimer::alternating())),
    Method::with_dimer("DEO, K = 10", || Some(every_ten())),
    Method::with_dimer("DEO, on plateaus", || Some(on_plateaus())),
    Method::with_dimer("projection, K = 10", || Some(projection())),
    Method::with_rate("rate from curvature", RateProbe::SeparateGradient),
    Method::with_rate("rate from repeated minibatches", RateProbe::RepeatedMinibatch),
];

fn every_ten() -> Dimer {
    Dimer { schedule: Schedule::Every(10), ..Dimer::default() }
}

fn on_plateaus() -> Dimer {
    Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() }
}

/// The correction of the paper, with the rotation of this crate.
fn projection() -> Dimer {
    Dimer {
        translation: Translation::Project(Projection {
            alpha: 1.0,
            only_negative_curvature: false,
        }),
        correction: Correction::EveryStep,
        ..every_ten()
    }
}
