//! A network trained on all images in every step, with a dimer that watches the sharpness.

use dimer::{
    Adam, Base, Config, Dimer, Gpu, LearningRate, Metric, Mode, Optimizer, Regime, Result,
    Rotation, Schedule, Sgd, Translation,
};

use super::data;
use super::network::{self, Loss, Training};

/// Images that are trained on.
const IMAGES: usize = 512;

/// Steps from one measurement of the sharpness to the next.
pub const INTERVAL: u32 = 10;

/// Adam as in the literature on the edge of stability.
const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-7 };

/// The images, each pixel less its mean.
pub fn images() -> data::Images {
    data::first(IMAGES).centred()
}

/// A base optimizer at a learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    GradientDescent(f64),
    Adam(f64),
}

impl Method {
    /// The sharpness beyond which a quadratic loss diverges: 2/η, and for Adam, in the metric of its preconditioner,
    /// (2 + 2β₁) / (1 − β₁) / η (Cohen et al. 2021, arXiv 2103.00065; 2022, arXiv 2207.14484).
    pub fn limit(self) -> f64 {
        match self {
            Self::GradientDescent(rate) => 2.0 / rate,
            Self::Adam(rate) => (2.0 + 2.0 * ADAM.beta1) / (1.0 - ADAM.beta1) / rate,
        }
    }

    fn config(self) -> Config {
        let (base, rate, metric) = match self {
            Self::GradientDescent(rate) => {
                let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
                (base, rate, Metric::Euclidean)
            }
            Self::Adam(rate) => (Base::Adam(ADAM), rate, Metric::Preconditioner),
        };
        Config {
            base,
            learning_rate: LearningRate::Fixed(rate),
            weight_decay: 0.0,
            dimer: Some(Dimer {
                seeks: Mode::Stiffest,
                rotation: Rotation::locally_optimal(Regime::Stochastic),
                schedule: Schedule::Every(INTERVAL),
                metric,
                translation: Translation::None,
                ..Dimer::default()
            }),
            ..Config::default()
        }
    }

    /// The optimizer at random weights, and its loss.
    pub fn start(self, gpu: &Gpu, seed: u64) -> Result<(Optimizer, Training)> {
        let params = network::uniform_params(seed);
        let optimizer = Optimizer::new(gpu, network::layout()?, self.config(), &params)?;
        let training = Training::on_all(&optimizer, &images(), Loss::SquaredError);
        Ok((optimizer, training))
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GradientDescent(rate) => write!(f, "gradient descent, {rate}"),
            Self::Adam(rate) => write!(f, "Adam, {rate}"),
        }
    }
}
