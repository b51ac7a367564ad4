//! The learning rate from curvature, as textbook operations.

use super::chains::Chains;
use super::operations::{Dispatch, Operands, Operation, Operations};
use super::{Slot, USAGE, Vectors};
use crate::config::{Config, RateProbe};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};
use crate::layout::Layout;
use crate::plan::RateMeasurement;

/// The chains of a rate from curvature, and its vectors.
#[derive(Debug)]
pub(super) struct RateChains {
    /// The update u and the probe along it, or the displacement of the last step; before the second gradient.
    before_probe: Vec<Dispatch>,
    /// Slope, curvature and the base rate.
    measure: Vec<Dispatch>,
    /// The rate of the step and what follows from it.
    apply: Vec<Dispatch>,
    keep_params: Vec<Dispatch>,
    keep_slope: Vec<Dispatch>,
}

impl RateChains {
    pub(super) fn new(
        gpu: &Gpu,
        layout: &Layout,
        config: &Config,
        probe: RateProbe,
        operations: &Operations,
        vectors: &Vectors,
    ) -> Result<Self> {
        let vector = |what| gpu.allocate(what, layout.bytes(), USAGE);
        // A step of its own, from zero, with moments of its own.
        let scratch = Vectors {
            params: GpuSlice::whole(vector("update")?),
            corrected: vector("corrected")?,
            first_moment: vector("first_moment")?,
            second_moment: vector("second_moment")?,
            ..vectors.clone()
        };
        let zeros = vector("zeros")?;
        let rates = Rates { chains: Chains { operations, vectors }, scratch: &scratch };
        let separate = probe == RateProbe::SeparateGradient;
        Ok(Self {
            before_probe: if separate { rates.place_probe(config, &zeros) } else { Vec::new() },
            measure: if separate { rates.measure_probe() } else { rates.measure_step() },
            apply: rates.apply(),
            keep_params: rates.keep_params(),
            keep_slope: rates.product_with_step(Slot::Slope),
        })
    }

    /// Between the gradient at θ and that at the probe; empty without a probe.
    pub(super) fn before_probe(&self, rate: RateMeasurement) -> &[Dispatch] {
        if rate == RateMeasurement::Complete { &self.before_probe } else { &[] }
    }

    /// After the gradients of the measurement, before the step.
    pub(super) fn before_step(&self, rate: RateMeasurement) -> Vec<&[Dispatch]> {
        match rate {
            RateMeasurement::None => vec![&self.apply],
            RateMeasurement::FirstHalf => vec![&self.apply, &self.keep_params],
            RateMeasurement::Complete => vec![&self.measure, &self.apply],
        }
    }

    pub(super) fn after_step(&self, rate: RateMeasurement) -> &[Dispatch] {
        if rate == RateMeasurement::FirstHalf { &self.keep_slope } else { &[] }
    }
}

struct Rates<'a> {
    chains: Chains<'a>,
    scratch: &'a Vectors,
}

impl Rates<'_> {
    /// u is where a step at a rate of 1 leads from zero; then probe = θ + δ u/‖u‖ with δ = displacement (1 + ‖θ‖).
    fn place_probe(&self, config: &Config, zeros: &wgpu::Buffer) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { params, probe, gradient, first_moment, second_moment, .. } = chains.vectors;
        let update = &scratch.params.buffer;
        let mut chain = vec![
            chains.copy(zeros, update),
            chains.copy(&gradient.buffer, &scratch.corrected),
            chains.copy(first_moment, &scratch.first_moment),
            chains.copy(second_moment, &scratch.second_moment),
        ];
        // A decay that is added to the gradient is part of the update, one that multiplies θ is not.
        if !config.base.is_decoupled() && config.weight_decay > 0.0 {
            chain.push(chains.axpy(Slot::Decay, &params.buffer, &scratch.corrected));
        }
        let alone = Config { weight_decay: 0.0, ..config.clone() };
        chain.extend(Chains { operations: chains.operations, vectors: scratch }.base(&alone));
        chain.extend(chains.dot(update, update, Slot::Squares));
        chain.push(self.scalar(Operation::SqrtScalar, Slot::Squares, Slot::One, Slot::UpdateNorm));
        chain.extend(chains.dot(&params.buffer, &params.buffer, Slot::Squares));
        chain.extend([
            self.scalar(Operation::SqrtScalar, Slot::Squares, Slot::One, Slot::Squares),
            self.scalar(Operation::AddScalars, Slot::One, Slot::Squares, Slot::Squares),
            chains.multiply_scalars(Slot::RateDisplacement, Slot::Squares, Slot::Squares),
            self.scalar(Operation::DivideScalars, Slot::Squares, Slot::UpdateNorm, Slot::Reach),
            chains.copy(&params.buffer, &probe.buffer),
            chains.axpy(Slot::Reach, update, &probe.buffer),
        ]);
        chain
    }

    /// g·u, u·Hu = (g′ − g)·u ‖u‖/δ, q.
    fn measure_probe(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { gradient, probe_gradient, product, .. } = chains.vectors;
        let update = &scratch.params.buffer;
        let mut chain = vec![self.subtract(&probe_gradient.buffer, &gradient.buffer, product)];
        chain.extend(chains.dot(&gradient.buffer, update, Slot::Slope));
        chain.extend(chains.dot(product, update, Slot::StepCurvature));
        chain.push(self.divide(Slot::StepCurvature, Slot::Reach));
        chain.push(self.learning_rate());
        chain
    }

    /// With Δθ of the last step: g·u = g_old·Δθ / rate, u·Hu = (g_new − g_old)·Δθ / rate², q.
    fn measure_step(&self) -> Vec<Dispatch> {
        let chains = &self.chains;
        let mut chain = self.product_with_step(Slot::StepCurvature);
        chain.extend([
            chains.multiply_scalars(Slot::MinusOne, Slot::Slope, Slot::Squares),
            self.scalar(
                Operation::AddScalars,
                Slot::StepCurvature,
                Slot::Squares,
                Slot::StepCurvature,
            ),
            self.divide(Slot::Slope, Slot::LearningRate),
            self.divide(Slot::StepCurvature, Slot::LearningRate),
            self.divide(Slot::StepCurvature, Slot::LearningRate),
            self.learning_rate(),
        ]);
        chain
    }

    /// rate = min(factor q, bound), −rate/(1 − β₁ᵗ), 1 − rate λ
    fn apply(&self) -> Vec<Dispatch> {
        let chains = &self.chains;
        vec![
            chains.multiply_scalars(Slot::RateFactor, Slot::BaseRate, Slot::LearningRate),
            self.scalar(
                Operation::MinScalars,
                Slot::LearningRate,
                Slot::RateBound,
                Slot::LearningRate,
            ),
            chains.multiply_scalars(Slot::MinusStep, Slot::LearningRate, Slot::MinusStep),
            chains.multiply_scalars(Slot::Decay, Slot::LearningRate, Slot::Keep),
            chains.multiply_scalars(Slot::MinusOne, Slot::Keep, Slot::Keep),
            self.scalar(Operation::AddScalars, Slot::One, Slot::Keep, Slot::Keep),
        ]
    }

    fn keep_params(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        vec![chains.copy(&chains.vectors.params.buffer, &scratch.params.buffer)]
    }

    /// g·Δθ
    fn product_with_step(&self, result: Slot) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { params, gradient, .. } = chains.vectors;
        let (moved, before) = (&scratch.corrected, &scratch.params.buffer);
        let mut chain = vec![self.subtract(&params.buffer, before, moved)];
        chain.extend(chains.dot(&gradient.buffer, moved, result));
        chain
    }

    fn learning_rate(&self) -> Dispatch {
        self.scalar(Operation::LearningRate, Slot::Slope, Slot::LogEstimates, Slot::BaseRate)
    }

    fn divide(&self, left: Slot, right: Slot) -> Dispatch {
        self.scalar(Operation::DivideScalars, left, right, left)
    }

    fn scalar(&self, operation: Operation, left: Slot, right: Slot, result: Slot) -> Dispatch {
        let operands = Operands {
            left: left as u32,
            right: right as u32,
            result: result as u32,
            ..Operands::default()
        };
        self.chains.operations.dispatch(operation, operands)
    }

    fn subtract(&self, x: &wgpu::Buffer, y: &wgpu::Buffer, out: &wgpu::Buffer) -> Dispatch {
        let operands = Operands { x: Some(x), y: Some(y), out: Some(out), ..Operands::default() };
        self.chains.operations.dispatch(Operation::Subtract, operands)
    }
}
