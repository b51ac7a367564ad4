// Products that are rounded before anything else is done with them.
// builds on: arithmetic, partial, scalars

// Compilers for GPUs take products apart: they compute (s x) (s x) as (s s) (x x), which overflows or vanishes where s x
// does neither. They cannot when the bits of s x pass through an operation with a zero that only the host knows.
fn rounded(x: vec4f) -> vec4f {
    return bitcast<vec4f>(bitcast<vec4u>(x) | vec4u(shard.zero));
}

fn rounded_scalar(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | shard.zero);
}

// The length of the part of a vector across a direction: from the part along it and the sums of its squares. Rounding may
// take the square below 0.
fn across(along: f32, small: f32, large: f32) -> f32 {
    let scale = chosen_scale(small);
    let scaled = rounded_scalar(along * scale);
    return sqrt(max(0.0, fma(-scaled, scaled, chosen_sum(small, large)))) / scale;
}

fn scaled_up(x: vec4f) -> vec4f {
    return rounded(SMALL_SCALE * x);
}

fn scaled_down(x: vec4f) -> vec4f {
    return rounded(LARGE_SCALE * x);
}

// The squared length of a vec4 at either scale.
fn square_up(x: vec4f) -> f32 {
    let scaled = scaled_up(x);
    return dot_lanes(scaled, scaled);
}

fn square_down(x: vec4f) -> f32 {
    let scaled = scaled_down(x);
    return dot_lanes(scaled, scaled);
}
