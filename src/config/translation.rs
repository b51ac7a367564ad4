//! [`Translation`]: what the step does along N, and [`Correction`]: in which steps.

use super::{invalid, not_negative, positive, unsupported};
use crate::error::Result;

/// What happens along N before the base optimizer takes its step. None of them costs a gradient.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Translation {
    /// Nothing: the dimer watches, and the steps are those of the base optimizer, bit for bit. An event whose probes
    /// give no finite product leaves N and what is known of it, and its step is taken. Only where the objective offers
    /// [parts](crate::Objective::parts) is an event's step by the gradient of a part.
    ///
    /// Not with [`Difference::Central`](crate::Difference::Central), whose events have no gradient at θ; there take
    /// [`Translation::Project`] with α = 0.
    None,
    /// g ← g₁ − α (g₁·N) N, the projection of arXiv 2507.19968 for α = 1.
    ///
    /// At a strict saddle this removes the way out; it is here for fidelity to the paper.
    Project(Projection),
    /// The saddle-free step along N (after Dauphin et al. 2014, arXiv 1406.2572), only while the curvature is
    /// significantly negative; otherwise bit for bit what the base optimizer makes of the gradient at hand. This is the one to
    /// train with.
    ///
    /// Besides the base optimizer's own step it moves along N by −c/(|C| + damping), with c = g₁·N: downhill,
    /// and far where the loss is flat. C here is the smoothed curvature. The length is at most R and, where c is
    /// tiny, as at the saddle itself, at least kick · R. R begins as ‖Δθ‖, what the base optimizer moves in the step of
    /// an event. It doubles with each step that was R long and after which the loss still leads on along the same N,
    /// and halves with each that went too far. It is at most trust · learning rate · √n (n elements under the dimer),
    /// at least 0.2 ‖Δθ‖ of the last event and 1 % of the most, and follows the learning rate. So it suits SGD, whose
    /// rates are a hundred times those of Adam, and a long walk out takes a logarithmic number of steps.
    ///
    /// An event reads the gradient, the parameters and the moments once more for ‖Δθ‖. With several dimers, each has
    /// its share of it by the root of its length. Until the first event that takes a step, R begins at its least value.
    ///
    /// A group moves by its [`learning_rate_scale`](crate::Group::learning_rate_scale) times the step along N. With S
    /// for these scales, a step of length s goes s N·SN along N and changes the slope by C s N·SN where N is an
    /// eigenvector, so −c/(|C| + damping) and ‖Δθ‖ are divided by N·SN.
    ///
    /// With [`Rotation::Alternating`](crate::Rotation::Alternating) the gate, the bound and what becomes of the base
    /// optimizer's own step along N are others, which that says.
    ///
    /// The gate is open while the smoothed curvature lies `significance` standard errors below zero and the
    /// last measured one lies below zero.
    SaddleFree(SaddleFree),
    /// Walks *to* saddles of index 1, uphill along N and downhill elsewhere: the dimer search of
    /// Henkelman, Jónsson 1999 (J. Chem. Phys. 111, 7010). For transition states of potential
    /// surfaces and for maps of loss landscapes, not for training.
    ///
    /// g ← g₁ − 2 (g₁·N) N where the last measured C is negative; where it is not, uphill along N
    /// alone, g ← −(g₁·N) N. [`Config::climb`](crate::Config::climb) has the settings that go with
    /// it. Needs [`Correction::EveryStep`], [`Base::Sgd`](crate::Base::Sgd) at a fixed rate, no weight decay in any group,
    /// one dimer that seeks the softest direction, and [`Schedule::Every`](crate::Schedule::Every) 10 steps or fewer.
    Climb,
}

/// Settings of [`Translation::Project`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Projection {
    /// α, dimensionless, finite: 0 leaves the base optimizer bit for bit, 1 projects, 2 reflects. Default 1.
    pub alpha: f64,
    /// Correct only while the measured curvature C is negative; default false.
    pub only_negative_curvature: bool,
}

impl Default for Projection {
    fn default() -> Self {
        Self { alpha: 1.0, only_negative_curvature: false }
    }
}

/// Settings of [`Translation::SaddleFree`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaddleFree {
    /// Dimensionless, > 0; default 0.2. At 1 the longest step along N is as long as a whole step of Adam.
    pub trust: f64,
    /// Added to |C|, in loss per parameter², > 0; default 10⁻².
    pub damping: f64,
    /// Shortest step along N, as a share of R, in [0, 1]; default 0.1.
    pub kick: f64,
    /// By how many standard errors the smoothed curvature must lie below zero, ≥ 0; default 2. With
    /// [`Rotation::Alternating`](crate::Rotation::Alternating) by how many of its errors the curvature must.
    pub significance: f64,
}

impl Default for SaddleFree {
    fn default() -> Self {
        Self { trust: 0.2, damping: 1e-2, kick: 0.1, significance: 2.0 }
    }
}

impl Translation {
    pub(super) fn validate(self, correction: Correction) -> Result<()> {
        match self {
            Self::Project(Projection { alpha, .. }) if !(alpha as f32).is_finite() => {
                invalid("dimer.translation.alpha", alpha, "finite in f32")
            }
            Self::None | Self::Project(_) => Ok(()),
            Self::SaddleFree(SaddleFree { trust, damping, kick, significance }) => {
                positive("dimer.translation.trust", trust)?;
                positive("dimer.translation.damping", damping)?;
                not_negative("dimer.translation.significance", significance)?;
                if !(0.0..=1.0).contains(&kick) {
                    return invalid("dimer.translation.kick", kick, "in [0, 1]");
                }
                Ok(())
            }
            Self::Climb if correction == Correction::EventsOnly => unsupported(
                "Translation::Climb",
                "Correction::EventsOnly, whose other steps would undo the way up",
                "set `dimer.correction` to EveryStep",
            ),
            Self::Climb => Ok(()),
        }
    }
}

/// Which steps the translation corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Correction {
    /// Steps with an event; the others are those of the base optimizer, at its memory traffic.
    EventsOnly,
    /// Every step, along the last N.
    EveryStep,
}
