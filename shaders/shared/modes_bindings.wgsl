// Groups 0 and 2 of the block of modes: one shard of each vector, and what one dispatch is for.
// builds on: scalars, partial

// Modes of one block, and the vectors of its basis: for each mode x, its force u and its direction p.
const MAX_MODES: u32 = 8u;
const MAX_BASIS: u32 = 24u;

struct Modes {
    curvatures: array<f32, MAX_MODES>,
    residuals: array<f32, MAX_MODES>,
    // 1 / residual, or 0 once a mode has converged.
    inverse_residuals: array<f32, MAX_MODES>,
    // x'_j = sum_s combination[s][j] S_s, and p'_j likewise.
    combination: array<array<f32, MAX_MODES>, MAX_BASIS>,
    direction: array<array<f32, MAX_MODES>, MAX_BASIS>,
    // 0 once a gradient was not finite.
    valid: u32,
    partials: array<Partial>,
}

struct Goal {
    // The vector that is probed or measured.
    slot: u32,
    // Modes, and vectors of the basis that are in use.
    modes: u32,
    vectors: u32,
    padding: u32,
}

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;
// The basis S: all x, all u, all p; then HS in the same order.
@group(0) @binding(10) var<storage, read_write> workspace: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> modes: Modes;
@group(2) @binding(0) var<uniform> goal: Goal;

// Where vec4 `i` of a vector of the basis lies, and of its product.
fn slot(vector: u32, i: u32) -> u32 {
    return vector * shard.vectors + i;
}

fn product_slot(vector: u32, i: u32) -> u32 {
    return (3u * goal.modes + vector) * shard.vectors + i;
}

fn probe_gradient_at(i: u32) -> vec4f {
    return probe_gradient[i];
}
