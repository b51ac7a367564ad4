// N after a rotation by gradient.
// builds on: types

// A product that is not finite turns nothing.
fn turned(n: vec4f, d: vec4f, applied: Applied) -> vec4f {
    let kept = applied.keep * n;
    return select(kept, fma(vec4f(applied.turn), d, kept), vec4<bool>(applied.turn != 0.0));
}
