// What one gradient beside the parameters, on alternate sides of them, tells of the gradient at them and of HN.
// builds on: types, scalars, step_bindings, tile_bounds, vector_bindings, workspace

// The vectors of the workspace: HN and the gradient at the parameters as they are known, and the last turn of N.
const PRODUCT: u32 = 0u;
const CENTRE: u32 = 1u;
const TURN: u32 = 2u;

// The probe of a step: how far it lies along N, and whether there was one before, from which its gradient is predicted.
struct Probe {
    along: f32,
    predicts: bool,
}

fn probe_after(last: Record) -> Probe {
    return Probe(side_after(last) * scalars.displacement, last.displacement != 0.0);
}

struct Estimate {
    // The gradient at the probe, as the objective gave it.
    probed: vec4f,
    centre: vec4f,
    product: vec4f,
    // By how much `probed` is not what was predicted.
    error: vec4f,
    turn: vec4f,
}

// The gradient at a probe is predicted as centre + along HN. The error is shared in halves between the two terms.
fn estimate(i: u32, place: Place, probe: Probe) -> Estimate {
    let known = acts(place) & vec4<bool>(probe.predicts);
    var result = Estimate();
    result.probed = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let product = select(vec4f(), load_vector(PRODUCT, i), known);
    let predicted = fma(vec4f(probe.along), product, load_vector(CENTRE, i));
    result.error = select(vec4f(), result.probed - predicted, known);
    result.product = fma(vec4f(0.5 / probe.along), result.error, product);
    result.centre = fma(vec4f(-probe.along), result.product, result.probed);
    result.turn = select(vec4f(), load_vector(TURN, i), known);
    return result;
}
