//! The learning rate from the curvature along the update.

use super::{Reference, clip_factor, dot, norm};
use crate::config::{CurvatureRate, Difference, LARGEST_RATE, LEAST_RATE, LearningRate, RateProbe};
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
    /// g·Δθ.
    slope: f64,
    rate: f64,
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
            let missing = self.measurements_of_burn_in().saturating_sub(self.measurements);
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
        let (slope, curvature) = match settings.probe {
            RateProbe::SeparateGradient => {
                let u = self.update(g1);
                // What is frozen is not on the way.
                let moved = |(x, group): (&f64, &Group)| {
                    if group.learning_rate_scale > 0.0 { *x } else { 0.0 }
                };
                let moved: Vec<f64> = self.params.iter().zip(&self.groups).map(moved).collect();
                let distance = settings.displacement * (1.0 + norm(&moved));
                let length = norm(&u);
                let step = if length > 0.0 { distance / length } else { 0.0 };
                let probe: Vec<f64> =
                    self.params.iter().zip(&u).map(|(x, u)| x + step * u).collect();
                let g2 = gradient(&probe);
                if step == 0.0 {
                    return;
                }
                let product: Vec<f64> =
                    g2.iter().zip(g1).map(|(g2, g1)| (g2 - g1) / step).collect();
                (dot(g1, &u), dot(&product, &u))
            }
            RateProbe::RepeatedMinibatch => {
                let Some(FirstHalf { params, slope, rate }) = self.first_half.take() else {
                    return;
                };
                let moved: Vec<f64> = self.params.iter().zip(&params).map(|(a, b)| a - b).collect();
                if rate == 0.0 || moved.iter().all(|&x| x == 0.0) {
                    return;
                }
                (slope / rate, (dot(g1, &moved) - slope) / (rate * rate))
            }
        };
        if !slope.is_finite() || !curvature.is_finite() {
            return;
        }
        (self.update_slope, self.update_curvature) = (slope, curvature);
        let q = self.base_learning_rate;
        let estimate = self.estimate(settings, q, -slope, curvature);
        // Each estimate after the burn-in counts as much as those before it, and as where it ended.
        let adopted = if self.is_burning_in() {
            estimate
        } else {
            let counted = self.measurements - self.measurements_of_burn_in() + 2;
            q * (estimate / q).powf(1.0 / counted as f64)
        };
        self.measurements += 1;
        let largest = LARGEST_RATE.min(self.rate_bound());
        self.base_learning_rate = adopted.max(LEAST_RATE).min(largest);
    }

    /// Where the base rate is led from q: to the rate at the lowest point of the parabola, times σ, within bounds. In the
    /// burn-in it is no more than the geometric mean of these, the n-th weighted by n.
    fn estimate(&mut self, settings: CurvatureRate, q: f64, descent: f64, curvature: f64) -> f64 {
        let (growth, uphill) = match settings.probe {
            RateProbe::SeparateGradient => (2.0, 2.0),
            RateProbe::RepeatedMinibatch => (3.0, 3.0),
        };
        if descent <= 0.0 {
            return q / uphill;
        }
        let estimate = (settings.scale * descent / curvature.abs()).clamp(LEAST_RATE, LARGEST_RATE);
        let goal = if self.is_burning_in() && curvature != 0.0 {
            self.burn_in_estimates.push(estimate.ln());
            let weighted =
                self.burn_in_estimates.iter().zip(1..).map(|(log, n)| f64::from(n) * log);
            let weights = (1..=self.burn_in_estimates.len()).sum::<usize>() as f64;
            estimate.min((weighted.sum::<f64>() / weights).exp())
        } else if settings.probe == RateProbe::RepeatedMinibatch && curvature <= 0.0 {
            growth * q
        } else {
            estimate
        };
        goal.clamp(q / 10.0, growth * q)
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

    /// Keeps what the next step needs if this one was the first of two on one minibatch.
    pub(super) fn keep_slope(&mut self, g1: &[f64], before: &[f64]) {
        let moved: Vec<f64> = self.params.iter().zip(before).map(|(a, b)| a - b).collect();
        self.first_half = Some(FirstHalf {
            params: before.to_vec(),
            slope: dot(g1, &moved),
            rate: self.learning_rate,
        });
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
