//! The trace and the density of the spectrum, estimated from random vectors.

use super::Spectrum;
use super::basis::Basis;
use crate::config::validate_sampling;
use crate::error::{Error, Result};
use crate::gpu::Wait;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::kernels::gpu_types::Results;
use crate::objective::Objective;
use crate::plan::program::Program;
use crate::plan::spectrum::LanczosPlan;
use crate::state::orientation;

/// A mean over random vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Standard deviation over the vectors by the root of their number; infinite for one vector. It knows nothing of the
    /// errors of the products, which are those of [`Eigenpair::error`](crate::Eigenpair::error) for random directions.
    pub standard_error: f64,
}

/// One node of a quadrature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// λ, in loss per parameter².
    pub eigenvalue: f64,
    /// The share of all eigenvalues that it stands for, ≥ 0; those of one vector add up to 1.
    pub weight: f64,
}

/// The density of the spectrum; see [`Spectrum::density`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Density {
    /// tr H, as of [`Spectrum::trace`].
    pub trace: Estimate,
    /// For each random vector the nodes of its quadrature, by their eigenvalue, the lowest first: at most as many as the
    /// Lanczos method took steps.
    pub vectors: Vec<Vec<Node>>,
}

impl Density {
    /// All nodes by their eigenvalue, the lowest first, their weights divided by the number of vectors so that they add up
    /// to 1.
    pub fn nodes(&self) -> Vec<Node> {
        let count = self.vectors.len() as f64;
        let nodes = self.vectors.iter().flatten();
        let mut nodes: Vec<Node> =
            nodes.map(|node| Node { weight: node.weight / count, ..*node }).collect();
        nodes.sort_by(|a, b| a.eigenvalue.total_cmp(&b.eigenvalue));
        nodes
    }

    /// The share of eigenvalues per unit at `eigenvalue`, each spread over a normal distribution with the standard
    /// deviation `width`, > 0: one hundredth of the range of all is usual in pictures.
    pub fn smoothed(&self, eigenvalue: f64, width: f64) -> Estimate {
        let height = (width * std::f64::consts::TAU.sqrt()).recip();
        let at = |node: &Node| {
            let distance = (eigenvalue - node.eigenvalue) / width;
            node.weight * height * (-0.5 * distance * distance).exp()
        };
        mean(self.vectors.iter().map(|nodes| nodes.iter().map(at).sum()))
    }
}

impl Spectrum<'_> {
    /// tr H of the elements under the dimer, from products along this many random vectors of ±1 (Hutchinson 1989,
    /// Commun. Stat. Simul. Comput. 18, 1059), at least 1. Every call draws new ones.
    ///
    /// The standard deviation of one is √(2 Σᵢⱼ Hᵢⱼ²) without the diagonal. It costs one gradient for each vector, two with
    /// central differences, and one at θ unless products are exact; if the distance of the probes is not yet known, also
    /// those of its search, with four rotations. Beside the modes it takes two vectors of memory.
    ///
    /// # Errors
    /// The same as for [`Spectrum::density`].
    #[cfg(not(target_family = "wasm"))]
    pub fn trace(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
    ) -> Result<Estimate> {
        Ok(self.density(objective, vectors, 1)?.trace)
    }

    /// The asynchronous twin of [`Spectrum::trace`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::density`].
    pub async fn trace_async(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
    ) -> Result<Estimate> {
        Ok(self.density_async(objective, vectors, 1).await?.trace)
    }

    /// The density of the spectrum by stochastic Lanczos quadrature (Golub, Welsch 1969, Math. Comput. 23, 221; Ubaru, Chen,
    /// Saad 2017, SIAM J. Matrix Anal. Appl. 38, 1075): from each of `vectors` random vectors of ±1, at least 1, the Lanczos
    /// method takes `steps` steps, from 1 to 128, with full orthogonalization, on the GPU. The eigenvalues of its
    /// tridiagonal matrix are the nodes of a Gaussian quadrature of the spectrum. Every call draws new vectors.
    ///
    /// It costs `steps` gradients for each vector, twice as many with central differences, and one at θ unless products are
    /// exact; if the distance of the probes is not yet known, also those of its search, with four rotations. Beside the
    /// modes it takes `steps` + 1 vectors of memory, and one wait for each random vector.
    ///
    /// Eigenvalues that are smaller than the errors of a product cannot be told from zero, and few random vectors tell little
    /// of single eigenvalues inside the spectrum. A quadrature ends where less than a thousandth of a product is left outside
    /// the vectors before it: nodes are then off by at most that much of the product, and the steps that are left still cost
    /// their gradients, along zero.
    ///
    /// ```
    /// # use dimer::{Config, Dimer, Gpu, HostObjective, Layout, Optimizer, Spectrum};
    /// // ½ Σ hᵢ θᵢ² with h = 1 for one half of the parameters and 3 for the others.
    /// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
    ///     for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
    ///         *g = if i < 50 { *x } else { 3.0 * x };
    ///     }
    ///     0.0
    /// });
    /// let config = Config { dimer: Some(Dimer::default()), ..Config::default() };
    /// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(100)?, config, &[0.5; 100])?;
    /// let density = Spectrum::new(&mut optimizer, 1, 0)?.density(&mut objective, 2, 10)?;
    /// assert!((density.trace.value - 200.0).abs() < 0.1);
    /// let low: f64 = density.nodes().iter().filter(|node| node.eigenvalue < 2.0).map(|node| node.weight).sum();
    /// assert!((low - 0.5).abs() < 1e-3);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for numbers out of range; what the objective returns; [`Error::NonFinite`] if a gradient
    /// was not; [`Error::LimitTooSmall`], [`Error::OutOfMemory`], [`Error::Rejected`], [`Error::TooManySkips`],
    /// [`Error::TooManyPendingSteps`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn density(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
        steps: u32,
    ) -> Result<Density> {
        block_on(self.density_with(objective, vectors, steps, Wait::Block))
    }

    /// The asynchronous twin of [`Spectrum::density`].
    ///
    /// # Errors
    /// The same as for [`Spectrum::density`].
    pub async fn density_async(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
        steps: u32,
    ) -> Result<Density> {
        self.density_with(objective, vectors, steps, Wait::Yield).await
    }

    async fn density_with(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
        steps: u32,
        wait: Wait,
    ) -> Result<Density> {
        let lanczos = self.begin_vectors(objective, vectors, steps, wait).await?;
        let mut found = Vec::new();
        for _ in 0..vectors {
            self.next_vector(&lanczos, objective, wait).await?;
            let bytes = self.optimizer.gpu.read(&lanczos.basis.found(), wait).await?;
            found.push(self.matrix(&lanczos, &bytes)?);
        }
        Ok(self.density_of(found))
    }

    /// What does not depend on the random vector: memory, the gradient at θ, the distance of the probes.
    async fn begin_vectors(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        vectors: u32,
        steps: u32,
        wait: Wait,
    ) -> Result<Lanczos> {
        validate_sampling(vectors, steps)?;
        let steps = (steps as usize).min(self.optimizer.layout.dimer_len());
        let plan = LanczosPlan::new(&self.plan, steps);
        let (room, arguments) = (plan.vectors(), plan.arguments());
        let basis = Basis::new(self.optimizer, room, plan.sums(), &arguments, arguments.len())?;
        let before = self.plan.before_vectors(!self.has_distance());
        // The rotations before a search move the modes.
        self.has_modes &= self.has_distance();
        let what = self.words(&format!("{vectors} vectors of {steps} steps"));
        self.basis.play(self.optimizer, objective, &before, Some(&what), wait).await?;
        self.found_distance(self.plan.has_probes());
        basis.copy_distance(&self.optimizer.gpu, &self.basis)?;
        Ok(Lanczos { steps, program: plan.program(), basis })
    }

    /// The Lanczos method from the next random vector.
    async fn next_vector(
        &mut self,
        lanczos: &Lanczos,
        objective: &mut (impl Objective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        // Behind the streams that the modes begin with.
        let seed = self.stream(self.plan.modes as u64 + self.drawn);
        self.drawn += 1;
        let vector = orientation::signs(&self.optimizer.layout, seed);
        lanczos.basis.write(&self.optimizer.gpu, 0, &vector);
        lanczos.basis.play(self.optimizer, objective, &lanczos.program, None, wait).await
    }

    /// The tridiagonal matrix that the kernels have found, up to where nothing was left of the next vector.
    fn matrix(&self, lanczos: &Lanczos, bytes: &[u8]) -> Result<Tridiagonal> {
        let results: Results = bytemuck::pod_read_unaligned(bytes);
        let steps = lanczos.steps;
        let wide = |found: &[f32]| found.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let mut diagonal = wide(&results.diagonal[..steps]);
        let mut off_diagonal = wide(&results.off_diagonal[1..steps]);
        if let Some(&value) = diagonal.iter().chain(&off_diagonal).find(|x| !x.is_finite()) {
            // The search for the distance may have met the same.
            self.found_distance(false);
            return Err(Error::NonFinite { what: "a product", index: 0, value: value as f32 });
        }
        let end = off_diagonal.iter().position(|&x| x == 0.0).unwrap_or(off_diagonal.len());
        diagonal.truncate(end + 1);
        off_diagonal.truncate(end);
        Ok(Tridiagonal { diagonal, off_diagonal })
    }

    fn density_of(&self, found: Vec<Tridiagonal>) -> Density {
        let len = self.optimizer.layout.dimer_len() as f64;
        Density {
            trace: mean(found.iter().map(|matrix| len * matrix.diagonal[0])),
            vectors: found.into_iter().map(Tridiagonal::quadrature).collect(),
        }
    }
}

/// The Lanczos method on the GPU.
struct Lanczos {
    steps: usize,
    /// From one random vector.
    program: Program,
    basis: Basis,
}

/// A symmetric tridiagonal matrix.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// One less.
    off_diagonal: Vec<f64>,
}

/// Most iterations of [`Tridiagonal::quadrature`] for one eigenvalue; two or three are usual.
const ITERATIONS: usize = 64;

impl Tridiagonal {
    /// The eigenvalues, each with the square of the first element of its eigenvector: by implicit QL iterations with the
    /// shift of Wilkinson, of which only the first row of the eigenvectors is kept (Golub, Welsch 1969).
    fn quadrature(self) -> Vec<Node> {
        let Self { mut diagonal, mut off_diagonal } = self;
        let len = diagonal.len();
        off_diagonal.push(0.0);
        let mut first = vec![0.0; len];
        first[0] = 1.0;
        for low in 0..len {
            for _ in 0..ITERATIONS {
                // Where the matrix falls into two.
                let is_small = |i: usize| {
                    let neighbours = diagonal[i].abs() + diagonal[i + 1].abs();
                    off_diagonal[i].abs() <= f64::EPSILON * neighbours
                };
                let high = (low..len - 1).find(|&i| is_small(i)).unwrap_or(len - 1);
                if high == low {
                    break;
                }
                let half = 0.5 * (diagonal[low + 1] - diagonal[low]);
                let root = half.hypot(off_diagonal[low]).copysign(half);
                let shift = diagonal[low] - off_diagonal[low] * (off_diagonal[low] / (half + root));
                chase(&mut diagonal, &mut off_diagonal, &mut first, low..high, shift);
            }
        }
        let nodes = diagonal.into_iter().zip(first);
        let mut nodes: Vec<Node> =
            nodes.map(|(eigenvalue, x)| Node { eigenvalue, weight: x * x }).collect();
        nodes.sort_by(|a, b| a.eigenvalue.total_cmp(&b.eigenvalue));
        nodes
    }
}

/// One QL step on rows `range.start` to `range.end`, from the last to the first, by plane rotations.
fn chase(
    diagonal: &mut [f64],
    off_diagonal: &mut [f64],
    first: &mut [f64],
    range: std::ops::Range<usize>,
    shift: f64,
) {
    let high = range.end;
    let (mut bulge, mut leading) = (0.0, diagonal[high] - shift);
    for i in range.rev() {
        // The first rotation takes the shift out; each later one takes away what the one before it has left behind.
        let below = if i + 1 == high { off_diagonal[i] } else { bulge };
        let radius = leading.hypot(below);
        let (cos, sin) =
            if radius == 0.0 { (1.0, 0.0) } else { (leading / radius, below / radius) };
        if i + 1 < high {
            off_diagonal[i + 1] = radius;
        }
        let (upper, lower, between) = (diagonal[i], diagonal[i + 1], off_diagonal[i]);
        diagonal[i + 1] = cos * cos * lower + 2.0 * cos * sin * between + sin * sin * upper;
        diagonal[i] = sin * sin * lower - 2.0 * cos * sin * between + cos * cos * upper;
        off_diagonal[i] = cos * sin * (upper - lower) + (cos * cos - sin * sin) * between;
        leading = off_diagonal[i];
        if i > 0 {
            bulge = sin * off_diagonal[i - 1];
            off_diagonal[i - 1] *= cos;
        }
        (first[i], first[i + 1]) =
            (cos * first[i] - sin * first[i + 1], sin * first[i] + cos * first[i + 1]);
    }
}

/// Mean and its standard error.
fn mean(samples: impl Iterator<Item = f64> + Clone) -> Estimate {
    let count = samples.clone().count() as f64;
    let value = samples.clone().sum::<f64>() / count;
    let squares: f64 = samples.map(|x| (x - value) * (x - value)).sum();
    let standard_error =
        if count > 1.0 { (squares / (count * (count - 1.0))).sqrt() } else { f64::INFINITY };
    Estimate { value, standard_error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::random::SplitMix;

    /// Against nalgebra: random matrices, equal entries, zeros between, entries far apart.
    #[test]
    fn quadrature_matches_nalgebra() {
        let mut random = SplitMix::new(1);
        for case in 0..400 {
            let len = 1 + case % 24 + 100 * usize::from(case % 40 == 0);
            let mut entry = |kind: usize| match kind {
                0 => random.normal(),
                1 => 2.0,
                2 => random.normal() * 10_f64.powf(3.0 * random.normal()),
                _ => f64::from(random.below(2)) * random.normal(),
            };
            let diagonal: Vec<f64> = (0..len).map(|_| entry(case / 24 % 4)).collect();
            let off_diagonal: Vec<f64> = (1..len).map(|_| entry(case / 96 % 4)).collect();
            let matrix = nalgebra::DMatrix::from_fn(len, len, |i, j| match i.abs_diff(j) {
                0 => diagonal[i],
                1 => off_diagonal[i.min(j)],
                _ => 0.0,
            });
            let scale = matrix.norm();
            let truth = nalgebra::SymmetricEigen::new(matrix.clone());
            let mut expected: Vec<f64> = truth.eigenvalues.iter().copied().collect();
            expected.sort_by(f64::total_cmp);
            let nodes = Tridiagonal { diagonal, off_diagonal }.quadrature();
            for (node, expected) in nodes.iter().zip(&expected) {
                let difference = (node.eigenvalue - expected).abs();
                assert!(difference <= 1e-13 * scale * len as f64, "{case}: {node:?} of {expected}");
            }
            // Weights of equal eigenvalues are not unique, but moments are: e·Tᵏe.
            let mut power = nalgebra::DVector::from_fn(len, |i, _| f64::from(u8::from(i == 0)));
            for moment in 0..4 {
                let found: f64 = nodes
                    .iter()
                    .map(|node| node.weight * (node.eigenvalue / scale).powi(moment))
                    .sum();
                assert!((found - power[0]).abs() <= 1e-12 * len as f64, "{case}: moment {moment}");
                power = &matrix * power / scale;
            }
        }
    }
}
