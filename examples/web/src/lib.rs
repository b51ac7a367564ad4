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
