//! Symmetric matrices with a known spectrum.

use dimer::{HostObjective, Objective};
use rand::RngExt;
use rand::rngs::StdRng;

use super::wide;

/// A symmetric matrix with a known spectrum: Q diag(λ) Qᵀ, with Q a product of reflections.
pub struct Matrix {
    eigenvalues: Vec<f64>,
    reflections: Vec<Vec<f64>>,
}

impl Matrix {
    pub fn new(rng: &mut StdRng, eigenvalues: Vec<f64>) -> Self {
        let reflections = (0..4)
            .map(|_| {
                let v: Vec<f64> = eigenvalues.iter().map(|_| rng.random_range(-1.0..1.0)).collect();
                let norm = dimer::reference::norm(&v);
                v.iter().map(|x| x / norm).collect()
            })
            .collect();
        Self { eigenvalues, reflections }
    }

    /// Qᵀx, or with the reflections in reverse order Qx.
    fn reflect<'a>(x: &mut [f64], reflections: impl Iterator<Item = &'a Vec<f64>>) {
        for v in reflections {
            let twice = 2.0 * dimer::reference::dot(x, v);
            x.iter_mut().zip(v).for_each(|(x, v)| *x -= twice * v);
        }
    }

    pub fn product(&self, x: &[f32]) -> Vec<f64> {
        self.product_wide(&wide(x))
    }

    pub fn product_wide(&self, x: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        Self::reflect(&mut y, self.reflections.iter());
        y.iter_mut().zip(&self.eigenvalues).for_each(|(y, h)| *y *= h);
        Self::reflect(&mut y, self.reflections.iter().rev());
        y
    }

    /// scale · ½ θᵀHθ
    pub fn objective(&self, scale: f64) -> impl Objective {
        HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
            let product = self.product(params);
            gradient.iter_mut().zip(&product).for_each(|(g, h)| *g = (scale * h) as f32);
            (0.5 * scale * dimer::reference::dot(&wide(params), &product)) as f32
        })
    }
}
