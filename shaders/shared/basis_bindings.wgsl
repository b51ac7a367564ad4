// Group 0 of a rotation by Rayleigh-Ritz: one shard of each vector.
// builds on: scalars, stored, vector_numbers, workspace

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> probe_gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> orientation: array<Stored>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;

fn probe_gradient_at(i: u32) -> vec4f {
    return probe_gradient[i];
}

fn store_orientation(i: u32, n: vec4f) {
    orientation[i] = packed(n, element_of(i), ORIENTATION);
}

// The vectors of the workspace: n, u, the products Hn, Hu, and where they are used p and Hp.
const N: u32 = 0u;
const U: u32 = 1u;
const HN: u32 = 2u;
const HU: u32 = 3u;
const P: u32 = 4u;
const HP: u32 = 5u;
