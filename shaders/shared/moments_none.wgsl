// Plain SGD has no moments.

fn first_moment_at(i: u32) -> vec4f {
    return vec4f();
}

fn store_first_moment(i: u32, m: vec4f) {}

fn second_moment_at(i: u32) -> vec4f {
    return vec4f();
}

fn store_second_moment(i: u32, v: vec4f) {}
