//! Everything that can be seen from outside, in one process on one device.

#[path = "../common/mod.rs"]
mod common;

// What the examples share with their tests.
#[path = "../../examples/digits/data.rs"]
mod data;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/escape/methods.rs"]
mod methods;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/digits/network.rs"]
mod network;
#[path = "../../examples/surfaces/plane.rs"]
mod plane;
#[path = "../../examples/escape/problems/mod.rs"]
mod problems;
#[path = "../../examples/escape/run.rs"]
mod run;
#[path = "../../examples/escape/suite.rs"]
mod suite;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/surfaces/mod.rs"]
mod surfaces;
#[path = "../../examples/edge_of_stability/training.rs"]
mod training;

mod accumulated;
mod alternating;
mod bad_input;
mod both_ends;
mod checkpoint_files;
mod checks;
mod climbs_to_saddles;
mod contract;
mod data_parallel;
mod degenerate;
mod deterministic;
mod device_limits;
mod differences;
mod digits_mlp;
mod edge_of_stability;
mod escapes_saddles;
mod every_length;
mod fresh_after_load;
mod given_up;
mod group_scales;
mod guards;
mod house;
mod kernels_match_reference;
mod learning_rate;
mod limits_and_shards;
mod locally_optimal;
mod long_run;
mod matches_torch;
mod matrix;
mod metric;
mod objectives;
mod parts;
mod pending_steps;
mod resolved;
mod rotation_finds_lowest_mode;
mod saddle_free;
mod same_bits;
mod schedule;
mod scope;
mod sharded;
mod spectrum;
mod steady;
mod stiffest;
mod stops;
mod storage;
mod trajectories;
mod tuning;
