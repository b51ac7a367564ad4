//! [`Base`]: the optimizer that makes the step.

use super::{fraction, invalid, positive};
use crate::error::Result;

/// The optimizer that turns the corrected gradient into a step; SGD, Adam and AdamW as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub enum Base {
    /// Stochastic gradient descent.
    Sgd {
        /// Factor on the running sum of gradients, in [0, 1); 0 keeps no such sum.
        momentum: f64,
        /// Whether to look ahead along the momentum (Nesterov); needs a momentum above 0.
        nesterov: bool,
    },
    /// Adam (Kingma, Ba 2014, arXiv 1412.6980), weight decay added to the gradient.
    Adam {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the root of the second moment, in units of the gradient, > 0.
        epsilon: f64,
    },
    /// AdamW (Loshchilov, Hutter 2017, arXiv 1711.05101): Adam with decoupled weight decay.
    AdamW {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the root of the second moment, in units of the gradient, > 0.
        epsilon: f64,
    },
    /// After Sophia (Liu, Li, Hall, Liang, Ma 2023, arXiv 2305.14342), with the squared minibatch
    /// gradient in place of its estimate of the Hessian's diagonal: the fourth variant of arXiv
    /// 2507.19968. Decoupled weight decay.
    ///
    /// θ ← θ − learning rate · clip(m / max(ρ h, ε), 1), element by element, with the moving means m
    /// of g and h of g². No element moves further than the learning rate, so this takes rates
    /// like those of sign descent.
    Sophia {
        /// Decay of m, in [0, 1).
        beta1: f64,
        /// Decay of h, in [0, 1).
        beta2: f64,
        /// ρ, in units of 1/gradient, > 0. The larger, the fewer elements are clipped.
        rho: f64,
        /// ε, in units of the gradient, > 0.
        epsilon: f64,
    },
}

impl Base {
    /// [`Base::Sophia`] with the settings of its paper: decays 0.965 and 0.99, ρ 0.04, ε 10⁻¹².
    pub const SOPHIA: Self = Self::Sophia { beta1: 0.965, beta2: 0.99, rho: 0.04, epsilon: 1e-12 };

    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Sgd { momentum, nesterov } => {
                fraction("base.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return invalid("base.momentum", momentum, "above 0 with nesterov");
                }
                Ok(())
            }
            Self::Adam { beta1, beta2, epsilon } | Self::AdamW { beta1, beta2, epsilon } => {
                moments(beta1, beta2, epsilon)
            }
            Self::Sophia { beta1, beta2, rho, epsilon } => {
                positive("base.rho", rho)?;
                moments(beta1, beta2, epsilon)
            }
        }
    }
}

fn moments(beta1: f64, beta2: f64, epsilon: f64) -> Result<()> {
    fraction("base.beta1", beta1)?;
    fraction("base.beta2", beta2)?;
    positive("base.epsilon", epsilon)
}

impl Default for Base {
    fn default() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}
