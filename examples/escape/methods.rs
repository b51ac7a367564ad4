//! What is compared: base optimizers, and what a dimer adds to them.

use dimer::{
    Adam, Base, Config, Correction, Dimer, OnPlateau, Project, Schedule, Sgd, Sophia, Translation,
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
}

impl Method {
    /// Its settings on top of a base optimizer, without weight decay.
    pub fn config(&self, base: Base) -> Config {
        Config { base, weight_decay: 0.0, dimer: (self.dimer)(), ..Config::default() }
    }
}

/// The base optimizer comes first; the others are compared to it.
pub const METHODS: [Method; 5] = [
    Method { name: "base", dimer: || None },
    Method { name: "DEO", dimer: || Some(Dimer::default()) },
    Method { name: "DEO, K = 10", dimer: || Some(every_ten()) },
    Method { name: "DEO, on plateaus", dimer: || Some(on_plateaus()) },
    Method { name: "projection, K = 10", dimer: || Some(projection()) },
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
        translation: Translation::Project(Project { alpha: 1.0, only_negative_curvature: false }),
        correction: Correction::EveryStep,
        ..every_ten()
    }
}
