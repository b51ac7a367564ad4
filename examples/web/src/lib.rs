//! What the page shows, and the report of `./dev check`.

#[path = "../../../tests/common/checks.rs"]
pub mod checks;
#[path = "../../../tests/common/values.rs"]
pub mod common;
#[path = "../../../tests/suite/every_length.rs"]
mod every_length;
#[path = "../../../tests/suite/kernels_match_reference.rs"]
mod kernels_match_reference;
#[path = "../../../benches/performance/prepared.rs"]
mod prepared;
pub mod report;
pub mod times;

// What only the page shows.
#[cfg(target_family = "wasm")]
#[path = "../../digits/data.rs"]
mod data;
#[cfg(target_family = "wasm")]
mod landscape;
#[cfg(target_family = "wasm")]
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../digits/network.rs"]
mod network;
#[cfg(target_family = "wasm")]
mod page;
#[cfg(target_family = "wasm")]
#[path = "../../surfaces/plane.rs"]
mod plane;
#[cfg(target_family = "wasm")]
#[path = "../../saddle_2d/scenes.rs"]
mod scenes;
#[cfg(target_family = "wasm")]
#[allow(dead_code, reason = "the clusters are for saddle_search")]
#[path = "../../surfaces/mod.rs"]
mod surfaces;
#[cfg(target_family = "wasm")]
mod training;
