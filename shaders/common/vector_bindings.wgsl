// Group 0 of gram, rotate, translate and rotate_translate: one shard of each vector.

@group(0) @binding(0) var<uniform> shard: Shard;
@group(0) @binding(1) var<storage, read_write> scalars: Scalars;
@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> orientation: array<Stored>;
@group(0) @binding(6) var<storage, read_write> params: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> first_moment: array<Stored>;
@group(0) @binding(8) var<storage, read_write> second_moment: array<Stored>;
