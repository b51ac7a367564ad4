// N, the moments and the workspace as bf16, the upper halves of f32: four elements in 8 bytes.
// builds on: hash, step_bindings

alias Stored = vec2u;

const UPPER: u32 = 0xffff0000u;
const LOWER: u32 = 0xffffu;
const EXPONENT: u32 = 0x7f800000u;

fn not_finite(bits: vec4u) -> vec4<bool> {
    return (bits & vec4u(EXPONENT)) == vec4u(EXPONENT);
}

fn unpacked(stored: Stored) -> vec4f {
    let bits = vec4u(stored.x << 16u, stored.x & UPPER, stored.y << 16u, stored.y & UPPER);
    return bitcast<vec4f>(bits);
}

// Rounded up or down at random, correct on average, so that a moment takes in what is less than half
// of its last bit. The random bits are a hash of step, vector and element.
fn packed(value: vec4f, element: u32, vector: u32) -> Stored {
    let first = mixed(element ^ mixed(step.index ^ mixed(vector ^ step.seed)));
    let second = mixed(first);
    let noise = vec4u(first & LOWER, first >> 16u, second & LOWER, second >> 16u);
    let bits = bitcast<vec4u>(value);
    let rounded = bits + noise;
    // Not beyond the largest number. What is not finite stays so: the NaN of some GPUs, 0x7fffffff, would round to -0.
    let stays = not_finite(bits) | not_finite(rounded);
    let kept = select(rounded, bits, stays) & vec4u(UPPER);
    return vec2u((kept.x >> 16u) | kept.y, (kept.z >> 16u) | kept.w);
}
