//! placeholder
#![deny(missing_docs)]
mod config;
mod error;
mod gpu;
mod kernels;
mod layout;
mod objective;
mod optimizer;
mod orientation;
pub mod reference;
mod state;
mod step;
mod telemetry;
pub mod unfused;
pub use config::*;
pub use error::{Error, Result};
pub use gpu::{Gpu, GpuSlice};
pub use layout::{Group, GroupId, Layout, LayoutBuilder, Tensor};
pub use objective::{Evaluation, HostObjective, Objective, Point};
pub use optimizer::{ManualStep, Optimizer, PointBuffers};
pub use state::Buffers;
pub use telemetry::Telemetry;
