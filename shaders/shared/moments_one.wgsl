// The moment of a base optimizer that has one.
// builds on: first_moment

fn second_moment_at(i: u32) -> vec4f {
    return vec4f();
}

fn store_second_moment(i: u32, v: vec4f) {}
