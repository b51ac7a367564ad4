//! What happens along N: projection, the saddle-free step, or the climb.

use super::{Reference, dot};
use crate::config::{Dimer, Projection, SaddleFree, Translation};

impl Reference {
    /// Mean and standard error of the curvatures of the last four events.
    pub(super) fn smooth_curvature(&mut self) {
        self.curvatures.insert(0, self.curvature);
        self.curvatures.truncate(4);
        let count = self.curvatures.len() as f64;
        self.curvature_mean = self.curvatures.iter().sum::<f64>() / count;
        let squares: f64 = self.curvatures.iter().map(|c| (c - self.curvature_mean).powi(2)).sum();
        self.curvature_error = (squares / (count * (count - 1.0).max(1.0))).sqrt();
    }

    /// Moves θ along N where the translation says so, and returns the gradient for the base optimizer.
    /// `before` is the state before the event, if it is one.
    pub(super) fn translate(
        &mut self,
        dimer: &Dimer,
        g1: &[f64],
        event: bool,
        before: &Self,
    ) -> Vec<f64> {
        self.projection = dot(g1, &self.orientation);
        match dimer.translation {
            Translation::None => g1.to_vec(),
            Translation::Project(Projection { alpha, only_negative_curvature }) => {
                if only_negative_curvature && self.curvature >= 0.0 {
                    return g1.to_vec();
                }
                self.without_mode(g1, alpha)
            }
            Translation::SaddleFree(SaddleFree { trust, damping, kick, significance }) => {
                let bound = self.curvature_mean + significance * self.curvature_error;
                let scale = self.scale_along(dimer, event, before);
                if event {
                    self.update_norm /= scale.max(1e-37);
                }
                if before.update_norm == 0.0 {
                    self.trust_radius = self.trust_radius.max(self.update_norm);
                }
                if !event {
                    let slope = self.projection * before.shift;
                    let bound = 0.99 * before.trust_radius * before.learning_rate;
                    if slope > 0.0 {
                        self.trust_radius *= 0.5;
                    } else if slope < 0.0 && before.shift.abs() >= bound {
                        self.trust_radius *= 2.0;
                    }
                }
                let most = trust * (self.reached() as f64).sqrt();
                self.trust_radius =
                    self.trust_radius.max(0.2 * self.update_norm).max(0.01 * most).min(most);
                if self.curvatures.is_empty() || bound.max(self.curvature) >= 0.0 {
                    return g1.to_vec();
                }
                let longest = self.trust_radius * self.learning_rate;
                let newton =
                    self.projection.abs() / ((self.curvature_mean.abs() + damping) * scale);
                let length = newton.clamp(kick * longest, longest);
                self.shift = if self.projection > 0.0 { -length } else { length };
                let moved = self.params.iter_mut().zip(&self.orientation).zip(&self.groups);
                moved.for_each(|((x, n), group)| *x += self.shift * group.learning_rate_scale * n);
                g1.to_vec()
            }
            Translation::Climb if self.curvature < 0.0 => self.without_mode(g1, 2.0),
            Translation::Climb => self.orientation.iter().map(|n| -self.projection * n).collect(),
        }
    }

    /// Elements under the dimer.
    pub(super) fn reached(&self) -> usize {
        self.groups.iter().filter(|group| group.is_reached()).count()
    }

    /// N·SN for the learning rate scales S of the groups; of the N before an event that turns it in the pass of
    /// the step.
    fn scale_along(&self, dimer: &Dimer, event: bool, before: &Self) -> f64 {
        let turns_in_step = event && dimer.rotation.rayleigh_ritz().is_none();
        let orientation = if turns_in_step { &before.orientation } else { &self.orientation };
        self.scale_of(orientation)
    }

    /// N·SN for a given N.
    pub(super) fn scale_of(&self, orientation: &[f64]) -> f64 {
        let parts = orientation.iter().zip(&self.groups);
        parts.map(|(n, group)| group.learning_rate_scale * n * n).sum()
    }

    /// g₁ − α (g₁·N) N.
    fn without_mode(&self, g1: &[f64], alpha: f64) -> Vec<f64> {
        let along = alpha * self.projection;
        g1.iter().zip(&self.orientation).map(|(g, n)| g - along * n).collect()
    }
}
