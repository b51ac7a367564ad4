//! The learning rate from the curvature along the update.

use super::{Reference, bias_correction, clip_factor, dot, norm};
use crate::config::{
    Adam, Base, CurvatureRate, Difference, LARGEST_RATE, LEAST_RATE, LearningRate, RateProbe, Sgd,
    Sophia, rate_scale,
};
use crate::layout::Group;

/// What a step does for a rate from curvature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measurement {
    None,
    /// It is the first of two steps on one minibatch.
    FirstHalf,
    Complete,
}

/// What the second of two steps on one minibatch needs to know of the first.
#[derive(Clone, Debug)]
pub(super) struct FirstHalf {
    params: Vec<f64>,
    gradient: Vec<f64>,
    /// 0 if the step was skipped.
    rate: f64,
    found: Update,
}

/// What is known of an update u.
#[derive(Clone, Debug)]
struct Update {
    update: Vec<f64>,
    /// ‖u‖.
    norm: f64,
    /// The rate at which it leads as far as a probe along it.
    probe_rate: f64,
    /// g·u, and g·w with the update w of the step before.
    own_slope: f64,
    previous_slope: f64,
}

/// A measurement, and by how many learning rates the parameters moved in its steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    slope: f64,
    curvature: f64,
    moved: f64,
    /// How many updates there had been then.
    updates: u64,
}

/// What happens along a displacement e.
struct Change {
    /// g·e.
    slope: f64,
    /// (g′ − g)·e.
    change: f64,
    /// ‖e‖ times the norm of the gradient at θ.
    norms: f64,
}

impl Reference {
    /// What the next step does for the learning rate.
    pub(super) fn measurement(&self) -> Measurement {
        let LearningRate::Curvature(settings) = self.config.learning_rate else {
            return Measurement::None;
        };
        let CurvatureRate { probe, interval, .. } = settings;
        let is_due = self.index.is_multiple_of(interval.into());
        match probe {
            RateProbe::SeparateGradient if is_due || self.index < self.burn_in_end => {
                Measurement::Complete
            }
            RateProbe::RepeatedMinibatch if self.first_half.is_some() => Measurement::Complete,
            RateProbe::RepeatedMinibatch if is_due || self.index + 1 < self.burn_in_end => {
                Measurement::FirstHalf
            }
            _ => Measurement::None,
        }
    }

    /// Where the burn-in should end, adds the steps that it takes to make up for what was lost; but no burn-in is longer
    /// than ten times what it should be.
    pub(super) fn prolong_burn_in(&mut self) {
        let LearningRate::Curvature(settings) = self.config.learning_rate else { return };
        if self.index == self.burn_in_end && self.first_half.is_none() {
            let made = self.measurements + self.lost;
            let missing = self.measurements_of_burn_in().saturating_sub(made);
            let steps = match settings.probe {
                RateProbe::SeparateGradient => missing,
                RateProbe::RepeatedMinibatch => 2 * missing,
            };
            self.burn_in_end += steps;
            self.burn_in_end = self.burn_in_end.min(10 * u64::from(settings.burn_in));
        }
    }

    /// How many measurements belong to the burn-in.
    fn measurements_of_burn_in(&self) -> u64 {
        match self.config.learning_rate {
            LearningRate::Curvature(CurvatureRate {
                probe: RateProbe::RepeatedMinibatch,
                burn_in,
                ..
            }) => u64::from(burn_in / 2),
            LearningRate::Curvature(settings) => settings.burn_in.into(),
            LearningRate::Fixed(_) => 0,
        }
    }

    fn is_burning_in(&self) -> bool {
        self.measurements < self.measurements_of_burn_in()
    }

    /// Whether the next step uses the minibatch of the step before again.
    pub fn repeats_minibatch(&self) -> bool {
        self.first_half.is_some()
    }

    /// Measures g·u and u·Hu with the gradient at θ, and sets the base rate, unless a gradient is not finite.
    pub(super) fn measure_rate(
        &mut self,
        g1: &[f64],
        gradient: &mut impl FnMut(&[f64]) -> Vec<f64>,
    ) {
        let LearningRate::Curvature(settings) = self.config.learning_rate else { return };
        let last = self.last_measured;
        let (found, length, along) = match settings.probe {
            RateProbe::SeparateGradient => {
                let found = self.look_along_update(settings, g1, last);
                let length = found.probe_rate;
                let e: Vec<f64> = found.update.iter().map(|u| length * u).collect();
                let probe: Vec<f64> = self.params.iter().zip(&e).map(|(x, e)| x + e).collect();
                let g2 = gradient(&probe);
                if length == 0.0 {
                    return;
                }
                (found, length, Change::between(g1, &g2, &e, g1))
            }
            RateProbe::RepeatedMinibatch => {
                let Some(FirstHalf { params, gradient, rate, found }) = self.first_half.take()
                else {
                    return;
                };
                if rate == 0.0 {
                    return;
                }
                let e: Vec<f64> = self.params.iter().zip(&params).map(|(a, b)| a - b).collect();
                let mut along = Change::between(&gradient, g1, &e, g1);
                if along.slope == 0.0 && along.change == 0.0 {
                    along.slope = rate * found.own_slope;
                }
                (found, rate, along)
            }
        };
        let Change { slope, change, .. } = along;
        if !slope.is_finite() || !change.is_finite() {
            self.lost += 1;
            return;
        }
        if slope == 0.0 && change == 0.0 {
            return;
        }
        let curvature = if along.is_resolved() { change / (length * length) } else { 0.0 };
        (self.update_slope, self.update_curvature) = (slope / length, curvature);
        let moved = if settings.probe == RateProbe::RepeatedMinibatch { length } else { 0.0 };
        // Until the step is taken.
        let updates = 0;
        let measured = Measured { slope: slope / length, curvature, moved, updates };
        let wanted = self.wanted(settings, &found, last, slope / length, curvature);
        self.measurements += 1;
        self.last_measured = Some(measured);
        self.longest_update = self.longest_update.max(found.norm);
        self.steepest = self.steepest.max(-slope / length / found.norm);
        let largest = LARGEST_RATE.min(self.rate_bound());
        self.base_learning_rate = wanted.max(LEAST_RATE).min(largest);
    }

    /// Where the base rate is led from q: signal² times the geometric mean of the estimates, within bounds.
    fn wanted(
        &mut self,
        settings: CurvatureRate,
        found: &Update,
        last: Option<Measured>,
        slope: f64,
        curvature: f64,
    ) -> f64 {
        let q = self.base_learning_rate;
        let growth = match settings.probe {
            RateProbe::SeparateGradient => 2.0,
            RateProbe::RepeatedMinibatch => 3.0,
        };
        let is_burning_in = self.is_burning_in();
        let is_downhill = slope < 0.0;
        // What this minibatch would have found of the last slope, where that was measured.
        if is_burning_in
            && is_downhill
            && let Some(last) = last
            && last.slope < 0.0
            && last.moved > 0.0
            && found.previous_slope != 0.0
        {
            let slope = found.previous_slope - last.moved * last.curvature;
            self.signals.push((slope / last.slope).clamp(0.0, 1.0));
        }
        let signal = if self.signals.is_empty() { 1.0 } else { mean(&self.signals).max(0.1) };
        let mut estimate = None;
        if is_downhill && curvature != 0.0 {
            let scale = rate_scale(self.config.base, settings.scale);
            let lowest = (scale * -slope / curvature.abs()).clamp(LEAST_RATE, LARGEST_RATE);
            // With Adam, fit for an update of a fiftieth of the longest, if this one is shorter.
            let is_adam = matches!(self.config.base, Base::Adam(_) | Base::AdamW(_));
            let longest = self.longest_update.max(found.norm);
            let shortness = if is_adam { (50.0 * found.norm / longest).min(1.0) } else { 1.0 };
            let lowest_for_long = shortness * lowest;
            // Never was the way down as steep, or it bends down and g·u is no higher than the last time; and a step is below
            // ten probes.
            let ten_probes = 10.0 * shortness * found.probe_rate;
            let is_steepest = self.steepest > 0.0 && -slope / found.norm >= self.steepest;
            let is_lower = last.is_some_and(|last| last.slope < 0.0 && slope <= last.slope);
            let grows_steeper = is_adam && (is_steepest || curvature < 0.0 && is_lower);
            if !self.signals.is_empty() && signal >= 0.9 && q < ten_probes && grows_steeper {
                let grown = ten_probes.min(4.0 * q);
                let mean = lowest_for_long.max(grown / (signal * signal)).ln();
                self.forget_estimates(is_burning_in, mean);
                return grown;
            }
            let estimates =
                if is_burning_in { &mut self.burn_in_estimates } else { &mut self.later_estimates };
            estimates.push(lowest_for_long.ln());
            estimate = Some(lowest_for_long);
        }
        let mean = self.mean_estimate().map(|mean| signal * signal * mean);
        let wanted = match (mean, estimate) {
            (Some(mean), Some(estimate)) if is_burning_in => mean.min(signal * signal * estimate),
            (Some(mean), None) if is_burning_in && !is_downhill => mean.min(q),
            (None, None) if !is_downhill => q / growth,
            (_, None) if is_burning_in => found.probe_rate.max(q),
            (Some(mean), _) => mean,
            (None, _) => found.probe_rate.max(q),
        };
        wanted.clamp(q / 10.0, growth * q)
    }

    /// Puts one mean in the place of all estimates: it counts as one or two, as there were.
    fn forget_estimates(&mut self, is_burning_in: bool, mean: f64) {
        let early = self.burn_in_estimates.len();
        let known = if is_burning_in { early } else { early.min(2) } + self.later_estimates.len();
        self.later_estimates.clear();
        self.burn_in_estimates = vec![mean; known.clamp(1, 2)];
    }

    /// The geometric mean of all estimates. After the burn-in, those of the burn-in count as two, if there are as many.
    fn mean_estimate(&self) -> Option<f64> {
        let early = &self.burn_in_estimates;
        let mut all = self.later_estimates.clone();
        if self.is_burning_in() {
            all.extend(early);
        } else if !early.is_empty() {
            all.extend(std::iter::repeat_n(mean(early), early.len().min(2)));
        }
        (!all.is_empty()).then(|| mean(&all).exp())
    }

    /// What is known of the update before the step.
    fn look_along_update(
        &self,
        settings: CurvatureRate,
        g1: &[f64],
        last: Option<Measured>,
    ) -> Update {
        let update = self.update(g1);
        // What is frozen is not on the way.
        let moved = |(x, group): (&f64, &Group)| {
            if group.learning_rate_scale > 0.0 { *x } else { 0.0 }
        };
        let moved: Vec<f64> = self.params.iter().zip(&self.groups).map(moved).collect();
        let distance = settings.displacement * (1.0 + norm(&moved));
        let length = norm(&update);
        Update {
            norm: length,
            probe_rate: if length > 0.0 { distance / length } else { 0.0 },
            own_slope: dot(g1, &update),
            // That of an update that was not measured has nothing to be compared with.
            previous_slope: match last {
                Some(last) if last.updates == self.updates => dot(g1, &self.previous_update()),
                _ => 0.0,
            },
            update,
        }
    }

    /// The update of the step before, from the moments that it left.
    fn previous_update(&self) -> Vec<f64> {
        let t = self.updates;
        if t == 0 {
            return vec![0.0; self.params.len()];
        }
        let direction = |(i, m): (usize, &f64)| {
            let v = self.second_moment[i];
            let direction = match self.config.base {
                Base::Sgd(Sgd { momentum: 0.0, .. }) => 0.0,
                // The last gradient is taken for the mean of all.
                Base::Sgd(Sgd { momentum, nesterov: true }) => {
                    momentum * m + (1.0 - momentum) / bias_correction(momentum, t) * m
                }
                Base::Sgd(_) => *m,
                Base::Adam(Adam { beta1, beta2, epsilon })
                | Base::AdamW(Adam { beta1, beta2, epsilon }) => {
                    let root = (v / bias_correction(beta2, t)).sqrt() + epsilon;
                    m / bias_correction(beta1, t) / root
                }
                Base::Sophia(Sophia { rho, epsilon, .. }) => {
                    (m / (rho * v).max(epsilon)).clamp(-1.0, 1.0)
                }
                Base::Lion(_) if *m == 0.0 => 0.0,
                Base::Lion(_) => m.signum(),
            };
            -self.groups[i].learning_rate_scale * direction
        };
        self.first_moment.iter().enumerate().map(direction).collect()
    }

    /// What a step at a learning rate of 1 adds to θ, without decoupled weight decay.
    pub(super) fn update(&self, g1: &[f64]) -> Vec<f64> {
        let clip = clip_factor(self.config.max_gradient_norm, norm(g1));
        let clipped: Vec<f64> = g1.iter().map(|g| clip * g).collect();
        let mut stepped = self.clone();
        stepped.learning_rate = 1.0;
        stepped.updates += 1;
        if self.config.base.is_decoupled() {
            stepped.config.weight_decay = 0.0;
            stepped.groups.iter_mut().for_each(|group| group.weight_decay = None);
        }
        stepped.base_step(&clipped);
        stepped.params.iter().zip(&self.params).map(|(after, before)| after - before).collect()
    }

    /// Keeps what the next step needs if this one was the first of two on one minibatch; `before` is the state before it.
    pub(super) fn keep_first_half(&mut self, g1: &[f64], before: &Self, is_taken: bool) {
        let LearningRate::Curvature(settings) = self.config.learning_rate else { return };
        self.first_half = Some(FirstHalf {
            params: before.params.clone(),
            gradient: g1.to_vec(),
            rate: if is_taken { self.learning_rate } else { 0.0 },
            found: before.look_along_update(settings, g1, before.last_measured),
        });
    }

    /// Counts a step that was taken among the moves since it measured.
    pub(super) fn keep_move(&mut self) {
        if let Some(last) = self.last_measured.as_mut().filter(|last| last.updates == 0) {
            last.moved += self.learning_rate;
            last.updates = self.updates;
        }
    }

    /// The learning rate of this step.
    pub(super) fn set_rate(&mut self) {
        if let LearningRate::Curvature(_) = self.config.learning_rate {
            self.learning_rate =
                (self.base_learning_rate * self.rate_factor).min(self.rate_bound());
        }
    }

    /// The rate at which decoupled decay takes some parameter to 0.
    fn rate_bound(&self) -> f64 {
        if !self.config.base.is_decoupled() {
            return f64::INFINITY;
        }
        let decays = self.groups.iter().map(|group| {
            let decay = group.weight_decay.unwrap_or(self.config.weight_decay);
            (group.learning_rate_scale * decay).recip()
        });
        decays.fold(f64::INFINITY, f64::min)
    }

    /// Whether an event needs the gradient at θ besides those on both sides of it.
    pub(super) fn centre_is_extra(&self, event: bool) -> bool {
        let dimer = self.config.dimer.as_ref();
        event
            && dimer.is_some_and(|dimer| dimer.difference == Difference::Central)
            && self.measurement() == Measurement::Complete
    }
}

impl Change {
    /// Between the gradients at the start and at the end of `e`.
    fn between(start: &[f64], end: &[f64], e: &[f64], centre: &[f64]) -> Self {
        let difference: Vec<f64> = end.iter().zip(start).map(|(b, a)| b - a).collect();
        Self { slope: dot(start, e), change: dot(&difference, e), norms: norm(centre) * norm(e) }
    }

    /// Whether gradients in f32 would show it.
    fn is_resolved(&self) -> bool {
        self.change.abs() > 2_f64.powi(-20) * self.norms
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
