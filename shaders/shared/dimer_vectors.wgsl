// The vectors of a step with a dimer.
// builds on: scalars, stored, vector_numbers

@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> orientation: array<Stored>;

fn probe_gradient_at(i: u32) -> vec4f {
    return probe_gradient[i];
}

fn orientation_at(i: u32) -> vec4f {
    return unpacked(orientation[i]);
}

fn store_orientation(i: u32, n: vec4f) {
    orientation[i] = packed(n, element_of(i), ORIENTATION);
}
