//! [`Metric`]: the coordinates in which the dimer measures curvature.

use super::{Base, Dimer, Displacement, Scope, Translation, unsupported};
use crate::error::Result;

/// The metric in which the dimer measures curvature, and in which N has length 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Metric {
    /// That of the parameters: C in loss per parameter².
    #[default]
    Euclidean,
    /// That of the preconditioner of [`Base::Adam`] and [`Base::AdamW`], P = (√v̂ + ε) / learning_rate_scale, as the
    /// last step had it, and 1 / learning_rate_scale before the first: the dimer measures P^(−½) H P^(−½), and N and
    /// ‖F‖ belong to the coordinates P^(½) θ.
    ///
    /// A step of Adam is one of gradient descent in these coordinates, with momentum. C is in 1 / learning rate, and
    /// its highest value is the sharpness that decides whether Adam is stable: not beyond 38 / learning rate with
    /// β₁ = 0.9, in general (2 + 2β₁) / (1 − β₁) / learning rate (Cohen et al. 2022, arXiv 2207.14484).
    ///
    /// It costs no gradient, and 40 bytes per parameter for each probe. Needs [`Translation::None`],
    /// [`Scope::Global`], and a displacement other than [`Displacement::Automatic`]; ΔR is the distance of the probe
    /// in the parameters.
    Preconditioner,
}

/// Checks the settings that go with [`Metric::Preconditioner`].
pub(super) fn validate_preconditioner(base: Base, dimer: &Dimer) -> Result<()> {
    const METRIC: &str = "Metric::Preconditioner";
    if !matches!(base, Base::Adam(_) | Base::AdamW(_)) {
        return unsupported(
            METRIC,
            "a base optimizer without Adam's preconditioner",
            "set `base` to Adam or AdamW, or `dimer.metric` to Euclidean",
        );
    }
    if dimer.translation != Translation::None {
        return unsupported(
            METRIC,
            "a translation, which moves along N as a direction of the parameters",
            "set `dimer.translation` to None, or `dimer.metric` to Euclidean",
        );
    }
    if dimer.scope != Scope::Global {
        return unsupported(
            METRIC,
            "a scope of more than one dimer",
            "set `dimer.scope` to Global, or `dimer.metric` to Euclidean",
        );
    }
    if dimer.displacement == Displacement::Automatic {
        return unsupported(
            METRIC,
            "Displacement::Automatic",
            "set `dimer.displacement` to Absolute or Relative, or `dimer.metric` to Euclidean",
        );
    }
    Ok(())
}
