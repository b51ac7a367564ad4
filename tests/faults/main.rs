//! What kills processes and devices, in a process of its own.

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod devices;
