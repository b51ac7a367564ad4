// Group 0 of what looks along the update of the base optimizer: one shard of each vector.
// builds on: scalars, moments

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
