// Groups 0 and 2 of the kernels that build a basis: one shard of each vector, and what one dispatch is for. The basis is
// that of a set of modes, or of the Lanczos method.
// builds on: scalars, partial, streams, switches, threads

// Modes of one set, and the vectors of its basis: for each mode x, p, a part of what x was before, and the residual u.
const MAX_MODES: u32 = 16u;
const MAX_BASIS: u32 = 48u;
// Vectors of the basis of the Lanczos method.
const MAX_VECTORS: u32 = 128u;

struct Modes {
    curvatures: array<f32, MAX_MODES>,
    residuals: array<f32, MAX_MODES>,
    // |Hx measured on one side of theta - Hx measured on the other| / 2
    product_errors: array<f32, MAX_MODES>,
    // x'_j = sum_s combination[s][j] S_s, and p'_j likewise from column arguments.modes + j; four columns together.
    combination: array<array<vec4f, MAX_MODES / 2u>, MAX_BASIS>,
    // 1 for each vector of the basis that was kept, 0 for one that depended on those before it.
    kept: array<u32, MAX_VECTORS>,
    // 1 for each mode whose product is measured again in place of one along its residual.
    again: array<u32, MAX_MODES>,
    // What is taken from a vector that is made orthogonal, and the factor on the rest.
    overlaps: array<f32, MAX_VECTORS>,
    factor: f32,
    // The distance of the probes; the one to begin with is max(minimum, fraction |theta|).
    distance: f32,
    fraction: f32,
    minimum: f32,
    // The best distance that a search has found, and the error of a product there.
    best_distance: f32,
    best_error: f32,
    // The largest |Ritz value| so far.
    largest: f32,
    // 0 once a gradient was not finite.
    valid: u32,
    // The tridiagonal matrix of the Lanczos method, where each vector is the product along the one before it:
    // diagonal[j] = S_j.HS_j, and off_diagonal[j] is the length of HS_(j-1) outside all vectors before S_j.
    diagonal: array<f32, MAX_VECTORS>,
    off_diagonal: array<f32, MAX_VECTORS>,
    partials: array<Partial>,
}

struct Arguments {
    // The vector that is made orthogonal, probed or measured.
    column: u32,
    // Modes, those of them at the lower end, and vectors of the basis that are in use.
    modes: u32,
    lowest: u32,
    columns: u32,
    // Where the product along the first vector lies; the others follow. In the Lanczos method, where the next vector is
    // made of it.
    products: u32,
}

@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read> params: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;
// The basis S: all x, all p, all u; then HS in the same order. In the Lanczos method one vector after the other.
@group(0) @binding(10) var<storage, read_write> workspace: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> modes: Modes;
@group(2) @binding(0) var<uniform> arguments: Arguments;

// Where vec4 `i` of a vector of the basis lies, and of its product.
fn element(vector: u32, i: u32) -> u32 {
    return vector * shard.vectors + i;
}

fn product_element(vector: u32, i: u32) -> u32 {
    return (arguments.products + vector) * shard.vectors + i;
}

// Whether the vector of the dispatch is a residual in whose place its mode is measured again; which mode that is.
fn measures_again() -> bool {
    return arguments.column >= 2u * arguments.modes && modes.again[mode_of_residual()] != 0u;
}

fn mode_of_residual() -> u32 {
    return max(arguments.column, 2u * arguments.modes) - 2u * arguments.modes;
}

// The walk of a thread where several workgroups share a tile: one for each row of the dispatch. Loops over vectors are
// nested in it, and some drivers (Mesa 22 on a CPU) end the loops of a thread after 65 536 iterations in all.
fn shared_walk_of(thread: Thread) -> Walk {
    let walk = walk_of(thread);
    let steps = (walk.end - min(walk.first, walk.end) + STREAM_WIDTH - 1u) / STREAM_WIDTH;
    let share = (steps + thread.workgroups.y - 1u) / thread.workgroups.y * STREAM_WIDTH;
    let first = walk.first + thread.workgroup.y * share;
    return Walk(first, min(walk.end, first + share));
}

// The probe along a vector, or with exact products the vector itself.
fn probe_along(s: vec4f, i: u32) -> vec4f {
    return select(fma(vec4f(modes.distance), s, params[i]), s, vec4<bool>(DIFFERENCE == EXACT));
}

// What a difference of gradients is multiplied with.
fn inverse_distance() -> f32 {
    return select(1.0 / modes.distance, 1.0, DIFFERENCE == EXACT);
}

fn probe_gradient_at(i: u32) -> vec4f {
    return probe_gradient[i];
}
