//! Rayleigh–Ritz rotations in span{N, F} and span{N, F, P}, with explicit vectors.

use super::{Reference, dot, norm};
use crate::config::{Deterministic, Mode, RayleighRitz, Regime};

/// A direction and the Hessian along it.
#[derive(Clone, Debug)]
struct Pair {
    vector: Vec<f64>,
    product: Vec<f64>,
}

/// Σ cᵢ xᵢ
fn combine(coefficients: &[f64], pairs: &[Pair]) -> Pair {
    let sum = |part: fn(&Pair) -> &Vec<f64>| {
        let mut sum = vec![0.0; part(&pairs[0]).len()];
        for (c, pair) in coefficients.iter().zip(pairs) {
            sum.iter_mut().zip(part(pair)).for_each(|(sum, x)| *sum += c * x);
        }
        sum
    };
    Pair { vector: sum(|pair| &pair.vector), product: sum(|pair| &pair.product) }
}

impl Pair {
    fn scaled(&self, factor: f64) -> Self {
        combine(&[factor], std::slice::from_ref(self))
    }

    /// (HN − C N)/‖HN − C N‖ and C, ‖HN − C N‖; the force is zero at an eigenvector.
    fn force(&self) -> (Vec<f64>, f64, f64) {
        let curvature = dot(&self.vector, &self.product);
        let residual: Vec<f64> =
            self.product.iter().zip(&self.vector).map(|(hn, n)| hn - curvature * n).collect();
        let length = norm(&residual);
        let unit = residual.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect();
        (unit, curvature, length)
    }
}

impl Reference {
    /// `product` gives Hd along a direction, each at one gradient.
    pub(super) fn rotate_by_rayleigh_ritz(
        &mut self,
        seeks: Mode,
        ritz: RayleighRitz,
        g1: &[f64],
        mut product: impl FnMut(&Self, &[f64]) -> Vec<f64>,
    ) {
        let mut measure = |reference: &Self, vector: &[f64]| Pair {
            vector: vector.to_vec(),
            product: product(reference, vector),
        };
        let start = measure(self, &self.orientation.clone());
        let mut n = start.scaled(1.0 / norm(&start.vector));
        self.initial_curvature = dot(&n.vector, &n.product);
        let mut p = None;
        let most = match ritz.regime {
            Regime::Stochastic => 1,
            Regime::Deterministic(Deterministic { max_rotations, .. }) => max_rotations,
        };
        self.rotations = 0;
        let mut angle = f64::INFINITY;
        while self.rotations < most {
            let (force, curvature, residual) = n.force();
            if let Some(stop) = ritz.stop()
                && (residual <= stop.residual * curvature.abs() || angle <= stop.angle)
            {
                break;
            }
            let force = measure(self, &force);
            if ritz.aims() {
                // Until N has found negative curvature, the gradient is the better guess.
                let sought = seeks.sign() * self.curvature;
                let takes_gradient = self.curvatures.is_empty() || sought >= 0.0;
                let direction =
                    if takes_gradient { self.masked(g1) } else { self.direction.clone() };
                let length = norm(&direction);
                let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
                let unit: Vec<f64> = direction.iter().map(|p| inverse * p).collect();
                p = Some(measure(self, &unit));
            }
            let basis: Vec<Pair> = [n.clone(), force].into_iter().chain(p).collect();
            let (turned, direction) = extreme_ritz_pair(seeks, &basis);
            angle = dot(&n.vector, &turned.vector).clamp(-1.0, 1.0).acos();
            n = turned;
            p = Some(direction).filter(|_| ritz.direction);
            self.rotations += 1;
        }
        (_, self.curvature, self.residual) = n.force();
        self.orientation = n.vector;
        if let Some(pair) = p {
            self.direction = pair.vector;
        }
    }
}

/// The lowest Ritz pair in the span of `basis`, or the highest, whose first vector is N, and the direction P in
/// which it left N: its part along the other vectors.
fn extreme_ritz_pair(seeks: Mode, basis: &[Pair]) -> (Pair, Pair) {
    // Orthonormal vectors with, for each, its coefficients in the basis.
    let mut kept: Vec<(Pair, Vec<f64>)> = Vec::new();
    for (i, pair) in basis.iter().enumerate() {
        let mut coefficients = vec![0.0; basis.len()];
        coefficients[i] = 1.0;
        let (mut rest, whole) = (pair.clone(), norm(&pair.vector));
        for (q, of_q) in kept.iter().chain(&kept) {
            let overlap = dot(&q.vector, &rest.vector);
            rest = combine(&[1.0, -overlap], &[rest, q.clone()]);
            coefficients.iter_mut().zip(of_q).for_each(|(c, q)| *c -= overlap * q);
        }
        let left = norm(&rest.vector);
        // A vector that depends on those before it is dropped.
        if left > 1e-2 * whole {
            coefficients.iter_mut().for_each(|c| *c /= left);
            kept.push((rest.scaled(1.0 / left), coefficients));
        }
    }
    let half = 0.5 * seeks.sign();
    let entry =
        |a: &Pair, b: &Pair| half * (dot(&a.vector, &b.product) + dot(&b.vector, &a.product));
    let matrix: Vec<Vec<f64>> =
        kept.iter().map(|(a, _)| kept.iter().map(|(b, _)| entry(a, b)).collect()).collect();
    let y = lowest_eigenvector(matrix);
    let mut coefficients = vec![0.0; basis.len()];
    for (y, (_, of_q)) in y.iter().zip(&kept) {
        coefficients.iter_mut().zip(of_q).for_each(|(c, q)| *c += y * q);
    }
    let sign = if coefficients[0] < 0.0 { -1.0 } else { 1.0 };
    coefficients.iter_mut().for_each(|c| *c *= sign);
    let turned = combine(&coefficients, basis);
    coefficients[0] = 0.0;
    let direction = combine(&coefficients, basis);
    let length = norm(&direction.vector);
    (turned, direction.scaled(if length > 0.0 { 1.0 / length } else { 0.0 }))
}

/// The eigenvector of the lowest eigenvalue of a small symmetric matrix, by cyclic Jacobi.
fn lowest_eigenvector(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let size = a.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..20 {
        for p in 0..size {
            for q in p + 1..size {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                let turn = |x: f64, y: f64| (c * x - s * y, s * x + c * y);
                for row in &mut a {
                    (row[p], row[q]) = turn(row[p], row[q]);
                }
                for k in 0..size {
                    (a[p][k], a[q][k]) = turn(a[p][k], a[q][k]);
                    (vectors[p][k], vectors[q][k]) = turn(vectors[p][k], vectors[q][k]);
                }
            }
        }
    }
    let lowest = (0..size).min_by(|&i, &j| a[i][i].total_cmp(&a[j][j])).unwrap_or(0);
    vectors.swap_remove(lowest)
}
