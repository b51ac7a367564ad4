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
    /// **What is measured.** The dimer lies along the update u of the base optimizer, without decoupled weight decay and
    /// without a correction along N. Two gradients of one minibatch give the slope g·u and the curvature u·Hu.
    ///
    /// **The estimate.** On a parabola the rate −g·u / |u·Hu| leads to the lowest point. The estimate is that rate times
    /// `scale`, and times ½ with SGD or 1.4 with any other base; it stays from 10⁻¹⁰ to 10³. An update of Adam or AdamW is
    /// short where gradients are small beside those that its second moments remember, and long again when they grow. So one
    /// that is shorter than a fiftieth of the longest that was measured counts as that long: the estimate is multiplied by
    /// s = min(1, 50 ‖u‖ / max ‖u‖).
    ///
    /// **The signal.** Part of the slope is noise that the minibatch has lent to u. The signal, from 0 to 1, is the part that
    /// the next minibatch sees as well: (g·w − r w·Hw) / g₀·w. Here w is the update of the step before, made again from the
    /// moments that it left; r is the rate of that step, and g₀·w and w·Hw are the slope and the curvature that it measured.
    /// The term r w·Hw is by how much the slope has changed along the step. The signal is averaged over those measurements
    /// of the burn-in that lead downhill and follow right after another. It is at least 0.1, and 1 if there are none, as for
    /// SGD without momentum. With repeated minibatches, w is the second update of a pair, and slope and curvature are those
    /// of the first. With Lion and Nesterov's momentum, w takes the last gradient for the mean of all.
    ///
    /// **The base rate** q goes to signal² times the geometric mean of the estimates. In the burn-in all estimates count
    /// alike, and q stays below signal² times the last one. Afterwards those of the burn-in count as two in all, and each
    /// later one as one. One measurement moves q no further than [`RateProbe`] says, but where the slope grows, and q stays
    /// from 10⁻¹⁰ to 10³.
    ///
    /// **Where the slope grows**, with Adam and AdamW. Near a saddle there is hardly a slope, and what curves along u is not
    /// the way out. So the rate grows if the way down is at least as steep as in every measurement before, −g·u / ‖u‖, or if
    /// u·Hu < 0 and g·u is no higher than in the last measurement, if that led downhill. The curvature must be more than
    /// rounding, and the signal known and at least 0.9. Then a q below 10 s times the rate at which u leads as far as a probe goes there.
    /// It grows fourfold at most, and the mean begins anew with the larger of q / signal² and the estimate. This counts as one
    /// estimate, or as two where there were more.
    ///
    /// **Where there is no estimate.** The update may lead uphill. In the burn-in q then does not grow; where there is no mean
    /// yet, it is divided by the most that it may grow. Or the gradients g and g′ at the two ends may differ by no more than
    /// the rounding of f32: |(g′ − g)·e| ≤ 2⁻²⁰ ‖g‖ ‖e‖, for the displacement e between them. In the burn-in, and where there is
    /// no mean yet, a q that is smaller then goes to the rate at which u leads as far as a probe. So without curvature the
    /// rate does not grow beyond that.
    ///
    /// **The rate of a step** is q times the factor of the schedule, which should begin with a warm-up. Where weight decay is
    /// decoupled, neither this rate nor a q that was measured goes beyond 1 / (learning_rate_scale · weight decay) of any
    /// group, since u·Hu does not see the decay.
    ///
    /// A gradient at the probe that is not finite costs the measurement, and not the step. A step that is skipped, or that
    /// fails and is taken again, leaves no measurement.
    ///
    /// **What it is for.** It was made for Adam and AdamW. On small networks and on a small character GPT it does about as
    /// well as the best of a grid of rates. In short runs of a larger GPT it loses 0.15 to that, since it is too small. On small
    /// minibatches with wrong labels it is up to twice too large. On full batches take a separate gradient: with it, Adam takes
    /// at most twice the gradients of a rate of 10⁻² on six or seven of eight problems with saddles and up to 2.4 times on the others,
    /// but loses a few runs, and takes several times as many as at the best rate. There, and with SGD in general, a tuned rate is
    /// better. `docs/experiments.md` has the tables.
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
    /// How many first steps measure as often as they can; default 20. Rotations do not count.
    ///
    /// Steps that are skipped or have no update are made up for. Where the burn-in should end, the host waits for the GPU, to
    /// know how many measurements there were. It then goes on for as many as are missing, up to ten times as long. Steps that
    /// are recorded but not submitted put that off until a measurement is due. A measurement that is lost at its probe is
    /// not made up for, since the next would be lost as well. The rule of the burn-in holds until it has its measurements,
    /// however far apart they are.
    pub burn_in: u32,
    /// The rate as a multiple of what this rule makes of it, > 0; default 1. At 1 none of 132 runs on a small classifier stepped
    /// so far that it stayed where it landed; the worst ended at a loss of 0.015, and at 0.7 at 0.0008. But a small GPT lost
    /// 0.03 to 0.09 at 0.7 after 600 gradients. At 2 many runs step too far.
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
    /// most twofold, or fourfold where the slope grows, or shrinks at most tenfold per measurement. Costs 2 % more
    /// gradients at the default interval, and 20 for the burn-in. Memory: the probe and its gradient, 8 bytes per
    /// parameter, which a dimer has anyway.
    #[default]
    SeparateGradient,
    /// No gradient more: the step after a measured one uses its minibatch again, so that the two ends of
    /// the dimer are two iterates; then the base rate grows at most threefold, or fourfold where the slope grows, or shrinks
    /// at most tenfold per measurement. Not with [`Difference::Central`](crate::Difference::Central). The
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

/// Of the longest update that was measured: a shorter one counts as that long. 0 where an update is short for no other
/// reason than that the gradient is.
pub(crate) fn shortest_update(base: Base) -> f64 {
    if matches!(base, Base::Adam(_) | Base::AdamW(_)) { 0.02 } else { 0.0 }
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
