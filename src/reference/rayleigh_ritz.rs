//! Rayleigh–Ritz rotations in span{N, F} and span{N, F, P}, with explicit vectors.

use super::{Reference, dot, norm};
use crate::config::{FullBatch, Mode, RayleighRitz, Regime};

/// A direction and the Hessian along it.
#[derive(Clone, Debug)]
struct Pair {
    vector: Vec<f64>,
    product: Vec<f64>,
}

/// Σ cᵢ xᵢ
fn combine(coefficients: &[f64], pairs: &[&Pair]) -> Pair {
    let sum = |part: fn(&Pair) -> &Vec<f64>| {
        let mut sum = vec![0.0; part(pairs[0]).len()];
        for (c, pair) in coefficients.iter().zip(pairs) {
            sum.iter_mut().zip(part(pair)).for_each(|(sum, x)| *sum += c * x);
        }
        sum
    };
    Pair { vector: sum(|pair| &pair.vector), product: sum(|pair| &pair.product) }
}

impl Pair {
    fn scaled(&self, factor: f64) -> Self {
        combine(&[factor], &[self])
    }

    /// Whether H has less of this force along N than HN has of N along the force.
    fn is_error_of(&self, n: &Self) -> bool {
        dot(&n.vector, &self.product).abs() < 0.5 * dot(&self.vector, &n.product).abs()
    }

    /// N·HN and ‖HN − (N·HN) N‖.
    fn curvature_and_residual(&self) -> (f64, f64) {
        let curvature = dot(&self.vector, &self.product);
        let residual = |(hn, n): (&f64, &f64)| hn - curvature * n;
        let residual: Vec<f64> = self.product.iter().zip(&self.vector).map(residual).collect();
        (curvature, norm(&residual))
    }

    /// HN less its part along N and, where there is one, along P, of unit length; zero at an eigenvector.
    fn force(&self, p: Option<&Self>) -> Vec<f64> {
        let mut force = self.product.clone();
        for vector in [Some(self), p].into_iter().flatten().map(|pair| &pair.vector) {
            let along = dot(vector, &self.product);
            force.iter_mut().zip(vector).for_each(|(force, x)| *force -= along * x);
        }
        let length = norm(&force);
        force.iter_mut().for_each(|x| *x = if length > 0.0 { *x / length } else { 0.0 });
        force
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
        let mut p: Option<Pair> = None;
        let most = match ritz.regime {
            Regime::Stochastic => 1,
            Regime::FullBatch(FullBatch { max_rotations, .. }) => max_rotations,
        };
        self.rotations = 0;
        let mut angle = f64::INFINITY;
        // Whether the force is mostly the error of HN, so that N is measured again in its place.
        let mut again = false;
        while self.rotations < most {
            let (curvature, residual) = n.curvature_and_residual();
            if let Some(stop) = ritz.stop()
                && (residual <= stop.residual * curvature.abs() || angle <= stop.angle)
            {
                break;
            }
            self.rotations += 1;
            if again {
                n = measure(self, &n.vector);
                (again, angle) = (false, f64::INFINITY);
                continue;
            }
            let force = measure(self, &n.force(p.as_ref()));
            let basis: Vec<&Pair> = if ritz.keeps_direction() {
                // Until N has found negative curvature, the gradient is the better guess.
                let sought = seeks.sign() * self.curvature;
                let takes_gradient = self.curvatures.is_empty() || sought >= 0.0;
                let direction =
                    if takes_gradient { self.masked(g1) } else { self.direction.clone() };
                let length = norm(&direction);
                let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
                let unit: Vec<f64> = direction.iter().map(|p| inverse * p).collect();
                vec![&n, &force, &*p.insert(measure(self, &unit))]
            } else {
                [&n].into_iter().chain(&p).chain([&force]).collect()
            };
            let turn = turn(seeks, &basis, ritz.keeps_direction());
            again = !ritz.keeps_direction() && (turn.dropped_last || force.is_error_of(&n));
            angle = dot(&n.vector, &turn.n.vector).clamp(-1.0, 1.0).acos();
            n = turn.n;
            p = Some(turn.p).filter(|_| ritz.direction);
        }
        (self.curvature, self.residual) = n.curvature_and_residual();
        self.orientation = n.vector;
        if let Some(pair) = p {
            self.direction = pair.vector;
        }
    }
}

/// Which share of a vector must lie outside those before it: where every product is new, and where some are carried
/// and a force that is not orthogonal to N shows the error of HN.
const NEW: f64 = 0.1;
const CARRIED: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// The extreme Ritz pair, and the direction in which it left the old N.
struct Turn {
    n: Pair,
    /// Where every product is new, the part of the new N along the vectors other than the old, of unit length; else the
    /// old N made orthogonal to the new one.
    p: Pair,
    /// Whether the last vector depends on those before it.
    dropped_last: bool,
}

/// The lowest Ritz pair in the span of `basis`, or the highest, whose first vector is N.
fn turn(seeks: Mode, basis: &[&Pair], all_new: bool) -> Turn {
    let share = if all_new { NEW } else { CARRIED };
    // Orthonormal vectors with, for each, its coefficients in the basis.
    let mut kept: Vec<(Pair, Vec<f64>)> = Vec::new();
    let mut dropped_last = false;
    for (i, pair) in basis.iter().enumerate() {
        let mut coefficients = vec![0.0; basis.len()];
        coefficients[i] = 1.0;
        let (mut rest, whole) = ((*pair).clone(), norm(&pair.vector));
        for (q, of_q) in kept.iter().chain(&kept) {
            let overlap = dot(&q.vector, &rest.vector);
            rest = combine(&[1.0, -overlap], &[&rest, q]);
            coefficients.iter_mut().zip(of_q).for_each(|(c, q)| *c -= overlap * q);
        }
        let left = norm(&rest.vector);
        dropped_last = left <= share * whole;
        if !dropped_last {
            coefficients.iter_mut().for_each(|c| *c /= left);
            kept.push((rest.scaled(1.0 / left), coefficients));
        }
    }
    let half = 0.5 * seeks.sign();
    let entry =
        |a: &Pair, b: &Pair| half * (dot(&a.vector, &b.product) + dot(&b.vector, &a.product));
    let matrix: Vec<Vec<f64>> =
        kept.iter().map(|(a, _)| kept.iter().map(|(b, _)| entry(a, b)).collect()).collect();
    let mut y = lowest_eigenvector(matrix);
    if y[0] < 0.0 {
        y.iter_mut().for_each(|y| *y = -*y);
    }
    let orthonormal: Vec<&Pair> = kept.iter().map(|(q, _)| q).collect();
    let p = if all_new {
        let mut coefficients = vec![0.0; basis.len()];
        for (y, (_, of_q)) in y.iter().zip(&kept) {
            coefficients.iter_mut().zip(of_q).for_each(|(c, q)| *c += y * q);
        }
        coefficients[0] = 0.0;
        let outside = combine(&coefficients, basis);
        let length = norm(&outside.vector);
        outside.scaled(if length > 0.0 { 1.0 / length } else { 0.0 })
    } else {
        let turned = norm(&y[1..]);
        let mut plane = vec![0.0; y.len()];
        if turned > 0.0 {
            plane.iter_mut().zip(&y).for_each(|(x, y_i)| *x = y[0] / turned * y_i);
            plane[0] = -turned;
        } else if basis.len() > 2 && plane.len() > 1 {
            // N has not turned, and the old P stays.
            plane[1] = 1.0;
        }
        combine(&plane, &orthonormal)
    };
    Turn { n: combine(&y, &orthonormal), p, dropped_last }
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
