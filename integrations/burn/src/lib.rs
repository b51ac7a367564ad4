//! Dimer-Enhanced Optimization of [Burn](burn) modules.
//!
//! The crate [`dimer`] takes the learning rate of SGD, Adam, AdamW, Lion or a Sophia-like optimizer from pairs of
//! gradients, follows the softest or the stiffest direction of a loss with them, and leads steps out of saddles. Here
//! its gradients come from Burn. On a wgpu device nothing goes through the host: the parameters of the module are views
//! of the optimizer's memory.
//!
//! - [`DimerDevice`]: the device of the module and of its optimizer.
//! - [`DimerOptimizer`]: trains a module; one closure from the module to its loss is all it asks for.
//! - [`RepeatableBatches`]: minibatches for a learning rate from curvature that needs no gradient of its own.
//! - `train::DimerStrategy`, with the feature `train`: trains in Burn's own trainer, `SupervisedTraining`.
//! - [`CurvatureTracker`]: follows the curvature while an optimizer of Burn trains a module.
//!
//! # Features
//! - `train`: [`DimerStrategy`](train::DimerStrategy), for `SupervisedTraining` of burn-train.
//! - `fusion`, `autotune`: Burn's features of the same name. Turn `fusion` on here and not in your
//!   own dependency on Burn: with it a tensor's buffer is reached in another way.

#![deny(missing_docs)]

mod batches;
mod binding;
mod buffers;
mod collect;
mod device;
mod error;
mod objective;
mod optimizer;
mod parameters;
mod rebind;
mod tracker;
#[cfg(feature = "train")]
pub mod train;

pub use batches::RepeatableBatches;
pub use device::DimerDevice;
pub use dimer;
pub use error::{Error, Result};
pub use optimizer::DimerOptimizer;
pub use tracker::CurvatureTracker;

#[cfg(all(doctest, feature = "train"))]
#[doc = include_str!("../README.md")]
struct Readme;
