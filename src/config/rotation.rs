//! [`Mode`]: which direction events seek. [`Rotation`]: how N turns to it, and when it stops.

use super::{fraction, invalid, not_negative, positive};
use crate::error::Result;

/// Which direction of the loss N turns to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Mode {
    /// That of the lowest eigenvalue of the Hessian: the way out of a saddle.
    #[default]
    Softest,
    /// That of the highest eigenvalue, the *sharpness*, which decides how large a step is stable. Minibatches find it
    /// far better than the softest one. For this mode the rules of rotations and schedules count with −H: N turns along
    /// F and not against it, an automatic rate guards against the softest direction, an event by
    /// [`Rotation::LocallyOptimal`] takes the gradient for P until C is positive, and
    /// [`Schedule::OnPlateau`](crate::Schedule::OnPlateau) waits longer only after events whose C is not.
    /// Needs [`Translation::None`](crate::Translation::None), or [`Translation::Project`](crate::Translation::Project)
    /// without `only_negative_curvature`.
    Stiffest,
}

/// How N turns towards the softest direction of the loss, or the stiffest; see [`Mode`].
///
/// | rotation | gradients per event, θ included | choose it |
/// | --- | ---: | --- |
/// | [`Gradient`](Self::Gradient) | 2 | to do as the paper does |
/// | [`OptimalAngle`](Self::OptimalAngle) | 3, or 2 + rotations | where memory for P is scarce |
/// | [`Alternating`](Self::Alternating) | 1 | where every gradient is of one function: full batches |
/// | [`LocallyOptimal`](Self::LocallyOptimal) | 4, or 2 + rotations | otherwise |
///
/// These are the gradients of forward differences; see [`Difference`](crate::Difference).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Rotation {
    /// Steepest descent on the curvature: N ← normalize(N − η F) with the rotational force F = HN − C N
    /// (arXiv 2507.19968; there with forces, so with the other sign). One gradient per event. Simple and
    /// faithful to the paper, but it takes hundreds of events.
    #[non_exhaustive]
    Gradient {
        /// η.
        rate: RotationRate,
    },
    /// The best angle in the plane of N and F, from a second product, HF: Rayleigh–Ritz in
    /// span{N, F} (after Heyden, Bell, Keil 2005, J. Chem. Phys. 123, 224101, who find the angle
    /// by a fit). It needs no rate; on a fixed Hessian it takes about half the gradients of the best
    /// fixed rate.
    OptimalAngle {
        /// What the loss is like from event to event.
        regime: Regime,
    },
    /// Rayleigh–Ritz in span{N, F, P}, with P the previous search direction: the locally optimal iteration of
    /// LOBPCG (Knyazev 2001, SIAM J. Sci. Comput. 23, 517). It needs no rate, and on a fixed Hessian about
    /// ten times fewer gradients than the best fixed rate. In the stochastic regime the direction of the
    /// gradient stands in for P until C is negative: on a plateau the steps so far have turned it towards
    /// soft directions. C and ‖F‖ in the telemetry are those of the new N. Keeps six more vectors on the GPU.
    ///
    /// On a full batch P is the last N made orthogonal to the new one, which spans the same (Stathopoulos, Saad 1998,
    /// Electron. Trans. Numer. Anal. 7, 163).
    ///
    /// Curvatures outside 10⁻¹⁸ to 10¹⁸ are out of its reach: N stays, or the step is skipped and counted.
    LocallyOptimal {
        /// What the loss is like from event to event.
        regime: Regime,
    },
    /// For a loss whose gradients are all of one function, at one gradient a step: at θ + ΔR·N and at θ − ΔR·N in turn, and
    /// none at θ. [`Dimer::alternating`](crate::Dimer::alternating) has the settings that go with it.
    ///
    /// **The product.** The gradient at a probe is predicted as ĝ ± ΔR·HN, from what is known of the gradient at θ and of
    /// HN. The error e that it shows is shared in halves between the two terms: ĝ ← ĝ + e/2, HN ← HN ± e/2ΔR (Kaczmarz
    /// 1937, Bull. Acad. Pol. Sci. A 35, 355, in ĝ and ΔR·HN). Where θ rests, a pair of sides gives both to order ΔR². Where
    /// the gradient changes by δ from step to step, HN is off by up to ‖δ‖/2ΔR, half of what e shows. The base optimizer
    /// takes the gradient as it was measured.
    ///
    /// **The rotation.** In every second step N turns with momentum: b ← momentum · b − η (HN − C N), across N, and
    /// N ← normalize(N + b). η is `rate` over the largest ‖HN‖ seen recently, which fades by 1 % per turn.
    ///
    /// **The translation.** C counts as negative where C + [`significance`](crate::SaddleFree::significance) ‖e‖/2ΔR is,
    /// in this turn and the one before; a significance below ½ takes drift for curvature. Then θ moves along N by
    /// −(g·N)/(|C| + damping), with g at θ, by at most R = trust · learning rate · √n and at least kick · R. A step as long
    /// as R comes on top of that of the base optimizer, a shorter one in place of its part along N.
    ///
    /// The loss and the gradient norm in the telemetry are those at θ: the loss from that at the probe and its slope, to
    /// order ΔR³ and to ΔR²/2 times the error of C; the norm is that of ĝ. Keeps three more vectors on the GPU, and no
    /// gradient beside that of the step.
    ///
    /// Needs an objective that says that it [is deterministic](crate::Objective::is_deterministic),
    /// [`Schedule::Every`](crate::Schedule::Every) 1 step, [`Translation::SaddleFree`](crate::Translation::SaddleFree),
    /// [`Correction::EveryStep`](crate::Correction::EveryStep), [`LearningRate::Fixed`](crate::LearningRate::Fixed),
    /// [`Storage::F32`](crate::Storage::F32), [`Difference::Forward`](crate::Difference::Forward), one dimer in the
    /// Euclidean metric, and a displacement that is not [`Automatic`](crate::Displacement::Automatic).
    Alternating(Alternating),
}

/// Settings of [`Rotation::Alternating`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alternating {
    /// η as a multiple of 1 / the largest curvature seen recently, in (0, 1]; default 0.3.
    pub rate: f64,
    /// How much of the last turn goes into the next, in [0, 1); default 0.8.
    pub momentum: f64,
}

impl Alternating {
    const DEFAULT: Self = Self { rate: 0.3, momentum: 0.8 };
}

impl Default for Alternating {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// η, the rate of [`Rotation::Gradient`], in units of 1/curvature.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum RotationRate {
    /// This number, > 0. Above 2/(λmax + λmin − 2C) N runs to the stiffest mode instead.
    Fixed(f64),
    /// 1/(2κ), with κ the largest curvature seen recently: ‖HN‖, and the curvature along F minus C, which
    /// follows from the C of two events in a row. F holds stiff modes long before N does, so κ grows before a
    /// rate that is too large can turn N to them. κ fades by 1 % per event.
    Automatic,
}

/// How a rotation by Rayleigh–Ritz measures the products HN, HF and HP.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Regime {
    /// One rotation per event, with every product measured on the minibatch of the step. Many rotations on
    /// one minibatch would find a direction that is soft on that minibatch only.
    Stochastic,
    /// For full batches and saddle searches: many rotations per event, with HN and HP carried from one to the
    /// next, so that each costs one gradient. They are combined by orthonormal coefficients, so that their errors do not
    /// grow. Where F has become mostly the error of HN, a rotation measures HN again in its place.
    #[serde(alias = "Deterministic")]
    FullBatch(FullBatch),
}

/// Settings of [`Regime::FullBatch`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FullBatch {
    /// Rotations per event, from 1 to 10 000; with `stop`, at most this many. Default 10.
    pub max_rotations: u32,
    /// When an event has turned N enough; default never.
    pub stop: Option<RotationStop>,
}

impl Default for FullBatch {
    fn default() -> Self {
        Self { max_rotations: 10, stop: None }
    }
}

impl RotationStop {
    /// With these bounds, and [`EarlyExit::Rotations`].
    pub const fn new(residual: f64, angle: f64) -> Self {
        Self { residual, angle, early_exit: EarlyExit::Rotations }
    }

    /// The same bounds with another [`EarlyExit`].
    #[must_use]
    pub const fn with_early_exit(self, early_exit: EarlyExit) -> Self {
        Self { early_exit, ..self }
    }
}

impl Regime {
    /// [`Regime::FullBatch`] with this many rotations per event.
    pub const fn rotations(max_rotations: u32) -> Self {
        Self::FullBatch(FullBatch { max_rotations, stop: None })
    }
}

/// When an event has turned N enough. Either condition stops it; the GPU decides.
///
/// ```
/// use dimer::{EarlyExit, RotationStop};
///
/// let stop = RotationStop::new(1e-2, 1e-3).with_early_exit(EarlyExit::Gradients);
/// assert_eq!(stop.residual, 1e-2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct RotationStop {
    /// ‖F‖ ≤ `residual` · |C|, dimensionless, ≥ 0. Below the error of HN it tells
    /// nothing: with a difference of gradients that is about 10⁻⁷ (1 + ‖θ‖/ΔR) of the largest curvature.
    pub residual: f64,
    /// N turned by at most this in the last rotation, radians, ≥ 0.
    pub angle: f64,
    /// What a stopped event leaves out.
    #[serde(alias = "saves")]
    pub early_exit: EarlyExit,
}

/// What an event that has turned N enough leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum EarlyExit {
    /// The rest of the rotations, which are the work of this crate; the default. All gradients are recorded before the
    /// GPU decides, in one submission and without a wait; the rotations after the stop do nothing.
    #[default]
    Rotations,
    /// Their gradients too. After each rotation the step submits what is recorded, including what the user has
    /// in the encoder of [`Optimizer::record_step`](crate::Optimizer::record_step), and waits for a readback
    /// of 4 bytes.
    Gradients,
}

/// Most rotations of one event; far more than any Hessian needs.
const MAX_ROTATIONS: u32 = 10_000;

/// What the rotations by Rayleigh–Ritz differ in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RayleighRitz {
    pub regime: Regime,
    /// Whether the basis holds P.
    pub direction: bool,
}

impl Mode {
    /// The other end of the spectrum.
    pub const fn other(self) -> Self {
        match self {
            Self::Softest => Self::Stiffest,
            Self::Stiffest => Self::Softest,
        }
    }

    /// 1, or −1 where the sought direction is the softest one of −H.
    pub(crate) const fn sign(self) -> f64 {
        match self {
            Self::Softest => 1.0,
            Self::Stiffest => -1.0,
        }
    }
}

impl RayleighRitz {
    /// Vectors that it keeps: N, F and P, with their products.
    pub(crate) fn vectors(self) -> usize {
        if self.direction { 6 } else { 4 }
    }

    /// Whether an event measures along P, in addition to N and F, in its one rotation.
    pub(crate) fn keeps_direction(self) -> bool {
        self.direction && self.regime == Regime::Stochastic
    }

    pub(crate) fn stop(self) -> Option<RotationStop> {
        match self.regime {
            Regime::FullBatch(FullBatch { stop, .. }) => stop,
            Regime::Stochastic => None,
        }
    }
}

impl Rotation {
    /// [`Rotation::Gradient`] at this rate.
    pub const fn gradient(rate: RotationRate) -> Self {
        Self::Gradient { rate }
    }

    /// [`Rotation::OptimalAngle`] in this regime.
    pub const fn optimal_angle(regime: Regime) -> Self {
        Self::OptimalAngle { regime }
    }

    /// [`Rotation::Alternating`] at its default rate and momentum.
    pub const fn alternating() -> Self {
        Self::Alternating(Alternating::DEFAULT)
    }

    /// The settings of [`Rotation::Alternating`], if it is that one.
    pub(crate) fn as_alternating(self) -> Option<Alternating> {
        match self {
            Self::Alternating(settings) => Some(settings),
            _ => None,
        }
    }

    /// [`Rotation::LocallyOptimal`] in this regime.
    pub const fn locally_optimal(regime: Regime) -> Self {
        Self::LocallyOptimal { regime }
    }

    pub(crate) fn rayleigh_ritz(self) -> Option<RayleighRitz> {
        match self {
            Self::Gradient { .. } | Self::Alternating(_) => None,
            Self::OptimalAngle { regime } => Some(RayleighRitz { regime, direction: false }),
            Self::LocallyOptimal { regime } => Some(RayleighRitz { regime, direction: true }),
        }
    }

    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Gradient { rate: RotationRate::Fixed(rate) } => {
                positive("dimer.rotation.rate", rate)
            }
            Self::Gradient { rate: RotationRate::Automatic } => Ok(()),
            Self::OptimalAngle { regime } | Self::LocallyOptimal { regime } => regime.validate(),
            Self::Alternating(Alternating { rate, momentum }) => {
                if !(rate > 0.0 && rate <= 1.0 && (rate as f32) > 0.0) {
                    return invalid("dimer.rotation.rate", rate, "in (0, 1]");
                }
                fraction("dimer.rotation.momentum", momentum)
            }
        }
    }
}

impl Regime {
    fn validate(self) -> Result<()> {
        let Self::FullBatch(FullBatch { max_rotations, stop }) = self else {
            return Ok(());
        };
        if !(1..=MAX_ROTATIONS).contains(&max_rotations) {
            let field = "dimer.rotation.regime.max_rotations";
            return invalid(field, max_rotations, "from 1 to 10000");
        }
        if let Some(RotationStop { residual, angle, .. }) = stop {
            not_negative("dimer.rotation.regime.stop.residual", residual)?;
            not_negative("dimer.rotation.regime.stop.angle", angle)?;
        }
        Ok(())
    }
}
