//! What happens along N: projection, the saddle-free step, or the climb.

use super::{Reference, dot};
use crate::config::{Dimer, Project, SaddleFree, Translation};

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

    /// Moves θ along N where the translation says so, and returns the gradient for the base optimizer. `last`
    /// is the projection and the shift of the previous step.
    pub(super) fn translate(
        &mut self,
        dimer: &Dimer,
        g1: &[f64],
        event: bool,
        last: (f64, f64),
    ) -> Vec<f64> {
        self.projection = dot(g1, &self.orientation);
        match dimer.translation {
            Translation::Project(Project { alpha, only_negative_curvature }) => {
                if only_negative_curvature && self.curvature >= 0.0 {
                    return g1.to_vec();
                }
                self.without_mode(g1, alpha)
            }
            Translation::SaddleFree(SaddleFree { trust, damping, kick, significance }) => {
                let bound = self.curvature_mean + significance * self.curvature_error;
                let (last_projection, last_shift) = last;
                let ratio =
                    (self.projection - last_projection) / (last_shift * self.curvature_mean);
                self.reach = if event || last_shift == 0.0 {
                    1.0
                } else if ratio > 0.25 && ratio < 2.0 {
                    (2.0 * self.reach).min(1e3)
                } else {
                    (0.5 * self.reach).max(1e-6)
                };
                if self.curvatures.is_empty() || bound.max(self.curvature) >= 0.0 {
                    return g1.to_vec();
                }
                let elements = self.groups.iter().filter(|group| group.dimer).count();
                let longest = trust * self.learning_rate * (elements as f64).sqrt();
                let newton = self.projection.abs() / (self.curvature_mean.abs() + damping);
                let length =
                    newton.clamp(kick * longest * self.reach.min(1.0), longest * self.reach);
                self.shift = if self.projection > 0.0 { -length } else { length };
                let moved = self.params.iter_mut().zip(&self.orientation);
                moved.for_each(|(x, n)| *x += self.shift * n);
                g1.to_vec()
            }
            Translation::Climb if self.curvature < 0.0 => self.without_mode(g1, 2.0),
            Translation::Climb => self.orientation.iter().map(|n| -self.projection * n).collect(),
        }
    }

    /// g₁ − α (g₁·N) N.
    fn without_mode(&self, g1: &[f64], alpha: f64) -> Vec<f64> {
        let along = alpha * self.projection;
        g1.iter().zip(&self.orientation).map(|(g, n)| g - along * n).collect()
    }
}
