//! [`Displacement`] and [`Difference`]: how the Hessian along a direction is measured.

use super::positive;
use crate::error::Result;

/// ΔR, in units of the parameters.
///
/// If the distance is too small, the difference drowns in the rounding of the gradients; if it is too large,
/// the probe leaves the region where the gradient is linear. `Relative` suits networks; take `Automatic` for
/// a loss of unknown scale, and `Absolute` where the unit of the parameters is known, such as for positions
/// of atoms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Displacement {
    /// This distance, > 0.
    Absolute(f64),
    /// max(factor · ‖θ‖, minimum), measured on the GPU in each event, at the cost of one more pass over θ. What the dimer
    /// does not reach is left out of ‖θ‖, here and below.
    Relative(RelativeDisplacement),
    /// A fraction of ‖θ‖ (of 1 if ‖θ‖ is less) that the GPU adapts from event to event, at the cost of one
    /// more gradient per event: C at ΔR is checked against C at 2ΔR. If they differ by more than rounding can
    /// explain, the curvature changes over the distance, and the fraction is halved; otherwise it is doubled.
    /// It starts at 3·10⁻⁵ and stays within 10⁻⁶ to 10⁻². [`Telemetry::difference_error`] gives the error
    /// that it expects of C. Only with [`Difference::Forward`], [`Scope::Global`](crate::Scope::Global) and
    /// [`Metric::Euclidean`](crate::Metric::Euclidean).
    ///
    /// [`Telemetry::difference_error`]: crate::Telemetry::difference_error
    Automatic,
}

/// Settings of [`Displacement::Relative`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelativeDisplacement {
    /// Fraction of ‖θ‖, dimensionless, > 0; default 3·10⁻⁵.
    pub factor: f64,
    /// Least distance, in units of the parameters, > 0, for parameters that start at zero; default 10⁻⁶.
    pub minimum: f64,
}

impl Default for RelativeDisplacement {
    fn default() -> Self {
        Self { factor: 3e-5, minimum: 1e-6 }
    }
}

impl Default for Displacement {
    fn default() -> Self {
        Self::Relative(RelativeDisplacement::default())
    }
}

impl Displacement {
    /// `fields`: what an error calls it, its factor and its minimum.
    pub(super) fn validate(self, fields: [&'static str; 3]) -> Result<()> {
        let [absolute, of_factor, of_minimum] = fields;
        match self {
            Self::Absolute(distance) => positive(absolute, distance),
            Self::Relative(RelativeDisplacement { factor, minimum }) => {
                positive(of_factor, factor)?;
                positive(of_minimum, minimum)
            }
            Self::Automatic => Ok(()),
        }
    }
}

/// From which evaluations the product Hd along a direction d is computed.
///
/// Forward differences are the cheapest, and good to about 10⁻³ of the curvature in f32. Take central ones if
/// the curvature changes fast over ΔR or more digits are needed, and exact products if the objective has them
/// at about the cost of a gradient.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Difference {
    /// (∇L(θ + ΔR d) − ∇L(θ))/ΔR: one gradient per direction. Its error grows with ΔR.
    #[default]
    Forward,
    /// (∇L(θ + ΔR d) − ∇L(θ − ΔR d))/2ΔR: two gradients per direction, and none at θ, since the mean of the
    /// pair along N is ∇L(θ) up to order ΔR². So an event of [`Rotation::Gradient`] costs 2 gradients either
    /// way. The error grows with ΔR² only. Such an event has no loss in the telemetry, unless it measures the learning
    /// rate, which takes the gradient at θ and one more. Not with
    /// [`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch) or
    /// [`Translation::None`](crate::Translation::None).
    ///
    /// [`Rotation::Gradient`]: crate::Rotation::Gradient
    Central,
    /// The objective's own Hessian-vector product, [`Objective::hessian_product`]: one product per direction,
    /// and no displacement.
    ///
    /// [`Objective::hessian_product`]: crate::Objective::hessian_product
    Exact,
}
