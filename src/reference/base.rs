//! The base optimizers: those of PyTorch as it documents them, Sophia and Lion.

use super::Reference;
use crate::config::{Adam, Base, Lion, Sgd, Sophia};

impl Reference {
    /// One step of the base optimizer along the corrected and clipped gradient.
    pub(super) fn base_step(&mut self, gradient: &[f64]) {
        for (i, &g) in gradient.iter().enumerate() {
            let group = &self.groups[i];
            let rate = self.learning_rate * group.learning_rate_scale;
            let decay = group.weight_decay.unwrap_or(self.config.weight_decay);
            let theta = self.params[i];
            self.params[i] = match self.config.base {
                Base::Sgd(Sgd { momentum, nesterov }) => {
                    let g = g + decay * theta;
                    let m = momentum * self.first_moment[i] + g;
                    self.first_moment[i] = m;
                    theta - rate * if nesterov { g + momentum * m } else { m }
                }
                Base::Adam(Adam { beta1, beta2, epsilon }) => {
                    let g = g + decay * theta;
                    theta - rate * self.adam_direction(i, g, beta1, beta2, epsilon)
                }
                Base::AdamW(Adam { beta1, beta2, epsilon }) => {
                    let decayed = theta - rate * decay * theta;
                    decayed - rate * self.adam_direction(i, g, beta1, beta2, epsilon)
                }
                Base::Sophia(Sophia { beta1, beta2, rho, epsilon }) => {
                    let decayed = theta - rate * decay * theta;
                    let (m, h) = self.moments(i, g, beta1, beta2);
                    decayed - rate * (m / (rho * h).max(epsilon)).clamp(-1.0, 1.0)
                }
                Base::Lion(Lion { beta1, beta2 }) => {
                    let m = self.first_moment[i];
                    self.first_moment[i] = beta2 * m + (1.0 - beta2) * g;
                    let mean = beta1 * m + (1.0 - beta1) * g;
                    let sign = if mean == 0.0 { 0.0 } else { mean.signum() };
                    theta - rate * decay * theta - rate * sign
                }
            };
        }
    }

    /// m̂ / (√v̂ + ε) after the moments took in `g`.
    fn adam_direction(&mut self, i: usize, g: f64, beta1: f64, beta2: f64, epsilon: f64) -> f64 {
        let (m, v) = self.moments(i, g, beta1, beta2);
        let first = m / bias_correction(beta1, self.updates);
        let second = v / bias_correction(beta2, self.updates);
        first / (second.sqrt() + epsilon)
    }

    /// The moving means of g and g² after they took in `g`.
    fn moments(&mut self, i: usize, g: f64, beta1: f64, beta2: f64) -> (f64, f64) {
        let m = beta1 * self.first_moment[i] + (1.0 - beta1) * g;
        let v = beta2 * self.second_moment[i] + (1.0 - beta2) * g * g;
        self.first_moment[i] = m;
        self.second_moment[i] = v;
        (m, v)
    }
}

/// 1 − βᵗ.
pub fn bias_correction(beta: f64, t: u64) -> f64 {
    -(t as f64 * beta.ln()).exp_m1()
}

/// The factor of PyTorch's `clip_grad_norm_`: min(1, limit / (‖g‖ + 10⁻⁶)).
pub fn clip_factor(limit: Option<f64>, norm: f64) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}
