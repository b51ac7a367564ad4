//! [`Base`]: the optimizer that makes the step.

use super::{fraction, invalid, positive};
use crate::error::Result;

/// The optimizer that turns the corrected gradient into a step; SGD, Adam and AdamW as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Base {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam (Kingma, Ba 2014, arXiv 1412.6980), weight decay added to the gradient.
    Adam(Adam),
    /// AdamW (Loshchilov, Hutter 2017, arXiv 1711.05101): Adam with decoupled weight decay.
    AdamW(Adam),
    /// After Sophia (Liu, Li, Hall, Liang, Ma 2023, arXiv 2305.14342), with the squared minibatch
    /// gradient in place of its estimate of the Hessian's diagonal: the fourth variant of arXiv
    /// 2507.19968. Decoupled weight decay.
    ///
    /// θ ← θ − learning rate · clip(m / max(ρ h, ε), 1), element by element, with the moving means m
    /// of g and h of g². No element moves further than the learning rate, so this takes rates
    /// like those of sign descent.
    Sophia(Sophia),
    /// Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a moving mean of the gradient, with decoupled
    /// weight decay. Keeps one moment.
    ///
    /// θ ← θ − learning rate · (sign(β₁ m + (1 − β₁) g) + λ θ), then m ← β₂ m + (1 − β₂) g. Every element
    /// moves by the learning rate, so this takes rates 3 to 10 times below those of AdamW.
    Lion(Lion),
}

/// Settings of [`Base::Sgd`]; by default without momentum.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Factor on the running sum of gradients, in [0, 1); 0 keeps no such sum. Default 0.
    pub momentum: f64,
    /// Whether to look ahead along the momentum (Nesterov); needs a momentum above 0. Default false.
    pub nesterov: bool,
}

/// Settings of [`Base::Adam`] and [`Base::AdamW`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// β₁, decay of the first moment, in [0, 1); default 0.9.
    pub beta1: f64,
    /// β₂, decay of the second moment, in [0, 1); default 0.999.
    pub beta2: f64,
    /// ε, added to the root of the second moment, in units of the gradient, > 0; default 10⁻⁸.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Settings of [`Base::Sophia`]; the defaults are those of its paper.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sophia {
    /// β₁, decay of m, in [0, 1); default 0.965.
    pub beta1: f64,
    /// β₂, decay of h, in [0, 1); default 0.99.
    pub beta2: f64,
    /// ρ, in units of 1/gradient, > 0; default 0.04. The larger, the fewer elements are clipped.
    pub rho: f64,
    /// ε, in units of the gradient, > 0; default 10⁻¹².
    pub epsilon: f64,
}

impl Default for Sophia {
    fn default() -> Self {
        Self { beta1: 0.965, beta2: 0.99, rho: 0.04, epsilon: 1e-12 }
    }
}

/// Settings of [`Base::Lion`]; the defaults are those of its paper.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lion {
    /// β₁, the share of m in the mean whose sign is taken, in [0, 1); default 0.9.
    pub beta1: f64,
    /// β₂, decay of m, in [0, 1); default 0.99.
    pub beta2: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99 }
    }
}

impl Base {
    /// Whether weight decay multiplies the parameters, or else is added to the gradient.
    pub(crate) fn is_decoupled(self) -> bool {
        matches!(self, Self::AdamW(_) | Self::Sophia(_) | Self::Lion(_))
    }

    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Sgd(Sgd { momentum, nesterov }) => {
                fraction("base.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return invalid("base.momentum", momentum, "above 0 with nesterov");
                }
                Ok(())
            }
            Self::Adam(Adam { beta1, beta2, epsilon })
            | Self::AdamW(Adam { beta1, beta2, epsilon }) => {
                decays(beta1, beta2)?;
                positive("base.epsilon", epsilon)
            }
            Self::Sophia(Sophia { beta1, beta2, rho, epsilon }) => {
                positive("base.rho", rho)?;
                decays(beta1, beta2)?;
                positive("base.epsilon", epsilon)
            }
            Self::Lion(Lion { beta1, beta2 }) => decays(beta1, beta2),
        }
    }
}

fn decays(beta1: f64, beta2: f64) -> Result<()> {
    fraction("base.beta1", beta1)?;
    fraction("base.beta2", beta2)
}

impl Default for Base {
    fn default() -> Self {
        Self::AdamW(Adam::default())
    }
}
