// Group 0 of gram, rotate, translate and rotate_translate: one shard of each vector.

@group(0) @binding(0) var<uniform> shard: Shard;
@group(0) @binding(1) var<storage, read_write> scalars: Scalars;
@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> orientation: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> params: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> first_moment: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> second_moment: array<vec4f>;

// Which lanes of vec4 `i` hold elements; the others are padding, whatever a gradient has there.
fn valid_lanes(i: u32) -> vec4<bool> {
    let valid = blocks[i / BLOCK_VECTORS] & 0xffu;
    let first = (i % BLOCK_VECTORS) * 4u;
    return vec4u(first, first + 1u, first + 2u, first + 3u) < vec4u(valid);
}

fn group_of(i: u32) -> Group {
    return groups[blocks[i / BLOCK_VECTORS] >> 8u];
}

fn load_gradient(i: u32) -> vec4f {
    return select(vec4f(), gradient[i], valid_lanes(i));
}

// g2 - g1 where the dimer acts, else 0.
fn load_difference(i: u32, g1: vec4f) -> vec4f {
    let acts = valid_lanes(i) & vec4<bool>(group_of(i).dimer != 0u);
    return select(vec4f(), probe_gradient[i] - g1, acts);
}
