// Group 0 of displace and norm: one shard of each vector.

@group(0) @binding(0) var<uniform> shard: Shard;
@group(0) @binding(1) var<storage, read_write> scalars: Scalars;
@group(0) @binding(2) var<storage, read> params: array<vec4f>;
@group(0) @binding(3) var<storage, read> orientation: array<Stored>;
@group(0) @binding(4) var<storage, read_write> probe: array<vec4f>;
