// Group 0 of what places a probe: one shard of each vector.
// builds on: scalars, stored

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(5) var<storage, read> orientation: array<Stored>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;

fn orientation_at(i: u32) -> vec4f {
    return unpacked(orientation[i]);
}
