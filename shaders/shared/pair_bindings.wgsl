// Group 0 of what compares the gradients at both ends of a dimer along the update: one shard of each vector.
// builds on: scalars

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read> probe: array<vec4f>;
