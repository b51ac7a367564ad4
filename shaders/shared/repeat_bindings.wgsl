// Group 0 of what looks along the last step: one shard of each vector, and of the parameters before that step.
// builds on: scalars

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(12) var<storage, read> previous_params: array<vec4f>;
