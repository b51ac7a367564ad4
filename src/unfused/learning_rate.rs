//! The learning rate from curvature, as textbook operations.

use super::chains::Chains;
use super::operations::{Dispatch, Operands, Operation, Operations};
use super::{Scalar, USAGE, Vectors};
use crate::config::{Base, Config, RateProbe};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};
use crate::layout::Layout;
use crate::plan::RateMeasurement;

/// The chains of a rate from curvature, and its vectors.
#[derive(Debug)]
pub(super) struct RateChains {
    /// The update u, and what is known of it.
    update_products: Vec<Dispatch>,
    /// The probe along it.
    place_probe: Vec<Dispatch>,
    /// Slope, curvature and the base rate.
    measure: Vec<Dispatch>,
    /// The rate of the step and what follows from it.
    apply: Vec<Dispatch>,
    /// Adds the rate to the moves since the measurement.
    keep_move: Vec<Dispatch>,
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
        // A step of its own, from zero, with moments of its own; and the parameters before a step.
        let scratch = Vectors {
            params: GpuSlice::whole(vector("update")?),
            probe: GpuSlice::whole(vector("previous_params")?),
            corrected: vector("corrected")?,
            first_moment: vector("first_moment")?,
            second_moment: vector("second_moment")?,
            ..vectors.clone()
        };
        let zeros = vector("zeros")?;
        let rates = Rates { chains: Chains { operations, vectors }, scratch: &scratch };
        let separate = probe == RateProbe::SeparateGradient;
        Ok(Self {
            update_products: rates.update_products(config, &zeros),
            place_probe: if separate { rates.place_probe() } else { Vec::new() },
            measure: if separate { rates.measure_probe() } else { rates.measure_step() },
            apply: rates.apply(),
            keep_move: vec![rates.scalar(
                Operation::AddScalars,
                Scalar::LearningRate,
                Scalar::LastMove,
                Scalar::LastMove,
            )],
            keep_params: rates.keep_params(),
            keep_slope: rates.product_with_step(Scalar::Slope),
        })
    }

    /// Between the gradient at θ and that at the probe; none without a probe.
    pub(super) fn before_probe(&self, rate: RateMeasurement) -> Option<[&[Dispatch]; 2]> {
        let is_placed = rate == RateMeasurement::Complete && !self.place_probe.is_empty();
        is_placed.then_some([&self.update_products, &self.place_probe])
    }

    /// After the gradients of the measurement, before the step.
    pub(super) fn before_step(&self, rate: RateMeasurement) -> Vec<&[Dispatch]> {
        match rate {
            RateMeasurement::None => vec![&self.apply],
            RateMeasurement::FirstHalf => {
                vec![&self.update_products, &self.apply, &self.keep_params]
            }
            RateMeasurement::Complete => vec![&self.measure, &self.apply, &self.keep_move],
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
    /// u is where a step at a rate of 1 leads from zero, and w the update of the step before; ‖u‖, g·u, g·w, and the rate
    /// displacement (1 + ‖θ‖)/‖u‖ at which u leads as far as a probe.
    fn update_products(&self, config: &Config, zeros: &wgpu::Buffer) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { params, gradient, first_moment, second_moment, product, .. } = chains.vectors;
        let update = &scratch.params.buffer;
        let mut chain = self.previous_direction(config.base, zeros);
        chain.extend(chains.dot(&gradient.buffer, product, Scalar::PreviousSlope));
        let [factor, slope] = [Scalar::PreviousStep, Scalar::PreviousSlope];
        chain.extend([
            chains.multiply_scalars(factor, slope, slope),
            chains.copy(zeros, update),
            chains.copy(&gradient.buffer, &scratch.corrected),
            chains.copy(first_moment, &scratch.first_moment),
            chains.copy(second_moment, &scratch.second_moment),
        ]);
        // A decay that is added to the gradient is part of the update, one that multiplies θ is not.
        if !config.base.is_decoupled() && config.weight_decay > 0.0 {
            chain.push(chains.axpy(Scalar::Decay, &params.buffer, &scratch.corrected));
        }
        let alone = Config { weight_decay: 0.0, ..config.clone() };
        chain.extend(Chains { operations: chains.operations, vectors: scratch }.base(&alone));
        chain.extend(chains.dot(&gradient.buffer, update, Scalar::OwnSlope));
        chain.extend(self.norm(update, Scalar::UpdateNorm));
        chain.extend(self.norm(&params.buffer, Scalar::Squares));
        chain.extend([
            self.scalar(Operation::AddScalars, Scalar::One, Scalar::Squares, Scalar::Squares),
            chains.multiply_scalars(Scalar::RateDisplacement, Scalar::Squares, Scalar::Squares),
            self.scalar(
                Operation::DivideScalars,
                Scalar::Squares,
                Scalar::UpdateNorm,
                Scalar::ProbeRate,
            ),
        ]);
        chain
    }

    /// product = m, m / (√v̂ + ε) or sign(m), from the moments of the step before.
    fn previous_direction(&self, base: Base, zeros: &wgpu::Buffer) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { first_moment, second_moment, product, .. } = chains.vectors;
        let root = &scratch.root;
        let op = |operation, operands| chains.operations.dispatch(operation, operands);
        let (x, out) = (Some(first_moment), Some(product));
        match base {
            Base::Sgd(_) => vec![chains.copy(first_moment, product)],
            Base::Lion(_) => vec![op(Operation::Sign, Operands { x, out, ..Operands::default() })],
            Base::Adam(_) | Base::AdamW(_) | Base::Sophia(_) => {
                let of_root = |x, alpha: Scalar| Operands {
                    x,
                    out: Some(root),
                    alpha: alpha as u32,
                    ..Operands::default()
                };
                let divide = Operands {
                    x,
                    y: Some(root),
                    out,
                    alpha: Scalar::One as u32,
                    ..Operands::default()
                };
                vec![
                    op(Operation::Sqrt, of_root(Some(second_moment), Scalar::One)),
                    op(Operation::Scale, of_root(None, Scalar::PreviousRoot)),
                    op(Operation::AddScalar, of_root(None, Scalar::Epsilon)),
                    chains.copy(zeros, product),
                    op(Operation::DivideAdd, divide),
                ]
            }
        }
    }

    /// probe = θ + probe_rate u
    fn place_probe(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { params, probe, .. } = chains.vectors;
        vec![
            chains.copy(&params.buffer, &probe.buffer),
            chains.axpy(Scalar::ProbeRate, &scratch.params.buffer, &probe.buffer),
        ]
    }

    /// g·u, u·Hu = (g′ − g)·u / probe_rate, what rounding makes of that, ‖g‖ ‖u‖ / probe_rate, and q.
    fn measure_probe(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { gradient, probe_gradient, product, .. } = chains.vectors;
        let update = &scratch.params.buffer;
        let mut chain = vec![self.subtract(&probe_gradient.buffer, &gradient.buffer, product)];
        chain.extend(chains.dot(&gradient.buffer, update, Scalar::Slope));
        chain.extend(chains.dot(product, update, Scalar::StepCurvature));
        chain.push(self.divide(Scalar::StepCurvature, Scalar::ProbeRate));
        chain.extend(self.norm(&gradient.buffer, Scalar::Norms));
        chain.extend([
            chains.multiply_scalars(Scalar::UpdateNorm, Scalar::Norms, Scalar::Norms),
            self.divide(Scalar::Norms, Scalar::ProbeRate),
            self.learning_rate(),
        ]);
        chain
    }

    /// With Δθ of the last step: g·u = g_old·Δθ / rate, u·Hu = (g_new − g_old)·Δθ / rate², what rounding makes of that,
    /// ‖g_new‖ ‖Δθ‖ / rate², and q.
    fn measure_step(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let mut chain = self.product_with_step(Scalar::StepCurvature);
        chain.extend([
            chains.multiply_scalars(Scalar::MinusOne, Scalar::Slope, Scalar::Squares),
            self.scalar(
                Operation::AddScalars,
                Scalar::StepCurvature,
                Scalar::Squares,
                Scalar::StepCurvature,
            ),
        ]);
        chain.extend(self.norm(&scratch.corrected, Scalar::Squares));
        chain.extend(self.norm(&chains.vectors.gradient.buffer, Scalar::Norms));
        chain.extend([
            chains.multiply_scalars(Scalar::Squares, Scalar::Norms, Scalar::Norms),
            self.divide(Scalar::Slope, Scalar::LearningRate),
            self.divide(Scalar::StepCurvature, Scalar::LearningRate),
            self.divide(Scalar::StepCurvature, Scalar::LearningRate),
            self.divide(Scalar::Norms, Scalar::LearningRate),
            self.divide(Scalar::Norms, Scalar::LearningRate),
            self.learning_rate(),
        ]);
        chain
    }

    fn norm(&self, x: &wgpu::Buffer, result: Scalar) -> Vec<Dispatch> {
        let mut chain = self.chains.dot(x, x, result);
        chain.push(self.scalar(Operation::SqrtScalar, result, Scalar::One, result));
        chain
    }

    /// rate = min(factor q, bound), −rate/(1 − β₁ᵗ), 1 − rate λ
    fn apply(&self) -> Vec<Dispatch> {
        let chains = &self.chains;
        vec![
            chains.multiply_scalars(Scalar::RateFactor, Scalar::BaseRate, Scalar::LearningRate),
            self.scalar(
                Operation::MinScalars,
                Scalar::LearningRate,
                Scalar::RateBound,
                Scalar::LearningRate,
            ),
            chains.multiply_scalars(Scalar::MinusStep, Scalar::LearningRate, Scalar::MinusStep),
            chains.multiply_scalars(Scalar::Decay, Scalar::LearningRate, Scalar::Keep),
            chains.multiply_scalars(Scalar::MinusOne, Scalar::Keep, Scalar::Keep),
            self.scalar(Operation::AddScalars, Scalar::One, Scalar::Keep, Scalar::Keep),
        ]
    }

    fn keep_params(&self) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        vec![chains.copy(&chains.vectors.params.buffer, &scratch.probe.buffer)]
    }

    /// g·Δθ
    fn product_with_step(&self, result: Scalar) -> Vec<Dispatch> {
        let Self { chains, scratch } = self;
        let Vectors { params, gradient, .. } = chains.vectors;
        let (moved, before) = (&scratch.corrected, &scratch.probe.buffer);
        let mut chain = vec![self.subtract(&params.buffer, before, moved)];
        chain.extend(chains.dot(&gradient.buffer, moved, result));
        chain
    }

    fn learning_rate(&self) -> Dispatch {
        self.scalar(Operation::LearningRate, Scalar::RateScale, Scalar::Slope, Scalar::BaseRate)
    }

    fn divide(&self, left: Scalar, right: Scalar) -> Dispatch {
        self.scalar(Operation::DivideScalars, left, right, left)
    }

    fn scalar(
        &self,
        operation: Operation,
        left: Scalar,
        right: Scalar,
        result: Scalar,
    ) -> Dispatch {
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
