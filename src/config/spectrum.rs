//! [`SpectrumConfig`]: which eigenpairs a spectrum is for, and how well.

use super::{Difference, Displacement, invalid, not_negative};
use crate::error::Result;

/// Settings of a [`Spectrum`](crate::Spectrum).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectrumConfig {
    /// How many of the lowest eigenpairs, from 0 to 8; default 1.
    pub lowest: usize,
    /// How many of the highest, from 0 to 8; default 0. Both ends share one basis: a product along a residual of one end
    /// serves the other as well.
    pub highest: usize,
    /// Distance of the probes; default [`Displacement::Automatic`], which here is a search after the first four rotations:
    /// of 10⁻⁵ · 4ⁿ · max(‖θ‖, 1), n from 0 to 6, the one at which products along a mode from the two sides of θ differ
    /// least, with what rounding does to the points. It costs 14 gradients, and those of a product for each mode. What is right for
    /// training is mostly too small for a spectrum, since rounding counts more where nothing averages it.
    pub displacement: Displacement,
    /// How a product is measured; default [`Difference::Forward`], whatever the dimer of the optimizer has.
    /// [`Difference::Central`] takes two gradients for each, and where the curvature changes over the displacement, errors
    /// are of its square. [`Difference::Exact`] asks [`Objective::hessian_product`](crate::Objective::hessian_product), and
    /// has no displacement.
    pub difference: Difference,
    /// Error up to which an eigenvalue counts as converged, as a fraction of the largest |eigenvalue| seen, ≥ 0; default
    /// 0.01. See [`Eigenpair::converged`](crate::Eigenpair::converged).
    pub tolerance: f64,
    /// Of the random directions that it begins with; default 0.
    pub seed: u64,
}

impl Default for SpectrumConfig {
    fn default() -> Self {
        Self {
            lowest: 1,
            highest: 0,
            displacement: Displacement::Automatic,
            difference: Difference::Forward,
            tolerance: 0.01,
            seed: 0,
        }
    }
}

/// Most steps of the Lanczos method.
pub(crate) const MAX_STEPS: u32 = 128;

/// Most modes at one end.
const MAX_AT_ONE_END: usize = 8;

impl SpectrumConfig {
    /// All modes.
    pub(crate) fn modes(&self) -> usize {
        self.lowest + self.highest
    }

    /// Checks every setting, for as many elements as the dimer reaches.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
    pub(crate) fn validate(&self, reached: usize) -> Result<()> {
        for (field, count) in [("lowest", self.lowest), ("highest", self.highest)] {
            if count > MAX_AT_ONE_END {
                return invalid(field, count, "from 0 to 8");
            }
        }
        if !(1..=reached).contains(&self.modes()) {
            let expected =
                "at least 1 at both ends together, and at most the elements under the dimer";
            return invalid("lowest + highest", self.modes(), expected);
        }
        not_negative("tolerance", self.tolerance)?;
        self.displacement.validate(["displacement", "displacement.factor", "displacement.minimum"])
    }
}

/// Checks what an estimate from random vectors is asked for: their number, and of the Lanczos method the steps.
///
/// # Errors
/// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
pub(crate) fn validate_sampling(vectors: u32, steps: u32) -> Result<()> {
    if vectors == 0 {
        return invalid("vectors", vectors, "at least 1");
    }
    if !(1..=MAX_STEPS).contains(&steps) {
        return invalid("steps", steps, "from 1 to 128");
    }
    Ok(())
}
