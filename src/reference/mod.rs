//! The same step on the CPU in f64: the specification of the kernels, and the oracle of the tests.
//!
//! Everything is written as the textbook has it, without the identities by which the kernels
//! save passes over memory. Vectors are packed, without padding.

mod alternating;
mod base;
mod learning_rate;
mod rayleigh_ritz;
mod scope;
mod translation;

use crate::config::{
    Base, Config, Correction, Difference, Dimer, Displacement, LearningRate, Metric, Mode,
    RelativeDisplacement, Rotation, RotationRate, Schedule, Translation,
};
use crate::layout::{Group, Layout};

pub use base::{bias_correction, clip_factor};
use learning_rate::Measurement;
pub use scope::sign;

/// One optimizer in f64, on the host.
///
/// ```
/// use dimer::{Config, Dimer, Layout, Schedule, reference::Reference};
///
/// let dimer = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
/// let config = Config { dimer: Some(dimer), ..Config::default() };
/// let layout = Layout::flat(2)?;
/// let mut reference = Reference::new(&layout, config, &[1.0, 1.0], &[0.6, 0.8]);
/// // L(θ) = θ₀² − θ₁²
/// reference.step(|x| vec![2.0 * x[0], -2.0 * x[1]]);
/// assert!((reference.curvature + 2.0).abs() < 1e-6);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reference {
    /// θ.
    pub params: Vec<f64>,
    /// N, of unit length.
    pub orientation: Vec<f64>,
    /// First moment, or the momentum of SGD.
    pub first_moment: Vec<f64>,
    /// Second moment.
    pub second_moment: Vec<f64>,
    /// Learning rate of the next step; from curvature, that of the last.
    pub learning_rate: f64,
    /// The factor of the schedule on a rate from curvature.
    pub rate_factor: f64,
    /// That rate without the factor.
    pub base_learning_rate: f64,
    /// g·u of the last measurement of the rate.
    pub update_slope: f64,
    /// u·Hu of the last measurement of the rate.
    pub update_curvature: f64,
    /// Steps taken, skipped ones included.
    pub index: u64,
    /// Steps applied.
    pub updates: u64,
    /// Steps skipped, because a gradient was not finite.
    pub skipped: u64,
    /// C of the last event, along the N that it started with.
    pub curvature: f64,
    /// C of the last four events, the newest first.
    pub curvatures: Vec<f64>,
    /// Their mean; see [`SaddleFree`](crate::Translation::SaddleFree).
    pub curvature_mean: f64,
    /// The standard error of that mean.
    pub curvature_error: f64,
    /// C of the N that the last event began with.
    pub initial_curvature: f64,
    /// ‖F‖ of the last event.
    pub residual: f64,
    /// κ, the largest curvature seen recently; see [`RotationRate::Automatic`].
    pub curvature_scale: f64,
    /// η of the last event.
    pub rate: f64,
    /// One for each dimer, if there are several; in each, only what lies along N counts.
    pub regions: Vec<Self>,
    /// Rotations of the last event by Rayleigh–Ritz.
    pub rotations: u32,
    /// The fraction of ‖θ‖ of [`Displacement::Automatic`].
    pub displacement_factor: f64,
    /// What that displacement expects C to be off by, in f32.
    pub difference_error: f64,
    /// P, the last search direction of a locally optimal rotation, of unit length or zero.
    pub direction: Vec<f64>,
    /// g₁·N of the last step, or 0 if it did not use it.
    pub projection: f64,
    /// The last step's length along N, in addition to that of the base optimizer.
    pub shift: f64,
    /// The longest such length, per learning rate.
    pub trust_radius: f64,
    /// ‖u‖ / N·SN of the update u of the base optimizer in the last event, per learning rate.
    pub update_norm: f64,
    first_half: Option<learning_rate::FirstHalf>,
    /// Of alternating evaluations; none before the first.
    alternation: Option<alternating::Alternation>,
    /// Logarithms of the rates that were estimated in the burn-in, and since.
    burn_in_estimates: Vec<f64>,
    later_estimates: Vec<f64>,
    /// What other minibatches have seen of the slope, in each measurement of the burn-in.
    signals: Vec<f64>,
    last_measured: Option<learning_rate::Measured>,
    /// Of all measurements the largest ‖u‖, and the steepest way down along one: −g·u / ‖u‖.
    longest_update: f64,
    steepest: f64,
    /// Measurements that were lost at their probes.
    lost: u64,
    /// Measurements of the rate, but for lost ones.
    measurements: u64,
    /// The step with which the burn-in ends.
    burn_in_end: u64,
    config: Config,
    /// The group of each element.
    groups: Vec<Group>,
}

impl Reference {
    /// Starts at `params` with the dimer along `orientation` (of any length without a dimer).
    pub fn new(layout: &Layout, config: Config, params: &[f64], orientation: &[f64]) -> Self {
        let groups = layout
            .tensors()
            .iter()
            .flat_map(|tensor| std::iter::repeat_n(layout.group(tensor).clone(), tensor.len));
        let mut reference = Self {
            params: params.to_vec(),
            orientation: orientation.to_vec(),
            first_moment: vec![0.0; params.len()],
            second_moment: vec![0.0; params.len()],
            learning_rate: match config.learning_rate {
                LearningRate::Fixed(rate) => rate,
                LearningRate::Curvature(_) => 0.0,
            },
            rate_factor: 1.0,
            base_learning_rate: match config.learning_rate {
                LearningRate::Fixed(rate) => rate,
                LearningRate::Curvature(settings) => settings.initial,
            },
            update_slope: 0.0,
            update_curvature: 0.0,
            first_half: None,
            alternation: None,
            burn_in_estimates: Vec::new(),
            later_estimates: Vec::new(),
            signals: Vec::new(),
            last_measured: None,
            longest_update: 0.0,
            steepest: 0.0,
            lost: 0,
            measurements: 0,
            burn_in_end: match config.learning_rate {
                LearningRate::Fixed(_) => 0,
                LearningRate::Curvature(settings) => settings.burn_in.into(),
            },
            index: 0,
            updates: 0,
            skipped: 0,
            curvature: 0.0,
            curvature_mean: 0.0,
            curvatures: Vec::new(),
            curvature_error: 0.0,
            initial_curvature: 0.0,
            residual: 0.0,
            curvature_scale: 0.0,
            rate: 0.0,
            regions: Vec::new(),
            rotations: 0,
            displacement_factor: 3e-5,
            difference_error: 0.0,
            direction: vec![0.0; params.len()],
            projection: 0.0,
            shift: 0.0,
            trust_radius: 0.0,
            update_norm: 0.0,
            groups: groups.collect(),
            config,
        };
        reference.split(layout);
        reference
    }

    /// Takes one step on the loss whose gradient is given. Events are those of [`Schedule::Every`]; for other
    /// schedules use [`Reference::step_as`].
    pub fn step(&mut self, gradient: impl FnMut(&[f64]) -> Vec<f64>) {
        let event = match self.config.dimer.as_ref().map(|dimer| dimer.schedule) {
            Some(Schedule::Every(interval)) => (self.index + 1).is_multiple_of(interval.into()),
            _ => false,
        };
        self.step_as(event, gradient);
    }

    /// Takes one step, as an event or not.
    pub fn step_as(&mut self, event: bool, mut gradient: impl FnMut(&[f64]) -> Vec<f64>) {
        let dimer = self.config.dimer.clone();
        if let Some(dimer) = &dimer
            && let Rotation::Alternating(settings) = dimer.rotation
        {
            return self.step_alternating(dimer, settings, gradient);
        }
        let mut before = self.clone();
        before.first_half = None;
        self.prolong_burn_in();
        before.burn_in_end = self.burn_in_end;
        let rate = self.measurement();
        if self.centre_is_extra(event) {
            let centre = gradient(&self.params);
            self.measure_rate(&centre, &mut gradient);
        }
        let mut opposite = None;
        let g1 = match &dimer {
            Some(dimer) if event && dimer.difference == Difference::Central => {
                let distance = self.distance(dimer);
                let pair =
                    [distance, -distance].map(|distance| gradient(&self.displaced(distance)));
                opposite = dimer.rotation.rayleigh_ritz().is_none().then(|| pair[1].clone());
                pair[0].iter().zip(&pair[1]).map(|(a, b)| 0.5 * (a + b)).collect()
            }
            _ => gradient(&self.params),
        };
        if rate == Measurement::Complete && !before.centre_is_extra(event) {
            self.measure_rate(&g1, &mut gradient);
        }
        self.set_rate();
        let finite = |v: &[f64]| v.iter().all(|x| x.is_finite());
        if let Some(dimer) = dimer.as_ref().filter(|_| event) {
            let unturned = self.clone();
            self.rotate(dimer, &g1, &mut gradient);
            // What only watches does not hold up the step.
            if dimer.translation == Translation::None && !finite(&self.orientation) {
                *self = unturned;
            }
        }
        if !finite(&g1) || !finite(&self.orientation) {
            let (index, skipped) = (before.index + 1, before.skipped + 1);
            *self = Self { index, skipped, projection: 0.0, shift: 0.0, ..before.clone() };
            if rate == Measurement::FirstHalf {
                self.keep_first_half(&g1, &before, false);
            }
            return;
        }
        if event {
            // The gradient that lies there: a rotation by gradient takes the mean of a central pair as it goes.
            let update = before.update(opposite.as_ref().unwrap_or(&g1));
            self.update_norm = norm(&update);
        }
        self.index += 1;
        self.updates += 1;
        (self.projection, self.shift) = (0.0, 0.0);
        let clip = clip_factor(self.config.max_gradient_norm, norm(&g1));
        let corrected = match &dimer {
            Some(dimer)
                if dimer.translation != Translation::None
                    && (event
                        || (dimer.correction == Correction::EveryStep && self.has_turned())) =>
            {
                if self.regions.is_empty() {
                    self.translate(dimer, &g1, event, &before)
                } else {
                    self.translate_regions(dimer, &g1, event, &before)
                }
            }
            _ => g1.clone(),
        };
        let clipped: Vec<f64> = corrected.iter().map(|g| clip * g).collect();
        self.base_step(&clipped);
        match rate {
            Measurement::FirstHalf => self.keep_first_half(&g1, &before, true),
            Measurement::Complete => self.keep_move(),
            Measurement::None => {}
        }
    }

    /// Whether an event has measured C.
    fn has_turned(&self) -> bool {
        !self.curvatures.is_empty()
    }

    /// ΔR.
    pub fn distance(&self, dimer: &Dimer) -> f64 {
        match dimer.displacement {
            Displacement::Absolute(distance) => distance,
            Displacement::Relative(RelativeDisplacement { factor, minimum }) => {
                minimum.max(factor * self.reached_norm())
            }
            Displacement::Automatic => self.displacement_factor * self.reached_norm().max(1.0),
        }
    }

    /// The norm of the parameters that the dimer reaches.
    fn reached_norm(&self) -> f64 {
        norm(&self.masked(&self.params))
    }

    /// θ + ΔR·N.
    pub fn displaced(&self, distance: f64) -> Vec<f64> {
        self.params.iter().zip(&self.orientation).map(|(x, n)| x + distance * n).collect()
    }

    /// One event's rotation: g₁ and the function that gives gradients elsewhere.
    pub fn rotate(
        &mut self,
        dimer: &Dimer,
        g1: &[f64],
        gradient: &mut impl FnMut(&[f64]) -> Vec<f64>,
    ) {
        let distance = self.distance(dimer);
        if dimer.displacement == Displacement::Automatic {
            self.calibrate(distance, g1, gradient);
        }
        if !self.regions.is_empty() {
            self.rotate_regions(dimer, distance, g1, gradient);
            return;
        }
        match dimer.rotation.rayleigh_ritz() {
            Some(ritz) => {
                let product = |reference: &Self, direction: &[f64]| {
                    reference.measured(dimer, distance, direction, g1, gradient)
                };
                self.rotate_by_rayleigh_ritz(dimer.seeks, ritz, g1, product);
            }
            None => {
                let Rotation::Gradient { rate } = dimer.rotation else {
                    panic!("alternating evaluations turn N in their steps");
                };
                let direction = self.orientation.clone();
                let product = self.measured(dimer, distance, &direction, g1, gradient);
                self.rotate_along(dimer.seeks, rate, &product);
            }
        }
        self.smooth_curvature();
    }

    /// Hd along `direction`, in the metric of the dimer. An exact product is taken as a central difference.
    fn measured(
        &self,
        dimer: &Dimer,
        distance: f64,
        direction: &[f64],
        g1: &[f64],
        gradient: &mut impl FnMut(&[f64]) -> Vec<f64>,
    ) -> Vec<f64> {
        if dimer.metric == Metric::Preconditioner {
            let root = self.inverse_root_of_preconditioner();
            let scaled = multiplied(&root, direction);
            let length = norm(&scaled);
            if length == 0.0 {
                return scaled;
            }
            let unit: Vec<f64> = scaled.iter().map(|x| x / length).collect();
            let euclidean = Dimer { metric: Metric::Euclidean, ..dimer.clone() };
            let product = self.measured(&euclidean, distance, &unit, g1, gradient);
            return multiplied(&root, &product).iter().map(|x| length * x).collect();
        }
        let mut at = |distance: f64| {
            let point = self.params.iter().zip(direction).map(|(x, d)| x + distance * d);
            gradient(&point.collect::<Vec<f64>>())
        };
        match dimer.difference {
            Difference::Forward => self.product(distance, g1, &at(distance)),
            Difference::Central | Difference::Exact => {
                self.product(2.0 * distance, &at(-distance), &at(distance))
            }
        }
    }

    /// P^(−½) of [`Metric::Preconditioner`].
    fn inverse_root_of_preconditioner(&self) -> Vec<f64> {
        let (Base::Adam(adam) | Base::AdamW(adam)) = self.config.base else {
            panic!("only Adam and AdamW have a preconditioner");
        };
        let correction = bias_correction(adam.beta2, self.updates);
        let divisor = |v: f64| match self.updates {
            0 => 1.0,
            _ => (v / correction).sqrt() + adam.epsilon,
        };
        let scales = self.groups.iter().map(|group| group.learning_rate_scale);
        self.second_moment
            .iter()
            .zip(scales)
            .map(|(&v, scale)| (scale / divisor(v)).sqrt())
            .collect()
    }

    /// The automatic displacement: C at two distances against what f32 rounding can explain.
    fn calibrate(
        &mut self,
        distance: f64,
        g1: &[f64],
        gradient: &mut impl FnMut(&[f64]) -> Vec<f64>,
    ) {
        let mut along = |distance: f64| {
            let product = self.product(distance, g1, &gradient(&self.displaced(distance)));
            let square = dot(&self.orientation, &self.orientation);
            (dot(&self.orientation, &product) / square, norm(&product) / square.sqrt())
        };
        let (far, _) = along(2.0 * distance);
        let (near, product_norm) = along(distance);
        let change = (far - near).abs();
        let unit = 2_f64.powi(-24);
        let params_norm = self.reached_norm().max(1.0);
        let rounding = unit * (norm(g1) + product_norm * params_norm) / distance;
        self.difference_error = change + rounding;
        let next = self.displacement_factor * if change > rounding { 0.5 } else { 2.0 };
        self.displacement_factor = next.clamp(1e-6, 1e-2);
    }

    /// Hd = (g₂ − g₁)/ΔR; zero in groups without the dimer.
    pub(super) fn product(&self, distance: f64, g1: &[f64], g2: &[f64]) -> Vec<f64> {
        g1.iter()
            .zip(g2)
            .zip(&self.groups)
            .map(|((g1, g2), group)| if group.is_reached() { (g2 - g1) / distance } else { 0.0 })
            .collect()
    }

    /// `vector`, zero in groups without the dimer.
    pub(super) fn masked(&self, vector: &[f64]) -> Vec<f64> {
        let parts = vector.iter().zip(&self.groups);
        parts.map(|(x, group)| if group.is_reached() { *x } else { 0.0 }).collect()
    }

    /// N ← normalize(N − η F), with F = HN − C N, C = N·HN and HN = (g₂ − g₁)/ΔR.
    ///
    /// With gradients (not forces) this sign leads to the lowest eigenvalue. A group without the dimer takes
    /// no part: its elements of HN count as zero.
    pub fn rotate_by_gradient(
        &mut self,
        rate: RotationRate,
        distance: f64,
        g1: &[f64],
        g2: &[f64],
    ) {
        let product = self.product(distance, g1, g2);
        self.rotate_along(Mode::Softest, rate, &product);
    }

    /// The same from HN, for the current N, of any length; to the stiffest direction with −HN.
    fn rotate_along(&mut self, seeks: Mode, rate: RotationRate, product: &[f64]) {
        let length = norm(&self.orientation);
        let unit: Vec<f64> = self.orientation.iter().map(|n| n / length).collect();
        let sign = seeks.sign();
        let product: Vec<f64> = product.iter().map(|product| sign * product / length).collect();
        let curvature = dot(&unit, &product);
        self.curvature_scale = (0.99 * self.curvature_scale)
            .max(norm(&product))
            .max(self.curvature_along_force(sign * self.curvature, curvature));
        self.curvature = sign * curvature;
        self.initial_curvature = self.curvature;
        let force: Vec<f64> = product.iter().zip(&unit).map(|(hn, n)| hn - curvature * n).collect();
        self.residual = norm(&force);
        self.rate = match rate {
            RotationRate::Fixed(rate) => rate,
            RotationRate::Automatic if self.curvature_scale > 0.0 => 0.5 / self.curvature_scale,
            RotationRate::Automatic => 0.0,
        };
        let turned: Vec<f64> = unit.iter().zip(&force).map(|(n, f)| n - self.rate * f).collect();
        let length = norm(&turned);
        self.orientation = turned.iter().map(|n| n / length).collect();
    }

    /// f·Hf − C for the direction f of the last rotational force, which follows from C before and after the
    /// last turn; 0 where that turn was too small to tell.
    ///
    /// With t = η‖F‖ the turn was N′ = (N − t f)/√(1 + t²), so that
    /// C′ (1 + t²) = C − 2 t ‖F‖ + t² f·Hf.
    fn curvature_along_force(&self, before: f64, curvature: f64) -> f64 {
        let turn = self.rate * self.residual;
        if turn * turn <= 1e-3 {
            return 0.0;
        }
        let change = curvature * (1.0 + turn * turn) - before + 2.0 * turn * self.residual;
        change / (turn * turn) - before
    }
}

/// a·b.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// ‖a‖.
pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// The products of the elements.
fn multiplied(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}
