//! Dimer-Enhanced Optimization on the GPU.
//!
//! A dimer is a pair of points a small distance apart. Two gradients of a training loss on the
//! same data, g₁ = ∇L(θ) and g₂ = ∇L(θ + ΔR·N), give the Hessian along the unit vector N:
//! HN ≈ (g₂ − g₁)/ΔR. Turning N against the rotational force F = HN − C N, where C = N·HN is the
//! curvature, leads it to the softest direction of the loss (Hu, Cao, Liu, *Dimer-Enhanced
//! Optimization*, arXiv 2507.19968). The step is corrected along N and handed to SGD, Adam, AdamW or a
//! Sophia-like optimizer.
//!
//! Parameters, gradients, orientation and moments stay on the GPU, in WGSL kernels on [`wgpu`]:
//! one binary for Vulkan, Metal and DX12. The host schedules dispatches and asks for gradients.
//!
//! ```
//! use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
//!
//! // L(θ) = θ₀² − θ₁² + θ₁⁴/2: a saddle at the origin.
//! let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
//!     let (x, y) = (theta[0], theta[1]);
//!     gradient.copy_from_slice(&[2.0 * x, 2.0 * y * (y * y - 1.0)]);
//!     x * x - y * y + y.powi(4) / 2.0
//! });
//! let config = Config { learning_rate: 0.02, ..Config::default() };
//! let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(2)?, config, &[0.5, 1e-3])?;
//! for _ in 0..200 {
//!     optimizer.step(&mut objective)?;
//! }
//! for record in optimizer.telemetry()?.iter().filter(|record| record.event) {
//!     println!("step {}: curvature {}", record.step, record.curvature);
//! }
//! # assert!(optimizer.read_params()?[0].abs() < 0.05);
//! # Ok::<(), dimer::Error>(())
//! ```
//!
//! # What to read first
//! - [`Config`]: every setting, its range and its source.
//! - [`Objective`]: how gradients are handed over; [`HostObjective`] makes one from a closure,
//!   [`Optimizer::begin_step`] needs none.
//! - [`Layout`]: named tensors, groups with their own learning rate and weight decay.
//! - [`Telemetry`]: what each step found. [`Modes`]: the lowest modes of the loss at a point.
//!
//! # What it costs
//! An event ([`Schedule`] says which steps are events) costs one gradient more than any other step,
//! or as many as its [`Rotation`] and [`Difference`] say. Beside the gradients, a step moves, for AdamW
//! and one parameter: 32 bytes (base; 28 without [`Config::skip_non_finite`]), 40 (with a correction),
//! 52 (with the rotation of the paper and correction) and 12 more for the probe; a locally optimal event
//! moves 196. Memory is 28 bytes a parameter for AdamW: θ, g₁, g₂, N, the probe and two moments; the
//! optimal angle takes 16 more, a locally optimal rotation 24. [`Storage::Bf16`] keeps all of that but
//! θ, the gradients and the probe in half. `docs/performance.md` has the measurements; [`Tuning`] fits
//! the kernels to a device, [`Optimizer::time_kernels`] tells where the time goes.
//!
//! # What it gains, and what it does not
//! On plateaus around saddles, as of deep linear networks under momentum SGD, the saddle-free step
//! saves most of the gradients. On top of Adam it gained nothing on any problem of the escape suite
//! (`examples/escape`). Where no curvature is significantly negative the step is that of the base
//! optimizer to the bit, so that all the dimer then does is cost its probes and measure C. Projection,
//! the translation of the paper, takes the softest direction out of the gradient: near a strict saddle
//! that is the way out, so it slows the escape. It is here for fidelity, not by default.
//!
//! Why these defaults: of those tried on the suite they were best overall. An event in 50 steps costs at
//! most 6 %; the first one comes at step 50, since a run that is over before needs none, and by then the
//! gradient has turned towards soft directions, so that it serves as a third basis vector in place of
//! the direction P until C is negative. The base optimizer keeps its gradient whole: taking the part
//! along N out of it, as a saddle-free Newton step would, took 1.5 times the gradients on the staircase.
//!
//! # Precision
//! All dot products are summed pairwise in a fixed order, so that one device gives the same bits on
//! every run, however the vectors are sharded. With L elements a thread (of 65 536, or 8192 on a
//! software renderer; see [`Tuning`]), at most 81 + L/64 roundings lie on the way of any product, so the error relative to
//! Σ|aᵢbᵢ| is at most (81 + L/64) · 2⁻²⁴; on random data it is about 10⁻⁷;
//! squares are summed at two scales, so that elements from 10⁻³⁰ to 10³⁰ neither vanish nor
//! overflow. ‖F‖² = ‖HN‖² − C² cancels near an eigenvector: below about 10⁻³ ‖HN‖ the residual is
//! rounding.
//!
//! # Architecture
//! Data flows one way: `config → layout → state → kernels → step → optimizer`, with `objective` as
//! the only thing that a user implements.
//!
//! - `checkpoint`: the file format. `gpu`: the device. `layout`: where tensors lie. `state`: the buffers of one optimizer.
//! - `kernels`: one file a family. Two dispatches make a step: `gram` reduces (g₁, g₂, N) to one
//!   partial a tile, `translate` or `rotate_translate` re-reduces the partials in every workgroup
//!   for one thread to find out what to apply, and updates N, θ and the moments in one pass. `displace` places the probe. A rotation by
//!   Rayleigh–Ritz works on a copy of N: `measure` keeps a product, `basis_gram` and `ritz` solve the
//!   3×3 problem, `turn` places the next probe or, at last, writes N. `scope/` has the step with
//!   several dimers, in which streams of 4 threads walk pieces of tensors; `modes/` the block of modes.
//! - A tile is what one workgroup reduces. Its size depends on the length and the tuning alone; a shard is
//!   a whole number of tiles that one binding can hold. Within a tile, groups of 8 threads walk streams of
//!   consecutive memory.
//! - All scalars live in one buffer. `gram` copies the last record to where the update reads it,
//!   the update writes the next one: no workgroup reads what another writes in the same dispatch,
//!   and a step that is never submitted leaves no trace.
//! - [`mod@reference`] is the specification in f64, [`unfused`] the same step as textbook
//!   operations.

#![deny(missing_docs)]

mod config;
mod error;
mod gpu;
mod kernels;
mod layout;
mod objective;
mod optimizer;
mod plan;
mod player;
pub mod reference;
mod spectrum;
mod state;
#[cfg(test)]
mod tests;
pub mod unfused;

pub use config::{
    Adam, Base, Config, Correction, Deterministic, Difference, Dimer, Displacement, OnPlateau,
    Project, Rate, Regime, Relative, Rotation, SaddleFree, Saves, Schedule, Scope, Sgd, Sophia,
    Stop, Storage, Translation, cosine_with_warm_up,
};
pub use error::{Error, Result};
pub use gpu::{Gpu, GpuSlice, KernelTime, Tuning};
pub use layout::{Group, GroupId, Layout, LayoutBuilder, Tensor};
pub use objective::{Evaluation, HessianProduct, HostObjective, Objective, Point};
pub use optimizer::{ManualStep, Optimizer, PointBuffers, RegionCurvature, StopReason, Telemetry};
pub use plan::{Plan, StepCost, StepKind};
pub use spectrum::{Eigenpair, Spectrum};
pub use state::Buffers;
/// The version of wgpu whose devices and buffers this crate takes.
pub use wgpu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
