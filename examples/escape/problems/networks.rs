//! Small models whose training starts near a saddle at zero.

use nalgebra::{DMatrix, DVector};
use rand::rngs::StdRng;

use super::{Problem, normal};

fn random_matrix(rng: &mut StdRng, rows: usize, columns: usize) -> DMatrix<f64> {
    DMatrix::from_vec(rows, columns, normal(rng, rows * columns))
}

fn random_orthogonal(rng: &mut StdRng, size: usize) -> DMatrix<f64> {
    random_matrix(rng, size, size).qr().q()
}

/// Matrices of the given shapes from consecutive elements of `params`.
fn unpack<const N: usize>(params: &[f64], shapes: [(usize, usize); N]) -> [DMatrix<f64>; N] {
    let mut offset = 0;
    shapes.map(|(rows, columns)| {
        let matrix = DMatrix::from_column_slice(rows, columns, &params[offset..][..rows * columns]);
        offset += rows * columns;
        matrix
    })
}

fn pack(gradient: &mut [f64], parts: &[DMatrix<f64>]) {
    let values = parts.iter().flat_map(DMatrix::iter);
    gradient.iter_mut().zip(values).for_each(|(g, value)| *g = *value);
}

fn small(rng: &mut StdRng, len: usize, scale: f64) -> Vec<f64> {
    normal(rng, len).iter().map(|x| scale * x).collect()
}

const SINGULAR_VALUES: [f64; 5] = [3.0, 2.0, 1.5, 1.0, 0.5];

/// ½‖W₃W₂W₁ − M‖² for three layers of 20×20 and M of rank 5, from 10⁻³.
pub fn deep_linear(rng: &mut StdRng) -> Problem {
    const SIZE: usize = 20;
    const SHAPES: [(usize, usize); 3] = [(SIZE, SIZE); 3];
    let (left, right) = (random_orthogonal(rng, SIZE), random_orthogonal(rng, SIZE));
    let mut values = DVector::zeros(SIZE);
    values.rows_mut(0, 5).copy_from_slice(&SINGULAR_VALUES);
    let wanted = left * DMatrix::from_diagonal(&values) * right.transpose();
    let len = 3 * SIZE * SIZE;
    Problem {
        name: "deep linear",
        len,
        target: 1e-3 * 0.5 * wanted.norm_squared(),
        start: Box::new(move |rng| small(rng, len, 1e-3)),
        function: Box::new(move |params, gradient| {
            let [w1, w2, w3] = unpack(params, SHAPES);
            let (w32, w21) = (&w3 * &w2, &w2 * &w1);
            let error = &w3 * &w21 - &wanted;
            let parts =
                [w32.tr_mul(&error), w3.tr_mul(&error) * w1.transpose(), &error * w21.transpose()];
            pack(gradient, &parts);
            0.5 * error.norm_squared()
        }),
    }
}

/// ¼‖UUᵀ − M‖² for U of 50×5 and M of rank 5, from 10⁻⁴.
pub fn matrix_factorisation(rng: &mut StdRng) -> Problem {
    const SIZE: usize = 50;
    const RANK: usize = 5;
    let basis = random_orthogonal(rng, SIZE).columns(0, RANK).into_owned();
    let values = DMatrix::from_diagonal(&DVector::from_row_slice(&SINGULAR_VALUES));
    let wanted = &basis * values * basis.transpose();
    Problem {
        name: "matrix factorisation",
        len: SIZE * RANK,
        target: 1e-4 * 0.25 * wanted.norm_squared(),
        start: Box::new(|rng| small(rng, SIZE * RANK, 1e-4)),
        function: Box::new(move |params, gradient| {
            let [u] = unpack(params, [(SIZE, RANK)]);
            let error = &u * u.transpose() - &wanted;
            pack(gradient, &[&error * &u]);
            0.25 * error.norm_squared()
        }),
    }
}

/// ¼ mean((aᵢ·θ)² − (aᵢ·x)²)² for 300 Gaussian aᵢ in 50 dimensions and |x| = 1, from 10⁻³.
pub fn phase_retrieval(rng: &mut StdRng) -> Problem {
    const SIZE: usize = 50;
    const MEASUREMENTS: usize = 300;
    let directions = random_matrix(rng, MEASUREMENTS, SIZE);
    let hidden = DVector::from_vec(normal(rng, SIZE)).normalize();
    let measured = (&directions * hidden).map(|x| x * x);
    let count = MEASUREMENTS as f64;
    Problem {
        name: "phase retrieval",
        len: SIZE,
        target: 1e-5 * 0.25 * measured.norm_squared() / count,
        start: Box::new(|rng| small(rng, SIZE, 1e-3 / (SIZE as f64).sqrt())),
        function: Box::new(move |params, gradient| {
            let seen = &directions * DVector::from_column_slice(params);
            let error = seen.map(|x| x * x) - &measured;
            let slope = directions.tr_mul(&error.component_mul(&seen)) / count;
            gradient.copy_from_slice(slope.as_slice());
            0.25 * error.norm_squared() / count
        }),
    }
}

/// ½ mean ‖tanh(x W₁) W₂ − x‖² over 100 points near a plane of 5 in 10 dimensions, from 10⁻³.
pub fn autoencoder(rng: &mut StdRng) -> Problem {
    const POINTS: usize = 100;
    const SIZE: usize = 10;
    const HIDDEN: usize = 5;
    const SHAPES: [(usize, usize); 2] = [(SIZE, HIDDEN), (HIDDEN, SIZE)];
    let spread = DVector::from_row_slice(&[1.0, 0.8, 0.6, 0.45, 0.3]);
    let plane = random_orthogonal(rng, SIZE).rows(0, HIDDEN).into_owned();
    let points = random_matrix(rng, POINTS, HIDDEN) * DMatrix::from_diagonal(&spread) * plane
        + 0.02 * random_matrix(rng, POINTS, SIZE);
    let count = POINTS as f64;
    Problem {
        name: "tanh autoencoder",
        len: 2 * SIZE * HIDDEN,
        target: 1e-2 * 0.5 * points.norm_squared() / count,
        start: Box::new(|rng| small(rng, 2 * SIZE * HIDDEN, 1e-3)),
        function: Box::new(move |params, gradient| {
            let [encoder, decoder] = unpack(params, SHAPES);
            let hidden = (&points * encoder).map(f64::tanh);
            let error = (&hidden * &decoder - &points) / count;
            let slope = hidden.map(|x| 1.0 - x * x);
            let back = (&error * decoder.transpose()).component_mul(&slope);
            pack(gradient, &[points.tr_mul(&back), hidden.tr_mul(&error)]);
            0.5 * count * error.norm_squared()
        }),
    }
}
