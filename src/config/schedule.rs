//! [`Schedule`]: which steps are events; learning rates over time.

use super::invalid;
use crate::error::Result;

/// Which steps are events. Before the first one, steps are those of the base optimizer.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Schedule {
    /// One event every K steps, K ≥ 1: steps K, 2K, … counted from 1. So a run of fewer steps costs nothing
    /// extra, and by step K the base optimizer's steps have turned the gradient towards soft directions,
    /// which the first event makes use of.
    Every(u32),
    /// Often on a plateau, rarely on a slope: probes cost gradients.
    ///
    /// Every `shortest` steps the optimizer looks at the telemetry of the `shortest` steps before the
    /// previous look, which has arrived by then. They are a plateau if the mean loss fell by at most `share`
    /// of its running scale, or the gradient norm is at most `share` of its own scale (the largest seen
    /// recently, which fades by 1 % per look). On a plateau the next event comes after a wait that starts at
    /// `shortest`, doubles with each event that finds no significantly negative curvature, up to `longest`,
    /// and halves with each look at a slope; on a slope it comes after `longest` steps.
    ///
    /// A loss or a norm that is not finite does not count. What it decides depends on the steps alone, not on
    /// when a readback arrives; so all steps before a look must have been submitted, and
    /// [`Optimizer::record_step`](crate::Optimizer::record_step) says so where they have not.
    OnPlateau(OnPlateau),
}

/// Settings of [`Schedule::OnPlateau`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnPlateau {
    /// Fewest steps between events, from 1 to 512; default 10.
    pub shortest: u32,
    /// Most steps between events, at least `shortest`; default 200.
    pub longest: u32,
    /// Share of the running scale that counts as flat, in (0, 1); default 0.1.
    pub share: f64,
}

impl Default for OnPlateau {
    fn default() -> Self {
        Self { shortest: 10, longest: 200, share: 0.1 }
    }
}

impl Schedule {
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Every(0) => invalid("dimer.schedule", "Every(0)", "at least Every(1)"),
            Self::Every(_) => Ok(()),
            Self::OnPlateau(OnPlateau { shortest, longest, share }) => {
                if !(1..=MAX_WINDOW).contains(&shortest) {
                    return invalid("dimer.schedule.shortest", shortest, "from 1 to 512");
                }
                if longest < shortest {
                    return invalid("dimer.schedule.longest", longest, "at least shortest");
                }
                if !(share > 0.0 && share < 1.0) {
                    return invalid("dimer.schedule.share", share, "in (0, 1)");
                }
                Ok(())
            }
        }
    }
}

/// Most steps of one look: half of the ring in which the GPU keeps their records.
const MAX_WINDOW: u32 = 512;

/// The factor on the learning rate after `step` steps of a linear warm-up and a cosine decay; see
/// [`Optimizer::set_rate_factor`](crate::Optimizer::set_rate_factor).
///
/// It rises from `1 / warm_up` to 1 over the first `warm_up` steps, then falls along half a cosine to `floor` at
/// step `total`, and stays there.
///
/// ```
/// let factor = |step| dimer::cosine_with_warm_up(step, 10, 110, 0.1);
/// assert_eq!(factor(4), 0.5);
/// assert_eq!(factor(9), 1.0);
/// assert!((factor(60) - 0.55).abs() < 1e-9);
/// assert_eq!(factor(500), 0.1);
/// ```
pub fn cosine_with_warm_up(step: u64, warm_up: u64, total: u64, floor: f64) -> f64 {
    if step < warm_up {
        return (step + 1) as f64 / warm_up as f64;
    }
    if step >= total {
        return floor;
    }
    let progress = (step - warm_up) as f64 / (total - warm_up) as f64;
    let cosine = (std::f64::consts::PI * progress).cos();
    floor + 0.5 * (1.0 + cosine) * (1.0 - floor)
}
