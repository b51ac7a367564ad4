// Where a probe lies.

// A probe at this distance from theta along a direction, or with EXACT the direction itself.
fn placed(theta: vec4f, distance: f32, direction: vec4f) -> vec4f {
    return select(fma(vec4f(distance), direction, theta), direction, vec4<bool>(EXACT));
}

// The fraction of the norm of the parameters that the automatic displacement starts with.
const FIRST_FACTOR: f32 = 3e-5;

fn automatic_factor() -> f32 {
    let factor = scalars.calibration.factor;
    return select(factor, FIRST_FACTOR, factor == 0.0);
}
