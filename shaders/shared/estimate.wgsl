// What one gradient beside the parameters, on alternate sides of them, tells of the gradient at them and of HN.
// builds on: types, scalars, step_bindings, tile_bounds, vector_bindings, workspace

// The vectors of the workspace: HN and the gradient at the parameters as they are known, and the last turn of N.
const PRODUCT: u32 = 0u;
const CENTRE: u32 = 1u;
const TURN: u32 = 2u;

struct Estimate {
    // The gradient at the probe, as the objective gave it.
    probed: vec4f,
    centre: vec4f,
    product: vec4f,
    // By how much `probed` was not what had been foreseen.
    error: vec4f,
}

// How far the probe lies along N, on this step's side.
fn along() -> f32 {
    return step.side * scalars.displacement;
}

// Nothing is foreseen of the first gradient: there was no probe before.
fn foresees(last: Record) -> bool {
    return last.displacement != 0.0;
}

// The gradient at a probe is foreseen as centre + along HN. The error is shared in halves between the two.
fn estimate(i: u32, place: Place, foresees: bool) -> Estimate {
    var result = Estimate();
    result.probed = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let product = select(vec4f(), load_vector(PRODUCT, i), vec4<bool>(foresees));
    let foreseen = fma(vec4f(along()), product, load_vector(CENTRE, i));
    result.error = select(vec4f(), result.probed - foreseen, acts(place) & vec4<bool>(foresees));
    result.product = fma(vec4f(0.5 / along()), result.error, product);
    result.centre = fma(vec4f(-along()), result.product, result.probed);
    return result;
}
