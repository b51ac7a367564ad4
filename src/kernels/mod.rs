//! Every kernel as data: its WGSL, what it binds, what tells its pipelines apart and what it moves. No device
//! is needed for any of it.

pub(crate) mod bindings;
pub(crate) mod catalogue;
pub(crate) mod choices;
pub(crate) mod gpu_types;
pub(crate) mod switches;
pub(crate) mod traffic;
