//! [`Config`] and its parts: every setting of the optimizer, and its validation.
//!
//! Settings are f64, so that complements such as 1 − β₂ are exact before they are rounded to the
//! f32 of the kernels.

mod base;
mod learning_rate;
mod metric;
mod probe;
mod rotation;
mod schedule;
mod scope;
mod spectrum;
mod storage;
mod translation;

use crate::error::{Error, Result};

pub use base::{Adam, Base, Lion, Sgd, Sophia};
pub use learning_rate::{CurvatureRate, LearningRate, RateProbe};
pub(crate) use learning_rate::{LARGEST_RATE, LEAST_RATE, rate_scale, shortest_update};
pub use metric::Metric;
pub use probe::{Difference, Displacement, RelativeDisplacement};
pub(crate) use rotation::RayleighRitz;
pub use rotation::{
    Alternating, EarlyExit, FullBatch, Mode, Regime, Rotation, RotationRate, RotationStop,
};
pub use schedule::{OnPlateau, Schedule, cosine_with_warm_up};
pub use scope::Scope;
pub use spectrum::SpectrumConfig;
pub(crate) use spectrum::{MAX_STEPS, validate_sampling};
pub use storage::Storage;
pub use translation::{Correction, Projection, SaddleFree, Translation};

/// Settings of an [`Optimizer`](crate::Optimizer).
///
/// ```
/// use dimer::{Adam, Base, Config, Dimer, LearningRate, Schedule};
///
/// let config = Config {
///     base: Base::AdamW(Adam { beta2: 0.99, ..Adam::default() }),
///     learning_rate: LearningRate::Fixed(3e-3),
///     dimer: Some(Dimer { schedule: Schedule::Every(20), ..Dimer::default() }),
///     ..Config::default()
/// };
/// config.validate()?;
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The optimizer that makes the step; default [`Base::AdamW`] with PyTorch's defaults.
    pub base: Base,
    /// Where the learning rate comes from; default the curvature along the step, as in [`CurvatureRate::default`], for
    /// 2 % more gradients and 20 for the burn-in. With [`LearningRate::Fixed`] no gradient is added.
    pub learning_rate: LearningRate,
    /// Weight decay of the groups that set none, per step, finite and ≥ 0; default 10⁻².
    /// Added to the gradient in [`Base::Sgd`] and [`Base::Adam`], decoupled in the others.
    pub weight_decay: f64,
    /// Scales the gradient so that ‖g₁‖ is at most this, in units of the gradient, > 0; default `None`. The
    /// factor is that of PyTorch's `clip_grad_norm_`, and g₁, g₂ enter the dimer unclipped. With
    /// [`Rotation::Alternating`] it is the gradient at the probe that is bounded.
    pub max_gradient_norm: Option<f64>,
    /// Whether a step with a NaN or an infinity in its gradient at θ, or at a probe that corrects it, changes nothing and
    /// is counted; default true.
    ///
    /// To know this before the first write, the gradient is read twice. With `false`, a step of the base
    /// optimizer alone reads it once: for AdamW 28 bytes per parameter instead of 32. Such a step has no
    /// [`Telemetry::gradient_norm`](crate::Telemetry::gradient_norm), and a NaN reaches the parameters. Steps
    /// that need sums over the gradient anyway (clipped, corrected along N, events, or with
    /// [`Schedule::OnPlateau`]) are guarded always.
    pub skip_non_finite: bool,
    /// How many steps in a row may be skipped before a step returns [`Error::TooManySkips`], at least 1;
    /// default 100, `None` for no limit. The count is read every 32 steps, or as often as this number says if it is
    /// smaller, without a wait, so the error comes some steps late. The next call goes on.
    pub max_consecutive_skips: Option<u32>,
    /// In which format N, the moments and the vectors of a rotation are kept; default
    /// [`Storage::F32`].
    pub storage: Storage,
    /// The dimer along N; with `None`, the default, the optimizer is its base alone.
    pub dimer: Option<Dimer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: Base::default(),
            learning_rate: LearningRate::Curvature(CurvatureRate::default()),
            weight_decay: 1e-2,
            max_gradient_norm: None,
            skip_non_finite: true,
            max_consecutive_skips: Some(100),
            storage: Storage::F32,
            dimer: None,
        }
    }
}

/// How the dimer senses curvature and what it does to the step.
///
/// An *event* is a step in which N turns. The objective is then also called away from θ: once at θ + ΔR·N, or as often as
/// the [`Rotation`] says. Any other step costs 1 gradient, or 2 where it measures the learning rate by
/// [`RateProbe::SeparateGradient`]. With [`Rotation::Alternating`] every step has its one gradient away from θ, and every
/// second one is an event.
///
/// The defaults are made for training on minibatches: one locally optimal rotation every 50 steps
/// (6 % more gradients), and the saddle-free step in every step while the loss curves down along
/// N. Where it does not, training is bit for bit that of the base optimizer, unless the objective has
/// [`parts`](crate::Objective::parts), of which an event takes one. The defaults were the best overall of those tried on eight
/// problems with saddles (`examples/escape`). On a full batch, [`Dimer::alternating`] leaves saddles with one gradient a step,
/// and [`Regime::FullBatch`] finds the lowest eigenvalue in the fewest; [`Dimer::published`] is the method as published,
/// [`Dimer::watching`] only measures, and [`Config::climb`] walks to saddles.
///
/// ```
/// use dimer::{Config, Dimer, Gpu, HostObjective, Layout, LearningRate, Optimizer};
///
/// // L(θ) = θ₀² − θ₁² + θ₁⁴/2: a saddle at the origin.
/// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
///     let (x, y) = (theta[0], theta[1]);
///     gradient.copy_from_slice(&[2.0 * x, 2.0 * y * (y * y - 1.0)]);
///     x * x - y * y + y.powi(4) / 2.0
/// });
/// let learning_rate = LearningRate::Fixed(0.02);
/// let config = Config { learning_rate, dimer: Some(Dimer::default()), ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, config, &[0.5, 1e-3])?;
/// for _ in 0..200 {
///     optimizer.step(&mut objective)?;
/// }
/// for record in optimizer.telemetry()?.iter().filter(|record| record.event) {
///     println!("step {}: curvature {}", record.step, record.curvature);
/// }
/// # assert!(optimizer.read_params()?[0].abs() < 0.05);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dimer {
    /// Which direction N turns to; default [`Mode::Softest`].
    pub seeks: Mode,
    /// How N turns in an event; default [`Rotation::LocallyOptimal`] for minibatches.
    pub rotation: Rotation,
    /// Which steps are events; default one in 50.
    pub schedule: Schedule,
    /// How the Hessian along a direction is measured; default [`Difference::Forward`].
    pub difference: Difference,
    /// ΔR, the distance of the probe from θ; default [`Displacement::Relative`], 3·10⁻⁵ ‖θ‖.
    pub displacement: Displacement,
    /// Which parameters share one N; default [`Scope::Global`].
    pub scope: Scope,
    /// In which metric curvature is measured; default [`Metric::Euclidean`].
    pub metric: Metric,
    /// What happens along N; default [`Translation::SaddleFree`].
    pub translation: Translation,
    /// Which steps are corrected; default [`Correction::EveryStep`].
    pub correction: Correction,
    /// Seed of the random first N; default 0.
    pub seed: u64,
}

impl Default for Dimer {
    fn default() -> Self {
        Self {
            seeks: Mode::Softest,
            rotation: Rotation::locally_optimal(Regime::Stochastic),
            schedule: Schedule::Every(50),
            difference: Difference::Forward,
            displacement: Displacement::default(),
            scope: Scope::Global,
            metric: Metric::Euclidean,
            translation: Translation::SaddleFree(SaddleFree::default()),
            correction: Correction::EveryStep,
            seed: 0,
        }
    }
}

impl Config {
    /// A walk *to* a saddle of index 1, uphill along N and downhill elsewhere ([`Translation::Climb`]), by plain gradient
    /// steps at this learning rate: below 2/λmax, with λmax the stiffest curvature on the way.
    ///
    /// Every step is an event of two locally optimal rotations at an automatic displacement: 5 gradients. On steep slopes
    /// set [`Config::max_gradient_norm`]; with a soft way up, momentum helps. An exact minimum has no slope to climb:
    /// [`Telemetry::gradient_norm`](crate::Telemetry::gradient_norm) is 0 there, and no step moves anything. Start beside
    /// it.
    ///
    /// ```
    /// use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    ///
    /// // L = (x² − 1)² + 2 y²: minima at x = ±1, and between them a saddle at the origin.
    /// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
    ///     let (x, y) = (theta[0], theta[1]);
    ///     gradient.copy_from_slice(&[4.0 * x * (x * x - 1.0), 4.0 * y]);
    ///     (x * x - 1.0).powi(2) + 2.0 * y * y
    /// });
    /// let start = [0.7, 0.3];
    /// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, Config::climb(0.05), &start)?;
    /// for _ in 0..200 {
    ///     optimizer.step(&mut objective)?;
    /// }
    /// assert!(optimizer.read_params()?.iter().all(|x| x.abs() < 1e-3));
    /// assert!(optimizer.read_curvature()? < -3.9);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    pub fn climb(learning_rate: f64) -> Self {
        Self {
            base: Base::Sgd(Sgd { momentum: 0.0, nesterov: false }),
            learning_rate: LearningRate::Fixed(learning_rate),
            weight_decay: 0.0,
            dimer: Some(Dimer {
                rotation: Rotation::locally_optimal(Regime::rotations(2)),
                schedule: Schedule::Every(1),
                displacement: Displacement::Automatic,
                translation: Translation::Climb,
                correction: Correction::EveryStep,
                ..Dimer::default()
            }),
            ..Self::default()
        }
    }

    /// Whether objectives are called at a [`Point`](crate::Point) other than θ, or asked for a product, for which there is
    /// [`Buffers::probe`](crate::Buffers::probe): with a dimer, and with a rate from curvature by
    /// [`RateProbe::SeparateGradient`], which is the default.
    pub fn has_probe(&self) -> bool {
        self.dimer.is_some() || self.learning_rate.probe() == Some(RateProbe::SeparateGradient)
    }

    /// Checks that every number is in its range and that the settings go together.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], which names the field, its value and the range; [`Error::Unsupported`] for
    /// settings that do not go together.
    pub fn validate(&self) -> Result<()> {
        self.learning_rate.validate()?;
        not_negative("weight_decay", self.weight_decay)?;
        if let Some(norm) = self.max_gradient_norm {
            positive("max_gradient_norm", norm)?;
        }
        if self.max_consecutive_skips == Some(0) {
            return invalid("max_consecutive_skips", 0, "at least 1, or None");
        }
        self.base.validate()?;
        if let Some(dimer) = &self.dimer {
            dimer.validate()?;
            if dimer.metric == Metric::Preconditioner {
                metric::validate_preconditioner(self.base, dimer)?;
            }
            let probe = self.learning_rate.probe();
            if probe == Some(RateProbe::RepeatedMinibatch)
                && dimer.difference == Difference::Central
            {
                return unsupported(
                    "RateProbe::RepeatedMinibatch",
                    "Difference::Central, whose events have no gradient at the parameters",
                    "set `probe` to SeparateGradient, or `dimer.difference` to Forward or Exact",
                );
            }
            if dimer.translation == Translation::Climb {
                self.validate_climb(dimer)?;
            }
            if self.storage == Storage::Bf16 {
                dimer.validate_bf16()?;
            }
            if self.alternates() {
                self.validate_alternating(dimer)?;
            }
        }
        Ok(())
    }

    /// What alternating evaluations need beside their rotation. Of metrics, the other one has no translation.
    fn validate_alternating(&self, dimer: &Dimer) -> Result<()> {
        let Dimer { difference, displacement, scope, translation, .. } = dimer;
        let moves = matches!(translation, Translation::SaddleFree(_));
        let needs = [
            (
                dimer.schedule == Schedule::Every(1),
                "a schedule other than Every(1): each of its steps has its gradient at a probe",
                "set `dimer.schedule` to Every(1)",
            ),
            (
                moves && dimer.correction == Correction::EveryStep,
                "any translation other than SaddleFree in every step",
                "set `dimer.translation` to SaddleFree and `dimer.correction` to EveryStep, or to watch take another \
                 rotation",
            ),
            (
                *difference == Difference::Forward,
                "a difference other than Forward: its probes lie on both sides by themselves",
                "set `dimer.difference` to Forward",
            ),
            (
                *displacement != Displacement::Automatic,
                "Displacement::Automatic, which takes a gradient of its own",
                "set `dimer.displacement` to Absolute or Relative",
            ),
            (
                *scope == Scope::Global,
                "a scope of more than one dimer",
                "set `dimer.scope` to Global",
            ),
            (
                self.storage == Storage::F32,
                "Storage::Bf16, in which a gradient is too coarse for a difference",
                "set `storage` to F32",
            ),
            (
                self.learning_rate.probe().is_none(),
                "LearningRate::Curvature, which needs the gradient at the parameters",
                "set `learning_rate` to Fixed",
            ),
        ];
        match needs.into_iter().find(|(holds, ..)| !holds) {
            Some((_, with, instead)) => unsupported("Rotation::Alternating", with, instead),
            None => Ok(()),
        }
    }

    /// What a climb needs beside a dimer that can climb.
    fn validate_climb(&self, dimer: &Dimer) -> Result<()> {
        if self.learning_rate.probe().is_some() {
            return unsupported(
                "LearningRate::Curvature",
                "Translation::Climb, which does not go down along the update",
                "set `learning_rate` to Fixed, or take another translation",
            );
        }
        if !matches!(self.base, Base::Sgd(_)) {
            return unsupported(
                "Translation::Climb",
                "a base optimizer whose step is not along the gradient, and so not uphill along N",
                "set `base` to Sgd, as `Config::climb` does",
            );
        }
        if self.weight_decay != 0.0 {
            return unsupported(
                "Translation::Climb",
                "weight decay, which moves the saddle",
                "set `weight_decay` to 0, as `Config::climb` does",
            );
        }
        if !matches!(dimer.schedule, Schedule::Every(1..=MAX_CLIMB)) {
            return unsupported(
                "Translation::Climb",
                "events so rare that N is no longer the way up",
                "set `dimer.schedule` to Every(1), as `Config::climb` does, and at most to Every(10)",
            );
        }
        Ok(())
    }

    /// The settings of a second dimer on the same parameters, which takes no steps.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the metric of moments that it does not have.
    pub(crate) fn of_second_dimer(&self, dimer: Dimer) -> Result<Self> {
        if dimer.metric == Metric::Preconditioner {
            unsupported(
                "Metric::Preconditioner",
                "a second dimer, which has no moments",
                "set `metric` to Euclidean, or take that metric in the optimizer itself",
            )?;
        }
        Ok(Self {
            base: Base::Sgd(Sgd { momentum: 0.0, nesterov: false }),
            learning_rate: LearningRate::Fixed(0.0),
            dimer: Some(dimer.watching()),
            ..self.clone()
        })
    }

    /// Whether a step reads its gradient for sums before it moves anything.
    pub(crate) fn measures_gradient(&self, uses_orientation: bool) -> bool {
        let watches = |dimer: &Dimer| matches!(dimer.schedule, Schedule::OnPlateau(_));
        uses_orientation
            || self.skip_non_finite
            || self.max_gradient_norm.is_some()
            || self.dimer.as_ref().is_some_and(watches)
    }

    /// Whether an event may use a part of the minibatch: not where minibatches repeat, or where the loss is one.
    pub(crate) fn cuts_minibatches(&self) -> bool {
        let regime = self.rayleigh_ritz().map_or(Regime::Stochastic, |ritz| ritz.regime);
        regime == Regime::Stochastic
            && !self.alternates()
            && self.learning_rate.probe() != Some(RateProbe::RepeatedMinibatch)
    }

    /// Whether a step has one gradient, on alternate sides of θ.
    pub(crate) fn alternates(&self) -> bool {
        self.dimer.as_ref().is_some_and(|dimer| dimer.rotation.as_alternating().is_some())
    }

    /// What the configured rotation by Rayleigh–Ritz is, if it is one.
    pub(crate) fn rayleigh_ritz(&self) -> Option<RayleighRitz> {
        self.dimer.as_ref()?.rotation.rayleigh_ritz()
    }
}

/// Most steps from one event of a climb to the next.
const MAX_CLIMB: u32 = 10;

impl Dimer {
    /// The method as published (arXiv 2507.19968): N turns by one gradient per event, along its rotational force, and in
    /// the steps of events the projection takes the part along N out of the gradient.
    ///
    /// One step in 10 is an event, as in the authors' code. The rate of the rotation, which the paper leaves to the user, is
    /// automatic.
    ///
    /// ```
    /// use dimer::{Dimer, Rotation, RotationRate, Schedule};
    ///
    /// let rotation = Rotation::gradient(RotationRate::Fixed(0.1));
    /// let dimer = Dimer { rotation, schedule: Schedule::Every(20), ..Dimer::published() };
    /// ```
    pub fn published() -> Self {
        Self {
            rotation: Rotation::gradient(RotationRate::Automatic),
            schedule: Schedule::Every(10),
            translation: Translation::Project(Projection::default()),
            correction: Correction::EventsOnly,
            ..Self::default()
        }
    }

    /// For a loss whose gradients are all of one function, such as a full batch without dropout: leaves saddles with one
    /// gradient a step, as the base optimizer has. See [`Rotation::Alternating`].
    ///
    /// It is made for SGD with momentum. Adam leaves most saddles by itself, and its second moment keeps the noise of gradients
    /// beside θ: it takes 1.4 times as many steps on the worst of the problems of `examples/escape`, and at best 4 % fewer.
    ///
    /// ΔR is 10⁻² ‖θ‖, or 10⁻² where ‖θ‖ is below 1, a hundred thousand times what f32 resolves. Where parameters are of
    /// another scale than 1, set [`RelativeDisplacement::minimum`]. A step that moves θ much farther than ΔR leaves C
    /// unsure, and the gate closed.
    ///
    /// ```
    /// use dimer::{Base, Config, Dimer, Gpu, HostObjective, Layout, LearningRate, Optimizer, Sgd};
    ///
    /// // L = ½ x² − ½ y² + ¼ y⁴, almost at its saddle: minima at y = ±1.
    /// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
    ///     let (x, y) = (theta[0], theta[1]);
    ///     gradient.copy_from_slice(&[x, y.powi(3) - y]);
    ///     0.5 * (x * x - y * y) + 0.25 * y.powi(4)
    /// })
    /// .deterministic();
    /// let config = Config {
    ///     base: Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
    ///     learning_rate: LearningRate::Fixed(0.05),
    ///     weight_decay: 0.0,
    ///     dimer: Some(Dimer::alternating()),
    ///     ..Config::default()
    /// };
    /// let start = [0.5, 1e-6];
    /// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, config, &start)?;
    /// for _ in 0..200 {
    ///     optimizer.step(&mut objective)?;
    /// }
    /// assert!((optimizer.read_params()?[1].abs() - 1.0).abs() < 0.02);
    /// assert_eq!(optimizer.gradient_evaluations(), 200.0);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    pub fn alternating() -> Self {
        Self {
            rotation: Rotation::alternating(),
            schedule: Schedule::Every(1),
            displacement: Displacement::Relative(RelativeDisplacement {
                factor: 1e-2,
                minimum: 1e-2,
            }),
            translation: Translation::SaddleFree(SaddleFree {
                trust: 0.05,
                damping: 1e-3,
                kick: 0.1,
                significance: 0.5,
            }),
            correction: Correction::EveryStep,
            ..Self::default()
        }
    }

    /// The same dimer without a translation, which measures and moves nothing: [`Translation::None`], or with
    /// [`Difference::Central`] [`Translation::Project`] with α = 0. Not for [`Rotation::Alternating`], whose steps are taken
    /// by the gradients of its probes.
    ///
    /// ```
    /// use dimer::{Dimer, Mode, Translation};
    ///
    /// let sharpness = Dimer { seeks: Mode::Stiffest, ..Dimer::default() }.watching();
    /// assert_eq!(sharpness.translation, Translation::None);
    /// ```
    #[must_use]
    pub fn watching(self) -> Self {
        let translation = match self.difference {
            Difference::Central => {
                Translation::Project(Projection { alpha: 0.0, only_negative_curvature: false })
            }
            Difference::Forward | Difference::Exact => Translation::None,
        };
        Self { translation, ..self }
    }

    /// Whether an event uses the gradient at θ: a central pair uses its place for one of its own.
    pub(crate) fn needs_centre(&self) -> bool {
        self.difference != Difference::Central
    }

    fn validate_bf16(&self) -> Result<()> {
        let Some(ritz) = self.rotation.rayleigh_ritz() else { return Ok(()) };
        if ritz.regime != Regime::Stochastic {
            return unsupported(
                "Storage::Bf16",
                "rotations on full batches",
                "set `storage` to F32, or the regime to Stochastic",
            );
        }
        if self.difference == Difference::Central {
            return unsupported(
                "Storage::Bf16",
                "central differences and a rotation by Rayleigh-Ritz",
                "set `storage` to F32, or `dimer.difference` to Forward or Exact",
            );
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        self.rotation.validate()?;
        self.schedule.validate()?;
        let fields =
            ["dimer.displacement", "dimer.displacement.factor", "dimer.displacement.minimum"];
        self.displacement.validate(fields)?;
        if self.displacement == Displacement::Automatic && self.difference != Difference::Forward {
            return unsupported(
                "Displacement::Automatic",
                "any difference other than Forward, which it checks",
                "set `dimer.difference` to Forward, or `dimer.displacement` to Absolute or Relative",
            );
        }
        if self.scope != Scope::Global {
            if self.rotation.rayleigh_ritz().is_some() {
                return unsupported(
                    "a rotation by Rayleigh-Ritz",
                    "a scope of more than one dimer",
                    "set `dimer.rotation` to Gradient, or `dimer.scope` to Global",
                );
            }
            if self.displacement == Displacement::Automatic {
                return unsupported(
                    "Displacement::Automatic",
                    "a scope of more than one dimer",
                    "set `dimer.displacement` to Absolute or Relative, or `dimer.scope` to Global",
                );
            }
            if self.translation == Translation::Climb {
                return unsupported(
                    "Translation::Climb",
                    "a scope of more than one dimer, since a saddle has one way up",
                    "set `dimer.scope` to Global, or take another translation",
                );
            }
        }
        if self.translation == Translation::None && self.difference == Difference::Central {
            return unsupported(
                "Translation::None",
                "Difference::Central, whose events step by the mean of two gradients beside the parameters",
                "set `dimer.difference` to Forward or Exact, or `dimer.translation` to Project with alpha 0",
            );
        }
        let moves_along =
            matches!(self.translation, Translation::SaddleFree(_) | Translation::Climb);
        if self.seeks == Mode::Stiffest && moves_along {
            return unsupported(
                "Mode::Stiffest",
                "a translation that moves along the softest direction",
                "set `dimer.translation` to None or Project, or `dimer.seeks` to Softest",
            );
        }
        if let (
            Mode::Stiffest,
            Translation::Project(Projection { only_negative_curvature: true, .. }),
        ) = (self.seeks, self.translation)
        {
            return unsupported(
                "Mode::Stiffest",
                "a projection of negative curvature only, which the stiffest direction hardly ever has",
                "set `only_negative_curvature` to false, or `dimer.seeks` to Softest",
            );
        }
        self.translation.validate(self.correction)
    }
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

fn unsupported(what: &'static str, with: &'static str, instead: &'static str) -> Result<()> {
    Err(Error::unsupported(what, with, instead))
}
