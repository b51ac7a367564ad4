//! Alternating evaluations: one gradient per step, beside θ, on either side in turn.

use super::{Reference, clip_factor, dot, norm};
use crate::config::{Alternating, Dimer, SaddleFree, Translation};

/// What they keep from step to step.
#[derive(Clone, Debug)]
pub(super) struct Alternation {
    /// On which side of θ the last probe lay.
    side: f64,
    /// ĝ, the gradient at θ as it is known.
    centre: Vec<f64>,
    /// HN as it is known.
    product: Vec<f64>,
    /// b, the last turn of N.
    turn: Vec<f64>,
    /// Whether the last turn found C below zero beyond its error.
    lay_below: bool,
    /// Whether the one before did too.
    is_open: bool,
}

impl Reference {
    /// One step, with one gradient.
    pub(super) fn step_alternating(
        &mut self,
        dimer: &Dimer,
        settings: Alternating,
        mut gradient: impl FnMut(&[f64]) -> Vec<f64>,
    ) {
        let Translation::SaddleFree(saddle_free) = dimer.translation else {
            panic!("alternating evaluations take saddle-free steps");
        };
        let before = self.clone();
        let side = self.alternation.as_ref().map_or(1.0, |known| -known.side);
        let distance = self.distance(dimer);
        let g = gradient(&self.displaced(side * distance));
        let mut known = match self.alternation.take() {
            None => Alternation {
                side,
                centre: g.clone(),
                product: vec![0.0; g.len()],
                turn: vec![0.0; g.len()],
                lay_below: false,
                is_open: false,
            },
            Some(known) => known,
        };
        let is_first = before.alternation.is_none();
        let predicted =
            known.centre.iter().zip(&known.product).map(|(c, p)| c + side * distance * p);
        let error: Vec<f64> = g.iter().zip(predicted).map(|(g, predicted)| g - predicted).collect();
        let error = if is_first { vec![0.0; g.len()] } else { self.masked(&error) };
        for ((product, centre), (e, g)) in
            known.product.iter_mut().zip(&mut known.centre).zip(error.iter().zip(&g))
        {
            *product += 0.5 * side * e / distance;
            *centre = g - side * distance * *product;
        }
        if !known.centre.iter().all(|x| x.is_finite()) {
            *self = Self { index: before.index + 1, skipped: before.skipped + 1, ..before };
            (self.projection, self.shift) = (0.0, 0.0);
            return;
        }
        if side < 0.0 {
            self.turn(&mut known, settings, saddle_free, norm(&error) / (2.0 * distance));
        }
        self.index += 1;
        self.updates += 1;
        let probed = dot(&g, &self.orientation);
        self.projection = probed - side * distance * self.curvature;
        self.shift = 0.0;
        let clip = clip_factor(self.config.max_gradient_norm, norm(&g));
        known.side = side;
        let mut taken: Vec<f64> = g.iter().map(|g| clip * g).collect();
        if known.is_open {
            let scale = self.scale_of(&before.orientation);
            let newton =
                self.projection.abs() / ((self.curvature.abs() + saddle_free.damping) * scale);
            let longest = saddle_free.trust * (self.reached() as f64).sqrt() * self.learning_rate;
            let length = newton.max(saddle_free.kick * longest).min(longest);
            self.shift = if self.projection > 0.0 { -length } else { length };
            for (i, n) in self.orientation.iter().enumerate() {
                self.params[i] += self.shift * self.groups[i].learning_rate_scale * n;
                if length < longest {
                    taken[i] -= clip * probed * n;
                }
            }
        }
        self.alternation = Some(known);
        self.base_step(&taken);
    }

    /// N ← normalize(N + b), b ← momentum · b − η (HN − C N) across N.
    fn turn(
        &mut self,
        known: &mut Alternation,
        settings: Alternating,
        saddle_free: SaddleFree,
        error: f64,
    ) {
        let length = norm(&self.orientation);
        let n: Vec<f64> = self.orientation.iter().map(|n| n / length).collect();
        let product: Vec<f64> = known.product.iter().map(|p| p / length).collect();
        self.curvature = dot(&n, &product);
        self.initial_curvature = self.curvature;
        self.curvature_scale = (0.99 * self.curvature_scale).max(norm(&product));
        let force: Vec<f64> = product.iter().zip(&n).map(|(p, n)| p - self.curvature * n).collect();
        self.residual = norm(&force);
        self.rate =
            if self.curvature_scale > 0.0 { settings.rate / self.curvature_scale } else { 0.0 };
        let pushed =
            known.turn.iter().zip(&force).map(|(b, f)| settings.momentum * b - self.rate * f);
        let pushed: Vec<f64> = pushed.collect();
        let along = dot(&pushed, &n);
        known.turn = pushed.iter().zip(&n).map(|(b, n)| b - along * n).collect();
        let turned: Vec<f64> = n.iter().zip(&known.turn).map(|(n, b)| n + b).collect();
        let length_of_turned = norm(&turned);
        self.orientation = turned.iter().map(|n| n / length_of_turned).collect();
        self.difference_error = error / length;
        self.smooth_curvature();
        let lies_below = self.curvature + saddle_free.significance * self.difference_error < 0.0;
        known.is_open = lies_below && known.lay_below;
        known.lay_below = lies_below;
    }
}
