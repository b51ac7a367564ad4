// The mean of the squares of the gradients.
// builds on: scalars, stored, vector_numbers

@group(0) @binding(8) var<storage, read_write> second_moment: array<Stored>;

fn second_moment_at(i: u32) -> vec4f {
    return unpacked(second_moment[i]);
}

fn store_second_moment(i: u32, v: vec4f) {
    second_moment[i] = packed(v, element_of(i), SECOND_MOMENT);
}
