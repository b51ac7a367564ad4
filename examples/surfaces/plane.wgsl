// The slopes of the surfaces of the plane in mod.rs, one entry point each.

@group(0) @binding(0) var<storage, read> params: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;

fn position() -> vec2f {
    return vec2f(params[0], params[1]);
}

fn set_gradient(slope: vec2f) {
    gradient[0] = slope.x;
    gradient[1] = slope.y;
}

@compute @workgroup_size(1)
fn double_well() {
    let p = position();
    set_gradient(vec2f(2.0 * p.x, p.y * p.y * p.y - 2.0 * p.y));
}

@compute @workgroup_size(1)
fn monkey_saddle() {
    let p = position();
    set_gradient(vec2f(3.0 * (p.x * p.x - p.y * p.y), -6.0 * p.x * p.y) + 2.0 * dot(p, p) * p);
}

// One of the four terms: its height, the factors of x², x y and y², and its centre.
struct Term {
    height: f32,
    factors: vec3f,
    centre: vec2f,
}

@compute @workgroup_size(1)
fn muller_brown() {
    let terms = array(
        Term(-200.0, vec3f(-1.0, 0.0, -10.0), vec2f(1.0, 0.0)),
        Term(-100.0, vec3f(-1.0, 0.0, -10.0), vec2f(0.0, 0.5)),
        Term(-170.0, vec3f(-6.5, 11.0, -6.5), vec2f(-0.5, 1.5)),
        Term(15.0, vec3f(0.7, 0.6, 0.7), vec2f(-1.0, 1.0)),
    );
    var slope = vec2f();
    for (var i = 0u; i < 4u; i += 1u) {
        let term = terms[i];
        let d = position() - term.centre;
        let energy = term.height * exp(dot(term.factors, vec3f(d.x * d.x, d.x * d.y, d.y * d.y)));
        let f = term.factors;
        slope += energy * vec2f(2.0 * f.x * d.x + f.y * d.y, f.y * d.x + 2.0 * f.z * d.y);
    }
    set_gradient(slope);
}
