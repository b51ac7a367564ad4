// dimer_vectors.wgsl where there is no dimer.

fn probe_gradient_at(i: u32) -> vec4f {
    return vec4f();
}

fn orientation_at(i: u32) -> vec4f {
    return vec4f();
}

fn store_orientation(i: u32, n: vec4f) {}
