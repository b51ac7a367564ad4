//! An orthogonal matrix as a product of reflections: cheap to apply to long vectors.

use dimer::reference::{dot, norm};

/// Q, a product of Householder reflections.
pub struct Reflections(Vec<Vec<f64>>);

impl Reflections {
    /// Reflects along each of `normals`, of any length above 0.
    pub fn new(normals: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let unit = |v: Vec<f64>| {
            let length = norm(&v);
            v.into_iter().map(|x| x / length).collect()
        };
        Self(normals.into_iter().map(unit).collect())
    }

    /// x ← Qx
    pub fn apply(&self, x: &mut [f64]) {
        self.0.iter().for_each(|v| reflect(x, v));
    }

    /// x ← Qᵀx
    pub fn apply_transposed(&self, x: &mut [f64]) {
        self.0.iter().rev().for_each(|v| reflect(x, v));
    }
}

fn reflect(x: &mut [f64], v: &[f64]) {
    let twice = 2.0 * dot(x, v);
    x.iter_mut().zip(v).for_each(|(x, v)| *x -= twice * v);
}
