// Arithmetic that WGSL leaves to us: a test for finite numbers that no compiler may remove, and a dot product
// with a fixed order.

// Tests the bits: a compiler may assume that a float is never NaN.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn all_finite(x: vec4f) -> bool {
    return all((bitcast<vec4u>(x) & vec4u(0x7f800000u)) != vec4u(0x7f800000u));
}

// The sum of the products of the lanes, in a fixed order.
fn dot_lanes(a: vec4f, b: vec4f) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, a.x * b.x)));
}
