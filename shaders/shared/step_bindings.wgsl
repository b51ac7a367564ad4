// Group 1 of every fused kernel: what is the same for all shards.
// builds on: types

@group(1) @binding(0) var<uniform> step: Step;
@group(1) @binding(1) var<uniform> tables: Tables;
