//! [`Config`] and its parts: every setting of the optimizer, and its validation.
//!
//! Settings are f64, so that complements such as 1 − β₂ are exact before they are rounded to the
//! f32 of the kernels.

use crate::error::{Error, Result};

/// Settings of an [`Optimizer`](crate::Optimizer).
///
/// ```
/// use dimer::{Base, Config, Dimer};
///
/// let config = Config {
///     base: Base::AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
///     learning_rate: 3e-3,
///     dimer: Some(Dimer { interval: 20, ..Dimer::default() }),
///     ..Config::default()
/// };
/// config.validate()?;
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The optimizer that makes the step; default [`Base::AdamW`] with PyTorch's defaults.
    pub base: Base,
    /// Learning rate until [`Optimizer::set_learning_rate`] says otherwise, per step, finite and
    /// ≥ 0; default 10⁻³.
    ///
    /// [`Optimizer::set_learning_rate`]: crate::Optimizer::set_learning_rate
    pub learning_rate: f64,
    /// Weight decay of the groups that set none, per step, finite and ≥ 0; default 10⁻².
    /// Decoupled in [`Base::AdamW`], added to the gradient in the others.
    pub weight_decay: f64,
    /// Scales the gradient so that ‖g₁‖ is at most this, in units of the gradient, > 0;
    /// default none. The factor is that of PyTorch's `clip_grad_norm_`, and g₁, g₂ enter the
    /// dimer unclipped.
    pub max_gradient_norm: Option<f64>,
    /// The dimer; with `None` the optimizer is its base alone. Default [`Dimer::default`].
    pub dimer: Option<Dimer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: Base::default(),
            learning_rate: 1e-3,
            weight_decay: 1e-2,
            max_gradient_norm: None,
            dimer: Some(Dimer::default()),
        }
    }
}

/// The optimizer that turns the corrected gradient into a step, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl Default for Base {
    fn default() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// How the dimer senses curvature and what it does to the step.
///
/// An *event* is a step in which the objective is called away from θ, too: once at θ + ΔR·N, or
/// as often as the [`Rotation`] says. Any other step costs 1 gradient.
///
/// The defaults are made for training on minibatches: one locally optimal rotation every 50 steps
/// (6 % more gradients), and the saddle-free step in every step while the loss curves down along
/// N. Where it does not, training is bit for bit that of the base optimizer. For a full batch take
/// [`Regime::Deterministic`]; for the method as published, [`Rotation::Gradient`],
/// [`Translation::Project`] and [`Correction::EventsOnly`].
#[derive(Clone, Debug, PartialEq)]
pub struct Dimer {
    /// How N turns in an event; default [`Rotation::LocallyOptimal`] for minibatches.
    pub rotation: Rotation,
    /// K: one event every K steps, the first step included; ≥ 1, default 50.
    pub interval: u32,
    /// ΔR, the distance of the probe from θ.
    pub displacement: Displacement,
    /// What happens along N; default [`Translation::SADDLE_FREE`].
    pub translation: Translation,
    /// Which steps are corrected; default [`Correction::EveryStep`].
    pub correction: Correction,
    /// Seed of the random first N; default 0.
    pub seed: u64,
}

impl Default for Dimer {
    fn default() -> Self {
        Self {
            rotation: Rotation::LocallyOptimal { regime: Regime::Stochastic },
            interval: 50,
            displacement: Displacement::default(),
            translation: Translation::SADDLE_FREE,
            correction: Correction::EveryStep,
            seed: 0,
        }
    }
}

/// How N turns towards the softest direction of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rotation {
    /// Steepest descent on the curvature: N ← normalize(N − η F) with the rotational force
    /// F = HN − C N (arXiv 2507.19968; there with forces, so with the other sign). One gradient
    /// an event. Simple and faithful to the paper, but it takes hundreds of events.
    Gradient {
        /// η.
        rate: Rate,
    },
    /// Rayleigh–Ritz in span{N, F, P}, with P the previous search direction: the locally optimal
    /// iteration of LOBPCG (Knyazev 2001). It needs no rate, and on a fixed Hessian about ten
    /// times fewer gradients than the best fixed rate. C and ‖F‖ in the telemetry are those of
    /// the new N. Keeps six more vectors on the GPU. Curvatures beyond 10⁻¹⁸ to 10¹⁸ are out of its
    /// reach: N stays, or the step is skipped and counted.
    LocallyOptimal {
        /// What the loss is like from event to event.
        regime: Regime,
    },
}

/// Most rotations of one event; far more than any Hessian needs.
const MAX_ROTATIONS: u32 = 10_000;

/// How [`Rotation::LocallyOptimal`] measures the products HN, HF and HP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// One rotation an event, with every product measured on the minibatch of the step: 4
    /// gradients an event (θ, N, F, P). Many rotations on one minibatch would find a direction
    /// that is soft on that minibatch only.
    Stochastic,
    /// For full batches and saddle searches: many rotations an event, with HN and HP carried from
    /// one to the next, at 2 + `rotations` gradients an event (θ, N, and F each time).
    Deterministic {
        /// Rotations an event, from 1 to 10 000.
        rotations: u32,
    },
}

impl Rotation {
    /// Gradients away from θ that one event asks for.
    pub(crate) fn probes(self) -> u32 {
        match self {
            Self::Gradient { .. } => 1,
            Self::LocallyOptimal { regime: Regime::Stochastic } => 3,
            Self::LocallyOptimal { regime: Regime::Deterministic { rotations } } => 1 + rotations,
        }
    }
}

/// η, the rate of [`Rotation::Gradient`], in units of 1/curvature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// This number, > 0. Above 2/(λmax + λmin − 2C) it runs to the stiffest mode instead.
    Fixed(f64),
    /// 1/(2κ), with κ the largest curvature seen of late: ‖HN‖, and the curvature along F less C,
    /// which follows from C of two events in a row. F holds stiff modes long before N does, so κ
    /// grows before a rate that is too large can turn N to them. Each event κ fades by 1 %.
    Automatic,
}

/// ΔR, in units of the parameters.
///
/// Too small a distance drowns in the rounding of the gradients, too large a one leaves the
/// region where the gradient is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Displacement {
    /// This distance, > 0.
    Absolute(f64),
    /// max(factor · ‖θ‖, minimum), measured on the GPU in each event, at one more pass over θ.
    Relative {
        /// Fraction of ‖θ‖, dimensionless, > 0.
        factor: f64,
        /// Least distance, > 0, for parameters that start at zero.
        minimum: f64,
    },
}

impl Default for Displacement {
    fn default() -> Self {
        Self::Relative { factor: 3e-5, minimum: 1e-6 }
    }
}

/// What happens along N before the base optimizer takes its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Translation {
    /// g ← g₁ − α (g₁·N) N, the projection of arXiv 2507.19968 for α = 1.
    ///
    /// At a strict saddle this removes the way out; it is here for fidelity to the paper.
    Project {
        /// α, finite: 0 leaves the base optimizer bit for bit, 1 projects, 2 reflects.
        alpha: f64,
        /// Correct only while the measured curvature C is negative.
        only_negative_curvature: bool,
    },
    /// The saddle-free step along N (after Dauphin et al. 2014, arXiv 1406.2572), only while the
    /// smoothed curvature is significantly negative; else bit for bit the base optimizer.
    ///
    /// It takes the part c N, c = g₁·N, out of the base optimizer's gradient and moves along N by
    /// −c/(|C| + damping) instead: downhill, and far where the loss is flat. The length is at most
    /// R = trust · learning rate · √n (n elements under the dimer) and, where c is tiny, as at the
    /// saddle itself, at least kick · R. C here is the smoothed curvature.
    SaddleFree {
        /// Dimensionless, > 0. At 1 the step along N is as long as one of Adam's as a whole.
        trust: f64,
        /// Added to |C|, in its unit, > 0.
        damping: f64,
        /// Share of R that a step along N has at least, in [0, 1].
        kick: f64,
        /// Standard errors that the smoothed curvature must lie below zero, ≥ 0.
        significance: f64,
    },
}

impl Translation {
    /// The saddle-free step with its usual settings: trust 0.1, damping 10⁻², kick 0.1, two standard
    /// errors.
    pub const SADDLE_FREE: Self =
        Self::SaddleFree { trust: 0.1, damping: 1e-2, kick: 0.1, significance: 2.0 };
}

/// Which steps the translation corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Steps with an event; the others are those of the base optimizer, at its traffic.
    EventsOnly,
    /// Every step, along the last N.
    EveryStep,
}

impl Config {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], which names the field, its value and the range.
    pub fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)?;
        if let Some(norm) = self.max_gradient_norm {
            positive("max_gradient_norm", norm)?;
        }
        match self.base {
            Base::Sgd { momentum, nesterov } => {
                fraction("base.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return invalid("base.momentum", momentum, "above 0 with nesterov");
                }
            }
            Base::Adam { beta1, beta2, epsilon } | Base::AdamW { beta1, beta2, epsilon } => {
                fraction("base.beta1", beta1)?;
                fraction("base.beta2", beta2)?;
                positive("base.epsilon", epsilon)?;
            }
        }
        self.dimer.as_ref().map_or(Ok(()), Dimer::validate)
    }

    /// The regime of the locally optimal rotation, where that is configured.
    pub(crate) fn regime(&self) -> Option<Regime> {
        match self.dimer.as_ref()?.rotation {
            Rotation::LocallyOptimal { regime } => Some(regime),
            Rotation::Gradient { .. } => None,
        }
    }
}

impl Dimer {
    fn validate(&self) -> Result<()> {
        match self.rotation {
            Rotation::Gradient { rate: Rate::Fixed(rate) } => {
                positive("dimer.rotation.rate", rate)?;
            }
            Rotation::LocallyOptimal { regime: Regime::Deterministic { rotations } }
                if !(1..=MAX_ROTATIONS).contains(&rotations) =>
            {
                return invalid("dimer.rotation.regime.rotations", rotations, "from 1 to 10000");
            }
            Rotation::Gradient { rate: Rate::Automatic } | Rotation::LocallyOptimal { .. } => {}
        }
        if self.interval == 0 {
            return invalid("dimer.interval", self.interval, "at least 1");
        }
        match self.displacement {
            Displacement::Absolute(distance) => positive("dimer.displacement", distance)?,
            Displacement::Relative { factor, minimum } => {
                positive("dimer.displacement.factor", factor)?;
                positive("dimer.displacement.minimum", minimum)?;
            }
        }
        match self.translation {
            Translation::Project { alpha, .. } if !(alpha as f32).is_finite() => {
                invalid("dimer.translation.alpha", alpha, "finite in f32")
            }
            Translation::Project { .. } => Ok(()),
            Translation::SaddleFree { trust, damping, kick, significance } => {
                positive("dimer.translation.trust", trust)?;
                positive("dimer.translation.damping", damping)?;
                not_negative("dimer.translation.significance", significance)?;
                if !(0.0..=1.0).contains(&kick) {
                    return invalid("dimer.translation.kick", kick, "in [0, 1]");
                }
                Ok(())
            }
        }
    }
}

/// The learning rate after `step` steps of a linear warm-up and a cosine decay.
///
/// It rises from `peak / warm_up` to `peak` over the first `warm_up` steps, then falls along half
/// a cosine to `floor` at step `total`, and stays there.
///
/// ```
/// let rate = |step| dimer::cosine_with_warm_up(step, 10, 110, 1e-3, 1e-4);
/// assert_eq!(rate(9), 1e-3);
/// assert!((rate(60) - 5.5e-4).abs() < 1e-9);
/// assert_eq!(rate(500), 1e-4);
/// ```
pub fn cosine_with_warm_up(step: u64, warm_up: u64, total: u64, peak: f64, floor: f64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    if step >= total {
        return floor;
    }
    let progress = (step - warm_up) as f64 / (total - warm_up) as f64;
    let cosine = (std::f64::consts::PI * progress).cos();
    floor + 0.5 * (1.0 + cosine) * (peak - floor)
}

/// Checks a number that the user sets later, in the words of [`Config::validate`].
///
/// Like every check, it looks at the f32 that the kernels get: 10³⁰⁰ is infinite there.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<()> {
    let rounded = value as f32;
    if rounded.is_finite() && value >= 0.0 {
        return Ok(());
    }
    invalid(field, value, "not negative and finite in f32")
}

fn positive(field: &'static str, value: f64) -> Result<()> {
    let rounded = value as f32;
    if rounded.is_finite() && rounded >= f32::MIN_POSITIVE {
        return Ok(());
    }
    invalid(field, value, "above 0, and normal and finite in f32")
}

fn fraction(field: &'static str, value: f64) -> Result<()> {
    if value >= 0.0 && (value as f32) < 1.0 {
        return Ok(());
    }
    invalid(field, value, "in [0, 1), in f32")
}

fn invalid(field: &'static str, value: impl ToString, expected: &'static str) -> Result<()> {
    Err(Error::InvalidConfig { field, value: value.to_string(), expected })
}
