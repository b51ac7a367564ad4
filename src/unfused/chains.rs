//! Which operations make one step, in which order.

use super::operations::{Dispatch, Operands, Operation, Operations};
use super::{Scalar, Vectors};
use crate::config::{Base, Config, Sgd};

/// The chains of operations of one step.
pub(super) struct Chains<'a> {
    pub operations: &'a Operations,
    pub vectors: &'a Vectors,
}

impl Chains<'_> {
    /// probe = θ + ΔR N
    pub(super) fn displace(&self) -> Vec<Dispatch> {
        let Vectors { params, probe, orientation, .. } = self.vectors;
        vec![
            self.copy(&params.buffer, &probe.buffer),
            self.axpy(Scalar::Distance, orientation, &probe.buffer),
        ]
    }

    /// a = (g₂ − g₁)/ΔR, C = N·a, F = a − C N, N = N − η F, N = N/‖N‖
    pub(super) fn rotate(&self) -> Vec<Dispatch> {
        let Vectors { gradient, probe_gradient, orientation, product, force, .. } = self.vectors;
        let operands = Operands {
            x: Some(&probe_gradient.buffer),
            y: Some(&gradient.buffer),
            out: Some(product),
            ..Operands::default()
        };
        let mut chain = vec![
            self.operations.dispatch(Operation::Subtract, operands),
            self.scale(Scalar::InverseDistance, product),
        ];
        chain.extend(self.dot(orientation, product, Scalar::Curvature));
        chain.extend([
            self.multiply_scalars(Scalar::MinusOne, Scalar::Curvature, Scalar::MinusCurvature),
            self.copy(product, force),
            self.axpy(Scalar::MinusCurvature, orientation, force),
            self.axpy(Scalar::MinusRate, force, orientation),
        ]);
        chain.extend(self.dot(orientation, orientation, Scalar::Squares));
        let root = Operands {
            left: Scalar::Squares as u32,
            result: Scalar::InverseNorm as u32,
            ..Operands::default()
        };
        chain.push(self.operations.dispatch(Operation::InverseSqrtScalar, root));
        chain.push(self.scale(Scalar::InverseNorm, orientation));
        chain
    }

    /// g = g₁ − α (g₁·N) N
    pub(super) fn correct(&self) -> Vec<Dispatch> {
        let Vectors { gradient, orientation, corrected, .. } = self.vectors;
        let mut chain = self.dot(&gradient.buffer, orientation, Scalar::Projection);
        chain.extend([
            self.multiply_scalars(Scalar::MinusAlpha, Scalar::Projection, Scalar::Correction),
            self.copy(&gradient.buffer, corrected),
            self.axpy(Scalar::Correction, orientation, corrected),
        ]);
        chain
    }

    /// g = g₁
    pub(super) fn keep_gradient(&self) -> Vec<Dispatch> {
        vec![self.copy(&self.vectors.gradient.buffer, &self.vectors.corrected)]
    }

    /// The step from the corrected gradient.
    pub(super) fn base(&self, config: &Config) -> Vec<Dispatch> {
        match config.base {
            Base::Sgd(Sgd { momentum, nesterov }) => self.sgd(config, momentum > 0.0, nesterov),
            Base::Adam(_) => self.adam(config, false),
            Base::AdamW(_) => self.adam(config, true),
            Base::Lion(_) => self.lion(config),
            // Refused before.
            Base::Sophia(_) => Vec::new(),
        }
    }

    /// g = g + λ θ, m = μ m + g, θ = θ − lr m, or with Nesterov θ = θ − lr (g + μ m)
    fn sgd(&self, config: &Config, momentum: bool, nesterov: bool) -> Vec<Dispatch> {
        let Vectors { params, corrected, first_moment, .. } = self.vectors;
        let mut chain = self.coupled_decay(config);
        let mut step = corrected;
        if momentum {
            chain.push(self.scale(Scalar::Momentum, first_moment));
            chain.push(self.axpy(Scalar::One, corrected, first_moment));
            step = first_moment;
        }
        if nesterov {
            chain.push(self.axpy(Scalar::Momentum, first_moment, corrected));
            step = corrected;
        }
        chain.push(self.axpy(Scalar::MinusStep, step, &params.buffer));
        chain
    }

    /// m, v, then θ = θ − lr m̂ / (√v̂ + ε)
    fn adam(&self, config: &Config, decoupled: bool) -> Vec<Dispatch> {
        let Vectors { params, corrected, first_moment, second_moment, root, .. } = self.vectors;
        let mut chain = if decoupled && config.weight_decay > 0.0 {
            vec![self.scale(Scalar::Keep, &params.buffer)]
        } else if decoupled {
            Vec::new()
        } else {
            self.coupled_decay(config)
        };
        let with = |x, y, out, alpha: Scalar| Operands {
            x: Some(x),
            y,
            out: Some(out),
            alpha: alpha as u32,
            ..Operands::default()
        };
        let op = |operation, operands| self.operations.dispatch(operation, operands);
        chain.extend([
            op(Operation::Lerp, with(corrected, None, first_moment, Scalar::Beta1Complement)),
            self.scale(Scalar::Beta2, second_moment),
            op(
                Operation::MultiplyAdd,
                with(corrected, Some(corrected), second_moment, Scalar::Beta2Complement),
            ),
            op(
                Operation::Sqrt,
                Operands { x: Some(second_moment), out: Some(root), ..Operands::default() },
            ),
            self.scale(Scalar::RootCorrection, root),
            op(
                Operation::AddScalar,
                Operands { out: Some(root), alpha: Scalar::Epsilon as u32, ..Operands::default() },
            ),
            op(
                Operation::DivideAdd,
                with(first_moment, Some(root), &params.buffer, Scalar::MinusStep),
            ),
        ]);
        chain
    }

    /// θ = (1 − lr λ) θ, then θ = θ − lr sign(m + (1 − β₁)(g − m)), m = m + (1 − β₂)(g − m)
    fn lion(&self, config: &Config) -> Vec<Dispatch> {
        let Vectors { params, corrected, first_moment, force, root, .. } = self.vectors;
        let lerp = |out, alpha: Scalar| Operands {
            x: Some(corrected),
            out: Some(out),
            alpha: alpha as u32,
            ..Operands::default()
        };
        let op = |operation, operands| self.operations.dispatch(operation, operands);
        let sign = Operands { x: Some(force), out: Some(root), ..Operands::default() };
        let mut chain = Vec::new();
        if config.weight_decay > 0.0 {
            chain.push(self.scale(Scalar::Keep, &params.buffer));
        }
        chain.extend([
            self.copy(first_moment, force),
            op(Operation::Lerp, lerp(force, Scalar::Beta1Complement)),
            op(Operation::Sign, sign),
            self.axpy(Scalar::MinusStep, root, &params.buffer),
            op(Operation::Lerp, lerp(first_moment, Scalar::Beta2Complement)),
        ]);
        chain
    }

    fn coupled_decay(&self, config: &Config) -> Vec<Dispatch> {
        let Vectors { params, corrected, .. } = self.vectors;
        if config.weight_decay == 0.0 {
            return Vec::new();
        }
        vec![self.axpy(Scalar::Decay, &params.buffer, corrected)]
    }

    pub(super) fn copy(&self, x: &wgpu::Buffer, out: &wgpu::Buffer) -> Dispatch {
        let operands = Operands { x: Some(x), out: Some(out), ..Operands::default() };
        self.operations.dispatch(Operation::Copy, operands)
    }

    pub(super) fn axpy(&self, alpha: Scalar, x: &wgpu::Buffer, out: &wgpu::Buffer) -> Dispatch {
        let operands =
            Operands { x: Some(x), out: Some(out), alpha: alpha as u32, ..Operands::default() };
        self.operations.dispatch(Operation::Axpy, operands)
    }

    fn scale(&self, alpha: Scalar, out: &wgpu::Buffer) -> Dispatch {
        let operands = Operands { out: Some(out), alpha: alpha as u32, ..Operands::default() };
        self.operations.dispatch(Operation::Scale, operands)
    }

    pub(super) fn dot(&self, x: &wgpu::Buffer, y: &wgpu::Buffer, result: Scalar) -> Vec<Dispatch> {
        let operands =
            Operands { x: Some(x), y: Some(y), result: result as u32, ..Operands::default() };
        [Operation::Dot, Operation::Sum]
            .map(|operation| self.operations.dispatch(operation, operands))
            .into()
    }

    pub(super) fn multiply_scalars(&self, left: Scalar, right: Scalar, result: Scalar) -> Dispatch {
        let operands = Operands {
            left: left as u32,
            right: right as u32,
            result: result as u32,
            ..Operands::default()
        };
        self.operations.dispatch(Operation::MultiplyScalars, operands)
    }
}
