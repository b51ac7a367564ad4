// Group 0 of a step: one shard of each vector. What the configuration does not have is not bound.
// builds on: scalars, dimer_vectors, moments

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> params: array<vec4f>;
