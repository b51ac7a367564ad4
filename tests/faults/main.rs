//! Tests that kill processes and devices, in a process of their own.

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod devices;
mod files;
