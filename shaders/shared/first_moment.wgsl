// The mean of the gradients, or their running sum.
// builds on: scalars, stored, vector_numbers

@group(0) @binding(7) var<storage, read_write> first_moment: array<Stored>;

fn first_moment_at(i: u32) -> vec4f {
    return unpacked(first_moment[i]);
}

fn store_first_moment(i: u32, m: vec4f) {
    first_moment[i] = packed(m, element_of(i), FIRST_MOMENT);
}
