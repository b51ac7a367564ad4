//! Both ends of the spectrum of the Hessian over many minibatches, by Lanczos: what a dimer on single minibatches is
//! compared with.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use nalgebra::{DMatrix, DVector};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::data::Minibatch;
use crate::model::Gpt;

/// Distance of the two gradients of a product.
const DISTANCE: f64 = 0.03;

/// The Hessian of the mean loss over some minibatches.
pub struct Hessian<'a> {
    pub module: &'a Gpt,
    pub minibatches: &'a [Minibatch],
}

/// An eigenvalue, and a bound of its error.
#[derive(Clone, Copy, Debug)]
pub struct Eigenvalue {
    pub value: f64,
    pub error: f64,
}

impl Hessian<'_> {
    /// v·Hv for a unit vector v, in the order of the module's parameters.
    pub fn curvature(&self, vector: &DVector<f64>) -> f64 {
        vector.dot(&self.product(vector))
    }

    /// The lowest and the highest eigenvalue, after `iterations` products (Lanczos 1950, with full
    /// reorthogonalisation).
    pub fn ends(&self, iterations: usize) -> [Eigenvalue; 2] {
        let mut rng = StdRng::seed_from_u64(0);
        let len = self.module.num_params();
        let mut next = DVector::from_fn(len, |_, _| rng.random_range(-1.0..1.0)).normalize();
        let mut basis: Vec<DVector<f64>> = Vec::new();
        let mut tridiagonal = DMatrix::zeros(iterations, iterations);
        let mut rest = 0.0;
        for i in 0..iterations {
            basis.push(next.clone());
            next = self.product(&next);
            tridiagonal[(i, i)] = basis[i].dot(&next);
            for _ in 0..2 {
                for vector in &basis {
                    next.axpy(-vector.dot(&next), vector, 1.0);
                }
            }
            rest = next.norm();
            next /= rest;
            if i + 1 < iterations {
                (tridiagonal[(i, i + 1)], tridiagonal[(i + 1, i)]) = (rest, rest);
            }
        }
        let found = tridiagonal.symmetric_eigen();
        // The residual of a Ritz pair is the last element of its vector times what is left.
        let pair = |i: usize| Eigenvalue {
            value: found.eigenvalues[i],
            error: (rest * found.eigenvectors[(iterations - 1, i)]).abs(),
        };
        [pair(found.eigenvalues.imin()), pair(found.eigenvalues.imax())]
    }

    /// Hv by central differences.
    fn product(&self, vector: &DVector<f64>) -> DVector<f64> {
        (self.gradient(vector, DISTANCE) - self.gradient(vector, -DISTANCE)) / (2.0 * DISTANCE)
    }

    /// The mean gradient at `distance` from the parameters.
    fn gradient(&self, direction: &DVector<f64>, distance: f64) -> DVector<f64> {
        let mut displace = Displace { direction: direction.as_slice(), distance };
        let module = self.module.clone().map(&mut displace);
        let mut sum = DVector::zeros(direction.len());
        for (x, y) in self.minibatches {
            let gradients = module.loss(x.clone(), y.clone()).backward();
            let mut flatten = Flatten { gradients, found: Vec::new() };
            module.visit(&mut flatten);
            sum += DVector::from_vec(flatten.found);
        }
        sum / self.minibatches.len() as f64
    }
}

/// Moves each parameter along its part of a direction.
struct Displace<'a> {
    /// That of the parameters to come.
    direction: &'a [f64],
    distance: f64,
}

impl ModuleMapper for Displace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (here, rest) = self.direction.split_at(tensor.dims().iter().product());
        self.direction = rest;
        let step: Vec<f32> = here.iter().map(|x| (self.distance * x) as f32).collect();
        let tensor = tensor.inner();
        let step = Tensor::from_data(TensorData::new(step, tensor.dims()), &tensor.device());
        Param::from_mapped_value(id, (tensor + step).autodiff().require_grad(), mapper)
    }
}

/// Puts the gradients of all parameters into one vector.
struct Flatten {
    gradients: Gradients,
    found: Vec<f64>,
}

impl ModuleVisitor for Flatten {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        match tensor.grad_remove(&mut self.gradients) {
            Some(gradient) => self.found.extend(gradient.into_data().iter::<f64>()),
            None => self.found.extend(vec![0.0; tensor.dims().iter().product()]),
        }
    }
}
