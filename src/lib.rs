//! Dimer-Enhanced Optimization on the GPU.
//!
//! A dimer is a pair of points a small distance apart. Two gradients of a training loss on the
//! same data, g₁ = ∇L(θ) and g₂ = ∇L(θ + ΔR·d), give the Hessian along the unit vector d:
//! Hd ≈ (g₂ − g₁)/ΔR. Along the step of the base optimizer (SGD, Adam, AdamW, Lion or a Sophia-like one), that is the
//! curvature which the step will meet, and it sets the [`LearningRate`]. Along N, turned against the rotational force
//! F = HN − C N, where C = N·HN is the curvature, it leads to the softest direction of the loss, and a [`Dimer`] takes
//! the step out of saddles (Hu, Cao, Liu, *Dimer-Enhanced Optimization*, arXiv 2507.19968).
//!
//! Parameters, gradients, orientation and moments stay on the GPU, in WGSL kernels on [`wgpu`]:
//! one binary for Vulkan, Metal and DX12, and WebGPU in browsers. The host schedules dispatches and asks for gradients.
//!
//! ```
//! use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
//!
//! let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
//!     gradient.copy_from_slice(&[4.0 * theta[0], 0.5 * theta[1]]);
//!     2.0 * theta[0] * theta[0] + 0.25 * theta[1] * theta[1]
//! });
//! let (gpu, layout) = (Gpu::new()?, Layout::flat(2)?);
//! let mut optimizer = Optimizer::new(&gpu, layout, Config::default(), &[1.0, 1.0])?;
//! for step in 0..200 {
//!     optimizer.set_rate_factor(dimer::cosine_with_warm_up(step, 20, 200, 0.0))?;
//!     optimizer.step(&mut objective)?;
//! }
//! for record in optimizer.telemetry()?.iter().step_by(20) {
//!     println!("step {}: loss {:?}, rate {}", record.step, record.loss, record.learning_rate);
//! }
//! # assert!(optimizer.read_params()?.iter().all(|x| x.abs() < 0.01));
//! # Ok::<(), dimer::Error>(())
//! ```
//!
//! # What to read first
//! - [`Config`]: every setting, its range and its source.
//! - [`Objective`]: how gradients are handed over; [`HostObjective`] makes one from a closure,
//!   [`Optimizer::begin_step`] needs none.
//! - [`LearningRate`]: a number, or the curvature along the step.
//! - [`Layout`]: named tensors, groups with their own learning rate and weight decay.
//! - [`Telemetry`]: what each step found. [`Mode`]: whether a dimer seeks the softest direction of the loss or the
//!   stiffest, whose curvature is the sharpness; [`Dimer::watching`] only measures. [`Spectrum`]: both ends, trace and
//!   density of the Hessian's spectrum at a point.
//! - [`Accumulated`]: an objective over many minibatches.
//!
//! # In a browser
//! For `wasm32-unknown-unknown`, turn the default features off and `webgpu` on. Calls that block do not exist there. Each has
//! a twin whose name ends in `_async` ([`Optimizer::step_async`]), which outside a browser gives the same bits as the call.
//! Files do not exist there either ([`Optimizer::save_bytes_async`] gives the bytes of one), nor do [`Tuning::measure`] and
//! [`HostObjective`]: an objective records its work, or the step is taken by hand ([`Optimizer::begin_step_async`]).
//!
//! A step seldom waits, so a loop of `step_async` leaves the page little time. Await a read every few steps
//! ([`Optimizer::telemetry_async`]): then the page runs, the GPU catches up, and errors arrive. They come late, as
//! [`Gpu`] says, and the step that one belongs to counts as taken: go on from a checkpoint.
//!
//! Outside a browser, a twin polls the device each time it is asked, which keeps a core busy until the GPU is done.
//! [`Gpu::new_async`], [`Accumulated`] and objectives that read to the host block there. A twin may be dropped before it has
//! finished: a step is not taken then, and no telemetry is lost.
//!
//! # What it costs
//! A step costs one gradient, or two if it measures the learning rate. An event ([`Schedule`] says which steps are
//! events) costs as many as its [`Rotation`] and [`Difference`] say: 4 with [`Dimer::default`], 2 with
//! [`Dimer::published`], 1 with [`Dimer::alternating`]. Besides the gradients, a step of AdamW moves, per parameter, 32
//! bytes alone (28 without [`Config::skip_non_finite`]) and 40 with a correction. An event moves 68 with the rotation and the projection of the
//! paper, its probe included (64 at an absolute displacement), and 212 with the locally optimal one and the saddle-free
//! step. [`Optimizer::plan`] prints these numbers for any configuration, stage by stage.
//!
//! With [`LearningRate::Curvature`] a measurement by a separate gradient moves at most 56 bytes more, and one by two
//! steps on a minibatch 52 bytes in both together and no gradient.
//!
//! Memory is 24 bytes per parameter by default: θ, g₁, two moments, and the probe of the learning rate with its gradient.
//! At a fixed rate it is 16. A dimer with the paper's rotation takes 28 with either, for N as well. The optimal angle
//! takes 16 more, alternating evaluations 8, a locally optimal rotation 24. [`Storage::Bf16`] keeps all of that but θ, the
//! gradients and the probe in half. A rate from two steps on one minibatch takes 4 more than a fixed one. `docs/performance.md` has the measurements; [`Tuning`] fits the kernels to a device,
//! and [`Optimizer::time_kernels`] tells where the time goes.
//!
//! # What it gains, and what it does not
//! A rate from curvature needs no grid of rates: started anywhere from 10⁻⁶ to 1 it trains a small classifier with AdamW
//! as well as the best rate of a grid, and so it does a small character GPT from 10⁻⁴ and 1. That is no guarantee:
//! [`LearningRate::Curvature`] says where it falls behind. It is the default because Adam's customary rate of 10⁻³ is
//! worth so much less there (0.28 on that GPT in 600 gradients), and about as much in short runs of a larger GPT.
//! The dimer along N is not on by default, since it costs 6 % and gains nothing on top of Adam.
//!
//! On plateaus around saddles, such as those of deep linear networks under momentum SGD, the saddle-free step
//! saves most of the gradients. On top of Adam it gained nothing on any problem of the escape suite
//! (`examples/escape`) with its defaults, and 5 % at most with others. Where no curvature is significantly negative the step is
//! that of the base optimizer to the bit, so all that the dimer then does is measure C, at the cost of its probes. (With
//! alternating evaluations the base optimizer gets a gradient beside θ, and with [`Objective::parts`] that of a part in events.)
//! Projection, the translation of the paper, takes the softest direction out of the gradient: near a strict saddle that is
//! the way out, so it slows the escape. It is here for fidelity and is not the default.
//!
//! Why these defaults of [`Dimer`]: of those tried on the suite they were the best overall. One event in 50 steps costs at
//! most 6 %. The first event comes at step 50: a run that ends earlier needs none, and by then the gradient
//! has turned towards soft directions, so that it serves as a third basis vector in place of the direction P
//! until C is negative. The base optimizer gets the whole gradient: taking out the part along N, as a
//! saddle-free Newton step would, took 1.5 times the gradients on the staircase.
//!
//! # Precision
//! All dot products are summed pairwise in a fixed order, so that one device gives the same bits on every
//! run, however the vectors are sharded. With L elements per thread (of 262 144 on a GPU with memory of
//! its own, 65 536 on another, 8192 on a software renderer; see [`Tuning`]), any product is rounded at most 81 + L/64 times on its way, so the error
//! relative to Σ|aᵢbᵢ| is at most (81 + L/64) · 2⁻²⁴; on random data it is about 10⁻⁷. Squares are summed at
//! two scales, so that elements from 10⁻³⁰ to 10³⁰ neither vanish nor overflow. With
//! [`Rotation::Gradient`], ‖F‖² = ‖HN‖² − C² cancels near an eigenvector: below about 10⁻³ ‖HN‖ the residual is rounding.
//! The other rotations sum the squares of HN less the last C times N, which cancel only where C has changed.
//!
//! # How it is built
//! See [`architecture`]. [`mod@reference`] is the specification in f64, [`unfused`] the same step as textbook
//! operations.

#![deny(missing_docs)]

mod config;
mod error;
mod gpu;
mod kernels;
mod layout;
mod objective;
mod optimizer;
mod parallel;
mod plan;
mod player;
pub mod reference;
mod spectrum;
mod state;
#[cfg(test)]
mod tests;
pub mod unfused;

#[cfg(doc)]
#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

pub use config::{
    Adam, Alternating, Base, Config, Correction, CurvatureRate, Difference, Dimer, Displacement,
    EarlyExit, FullBatch, LearningRate, Lion, Metric, Mode, OnPlateau, Projection, RateProbe,
    Regime, RelativeDisplacement, Rotation, RotationRate, RotationStop, SaddleFree, Schedule,
    Scope, Sgd, Sophia, SpectrumConfig, Storage, Translation, cosine_with_warm_up,
};
pub use error::{Error, Result};
pub use gpu::{Gpu, GpuSlice, KernelTime, Tuning};
pub use layout::{Group, GroupId, Layout, LayoutBuilder, Tensor};
pub use objective::{
    Accumulated, Evaluation, HessianProduct, Objective, Part, Point, Progress, StepInfo,
};
#[cfg(not(target_family = "wasm"))]
pub use objective::{HostObjective, Outcome};
#[cfg(not(target_family = "wasm"))]
pub use optimizer::ShardedOptimizer;
pub use optimizer::{ManualStep, Optimizer, PointBuffers, RegionCurvature, StopReason, Telemetry};
#[cfg(not(target_family = "wasm"))]
pub use parallel::{Collective, DataParallel, GradientMean, Threads};
pub use plan::{Plan, RateMeasurement, StepCost, StepKind};
pub use spectrum::{Density, Eigenpair, Estimate, Node, Spectrum};
pub use state::Buffers;
/// The version of wgpu whose devices and buffers this crate accepts.
pub use wgpu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
