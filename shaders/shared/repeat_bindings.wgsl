// Group 0 of what looks along the last step: one shard of each vector. The probe holds the parameters before it.
// builds on: scalars

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;
