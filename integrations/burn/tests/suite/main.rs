//! Everything that may share a process: all but what seeds Burn's generator, listens to wgpu's log or needs
//! Burn to pick the same kernels twice.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod equals_flex;
mod names_and_groups;
mod order;
mod parts;
mod readme;
mod records;
