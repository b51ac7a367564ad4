//! [`LearningRate`]: a number of the user's, or what the curvature along the step says.

use super::{Base, invalid, not_negative, positive};
use crate::error::Result;

/// Where the learning rate comes from.
///
/// A schedule multiplies either by a factor per step; see
/// [`Optimizer::set_rate_factor`](crate::Optimizer::set_rate_factor).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum LearningRate {
    /// This rate, per step, finite and ≥ 0, until
    /// [`Optimizer::set_learning_rate`](crate::Optimizer::set_learning_rate) says otherwise.
    Fixed(f64),
    /// From the curvature along the update, so that there is no rate to tune.
    ///
    /// A dimer along the update u of the base optimizer (without decoupled weight decay and without a
    /// correction along N) finds the slope g·u and the curvature u·Hu that the step meets on its own minibatch.
    /// On a parabola the rate −g·u / |u·Hu| leads to its lowest point; times `scale`, and times ½ with SGD and 1.4 with any
    /// other base, that is the *estimate*, from 10⁻¹⁰ to 10³.
    ///
    /// Part of the slope is noise that the minibatch has lent to u. The *signal* is what the next minibatch sees of it: with
    /// the update w of the step before, made again from the moments that it left, (g·w − r w·Hw) / g₀·w, from 0 to 1. Here g₀·w
    /// and w·Hw are the slope and the curvature that that step measured, r learning rates ago, so that r w·Hw is by how much
    /// the slope has changed since. It is averaged over the measurements of the burn-in that lead downhill right after
    /// another, and at least 0.1; 1 without any, as for SGD without momentum. With repeated minibatches, w is the second
    /// update of a pair, and slope and curvature are those of the first; with Lion and Nesterov's momentum, w takes the last
    /// gradient for the mean of all.
    ///
    /// The base rate q goes to signal² times the geometric mean of the estimates. In the burn-in all count alike, and q does
    /// not go beyond signal² times the last one; afterwards they count as two in all, and each later one as one. One
    /// measurement moves q no further than [`RateProbe`] says, and it stays from 10⁻¹⁰ to 10³.
    ///
    /// There is no estimate where the update leads uphill: in the burn-in q then does not grow, and where there is no mean yet
    /// it is divided by the most that it may grow. Nor is there one where |(g′ − g)·e| ≤ 2⁻²⁰ ‖g‖ ‖e‖ for the displacement e
    /// between two gradients g and g′ (in the norm, g is the latest at θ), which the rounding of f32 explains: in the burn-in,
    /// and where there is no mean yet, q then goes to the rate at which u leads as far as a probe, if it was smaller. So without
    /// curvature the rate does not grow beyond that.
    ///
    /// The rate of a step is q times the factor of the schedule, which should begin with a warm-up. Neither that nor a q that
    /// was measured goes beyond 1 / (learning_rate_scale · weight decay) of any group where the decay is decoupled, since
    /// u·Hu does not see it.
    ///
    /// A gradient at the probe that is not finite costs the measurement, and not the step. What was measured counts
    /// once the step does: a step that is skipped, or that fails and is taken again, leaves no trace.
    ///
    /// Made for Adam and AdamW. There it does about as well as the best of a grid of rates on small networks and on a small
    /// character GPT, and loses 0.2 to it in short runs of a larger one, where it is too small; on small minibatches with wrong
    /// labels it is up to twice too large. At a saddle there is no slope to measure, so on problems with saddles, and with SGD
    /// in general, a tuned rate is better.
    /// `docs/experiments.md` has the tables.
    Curvature(CurvatureRate),
}

/// Settings of [`LearningRate::Curvature`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurvatureRate {
    /// The base rate that it starts from, per step, from 10⁻¹⁰ to 10³; default 10⁻⁴. The burn-in leads away from it; with
    /// [`RateProbe::RepeatedMinibatch`] the first step is taken at it, so better too small than too large.
    pub initial: f64,
    /// Where the second gradient comes from; default [`RateProbe::SeparateGradient`].
    pub probe: RateProbe,
    /// Steps from one measurement to the next after the burn-in, at least 1, or 2 with
    /// [`RateProbe::RepeatedMinibatch`]; default 50.
    pub interval: u32,
    /// How many first steps measure as often as they can; default 20. Rotations do not count. Steps that are skipped or have no
    /// update are made up for: where the burn-in should end, the host waits for the GPU to know how many measurements there
    /// were, and goes on for as many as are missing, up to ten times as long. Steps that are recorded but not submitted put
    /// that off until a measurement is due. A measurement that is lost at its probe is not made up for, since the next would be
    /// lost as well. The rule of the burn-in holds until it has its measurements, however far apart they are.
    pub burn_in: u32,
    /// The rate as a multiple of what this rule makes of it, > 0; default 1. At 1 a single run may step too far and stay where it
    /// lands: on a small classifier 4 of 132 did. At 0.7 none of the same 132 did, and a small GPT lost 0.02 to 0.1 after 600
    /// gradients. At 2 most fail.
    pub scale: f64,
    /// The distance of the probe along u as a share of 1 + ‖θ‖, frozen groups left out, from 10⁻⁶ to 1; default 10⁻³.
    /// Less would be lost in the rounding of θ. With [`RateProbe::RepeatedMinibatch`] there is no probe, and this is how far
    /// a step goes where nothing curves.
    pub displacement: f64,
}

impl Default for CurvatureRate {
    fn default() -> Self {
        Self {
            initial: 1e-4,
            probe: RateProbe::SeparateGradient,
            interval: 50,
            burn_in: 20,
            scale: 1.0,
            displacement: 1e-3,
        }
    }
}

/// Where the curvature along the update comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum RateProbe {
    /// One gradient more, of the same minibatch, at a probe along the update; then the base rate grows at
    /// most twofold or shrinks at most tenfold per measurement. Costs 2 % more gradients at the default interval,
    /// and 20 for the burn-in. Memory: the probe and its gradient, 8 bytes per parameter, which a dimer has
    /// anyway.
    #[default]
    SeparateGradient,
    /// No gradient more: the step after a measured one uses its minibatch again, so that the two ends of
    /// the dimer are two iterates; then the base rate grows at most threefold or shrinks at most
    /// tenfold per measurement. The
    /// objective is told by [`StepInfo::repeats_minibatch`](crate::StepInfo::repeats_minibatch). Memory: the
    /// parameters before the step, 4 bytes per parameter.
    RepeatedMinibatch,
}

impl CurvatureRate {
    /// How many measurements a burn-in has in which none is lost.
    pub(crate) fn burn_in_measurements(&self) -> u32 {
        self.burn_in / self.probe.steps() as u32
    }
}

impl RateProbe {
    /// Steps of one measurement.
    pub(crate) fn steps(self) -> u64 {
        match self {
            Self::SeparateGradient => 1,
            Self::RepeatedMinibatch => 2,
        }
    }
}

/// What the rate is multiplied by: with a base that scales each element by itself, and with one that does not.
const ADAPTIVE_SCALE: f64 = 1.4;
const SGD_SCALE: f64 = 0.5;

/// The multiple of the rate that leads to the lowest point of the parabola.
pub(crate) fn rate_scale(base: Base, scale: f64) -> f64 {
    scale * if matches!(base, Base::Sgd(_)) { SGD_SCALE } else { ADAPTIVE_SCALE }
}

/// Bounds of the base rate.
pub(crate) const LEAST_RATE: f64 = 1e-10;
pub(crate) const LARGEST_RATE: f64 = 1e3;

impl LearningRate {
    pub(super) fn validate(self) -> Result<()> {
        let CurvatureRate { initial, probe, interval, scale, displacement, .. } = match self {
            Self::Fixed(rate) => return not_negative("learning_rate", rate),
            Self::Curvature(settings) => settings,
        };
        if !(LEAST_RATE..=LARGEST_RATE).contains(&initial) {
            return invalid("learning_rate.initial", initial, "from 1e-10 to 1e3");
        }
        if interval == 0 {
            return invalid("learning_rate.interval", interval, "at least 1");
        }
        if probe == RateProbe::RepeatedMinibatch && interval == 1 {
            return invalid(
                "learning_rate.interval",
                interval,
                "at least 2 where a minibatch repeats",
            );
        }
        positive("learning_rate.scale", scale)?;
        if !(1e-6..=1.0).contains(&displacement) {
            return invalid("learning_rate.displacement", displacement, "from 1e-6 to 1");
        }
        Ok(())
    }

    /// Where the second gradient of a rate from curvature comes from, if it is one.
    pub(crate) fn probe(self) -> Option<RateProbe> {
        self.curvature().map(|settings| settings.probe)
    }

    /// The settings of a rate from curvature, if it is one.
    pub(crate) fn curvature(self) -> Option<CurvatureRate> {
        match self {
            Self::Curvature(settings) => Some(settings),
            Self::Fixed(_) => None,
        }
    }
}
