//! Symmetric matrices with a known spectrum.

use dimer::{Evaluation, HessianProduct, HostObjective, Objective};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::common::wide;
use crate::problems::Reflections;

/// A symmetric matrix with a known spectrum: Qᵀ diag(λ) Q, with Q a product of reflections.
pub struct Matrix {
    eigenvalues: Vec<f64>,
    turn: Reflections,
}

impl Matrix {
    pub fn new(rng: &mut StdRng, eigenvalues: Vec<f64>) -> Self {
        let normals: Vec<Vec<f64>> = (0..4)
            .map(|_| eigenvalues.iter().map(|_| rng.random_range(-1.0..1.0)).collect())
            .collect();
        Self { eigenvalues, turn: Reflections::new(normals) }
    }

    pub fn len(&self) -> usize {
        self.eigenvalues.len()
    }

    pub fn product(&self, x: &[f32]) -> Vec<f64> {
        self.product_wide(&wide(x))
    }

    pub fn product_wide(&self, x: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        self.turn.apply(&mut y);
        y.iter_mut().zip(&self.eigenvalues).for_each(|(y, h)| *y *= h);
        self.turn.apply_transposed(&mut y);
        y
    }

    /// scale · ½ θᵀHθ
    pub fn objective(&self, scale: f64) -> impl Objective {
        HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
            let product = self.product(params);
            gradient.iter_mut().zip(&product).for_each(|(g, h)| *g = (scale * h) as f32);
            (0.5 * scale * dimer::reference::dot(&wide(params), &product)) as f32
        })
        .deterministic()
    }
}

/// Spectra of a given size: apart, in clusters, several times the same, nothing at all, of one sign,
/// of both, and ill-conditioned.
pub fn spectra(len: usize) -> Vec<(&'static str, Vec<f64>)> {
    let part = |i: usize| i as f64 / len as f64;
    let all = |value: &dyn Fn(usize) -> f64| (0..len).map(value).collect::<Vec<f64>>();
    vec![
        ("apart", all(&|i| [-2.0, -1.5, -0.5].get(i).copied().unwrap_or(1.0 + 28.0 * part(i)))),
        ("clusters", all(&|i| if i < 4 { -1.0 + 1e-3 * i as f64 } else { 0.5 + part(i) })),
        ("fivefold", all(&|i| if i < 5 { -1.0 } else { i as f64 - 5.0 })),
        ("zero", all(&|_| 0.0)),
        ("identity", all(&|_| 1.0)),
        ("positive", all(&|i| i as f64 + 1.3)),
        ("both signs", all(&|i| 10.0 * part(i) - 5.0)),
        ("condition 10⁶", all(&|i| 10_f64.powf(6.0 * part(i) - 4.0))),
    ]
}

/// A quadratic with a cubic term, times ±1, with its products: no two evaluations are alike.
pub struct Signed<'a> {
    pub matrix: &'a Matrix,
    pub sign: f32,
}

impl Signed<'_> {
    /// The gradient is Hθ + θ²/10, and so the product Hd + θd/5.
    fn along(&self, theta: &[f32], direction: &[f32], cubic: f32) -> Vec<f32> {
        let product = self.matrix.product(direction);
        let elements = product.iter().zip(direction).zip(theta);
        elements.map(|((h, d), x)| self.sign * (*h as f32 + cubic * x * d)).collect()
    }
}

impl Objective for Signed<'_> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let theta = at.read_params()?;
        at.write_gradient(&self.along(&theta, &theta, 0.1))
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let (theta, direction) = at.read()?;
        at.write(&self.along(&theta, &direction, 0.2))
    }
}
