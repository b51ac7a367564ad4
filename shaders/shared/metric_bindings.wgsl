// Group 0 of what measures in the metric of the preconditioner: one shard of each vector.
// builds on: scalars, second_moment

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
// Only read, but it may share a buffer with the other gradient.
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> probe_gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;
