// Sums over one tile; sums of squares are kept at two scales.
// builds on: arithmetic

// Squares are summed at two scales, of vectors times 2^48 and times 2^-48, so that elements from
// 1e-30 to 1e30 neither vanish nor overflow.
const SMALL_SCALE: f32 = 281474976710656.0;
const LARGE_SCALE: f32 = 3.552713678800501e-15;

// The sums over one tile, with d = g2 - g1 and S the learning rate scales of the groups.
struct Partial {
    // N.N, N.d, g1.N, N.SN
    plain: vec4f,
    // g1.g1, d.d, g1.d, 0 of vectors times SMALL_SCALE; alternating/gram.wgsl has its own sums
    small: vec4f,
    // the same of vectors times LARGE_SCALE
    large: vec4f,
}

fn add(a: Partial, b: Partial) -> Partial {
    return Partial(a.plain + b.plain, a.small + b.small, a.large + b.large);
}

// The factor under which a sum of squares was finite: small unless that overflowed.
fn chosen_scale(small: f32) -> f32 {
    return select(LARGE_SCALE, SMALL_SCALE, is_finite(small));
}

// The sum at that scale: of vectors times the factor, so it contains the factor squared.
fn chosen_sum(small: f32, large: f32) -> f32 {
    return select(large, small, is_finite(small));
}

// The norm of a vector from its sum of squares at both scales.
fn norm_of(small: f32, large: f32) -> f32 {
    return sqrt(chosen_sum(small, large)) / chosen_scale(small);
}
