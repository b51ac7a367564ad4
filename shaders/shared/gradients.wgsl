// The gradient of a step and the product, from what the objective has written.
// builds on: types, step_bindings, switches, tile_bounds

fn load_gradient(i: u32, place: Place) -> vec4f {
    var g = step.gradient_scale * gradient[i];
    if DIFFERENCE == CENTRAL {
        g = 0.5 * fma(vec4f(step.gradient_scale), probe_gradient_at(i), g);
    }
    return select(vec4f(), g, place.valid);
}

// The product times the distance where the dimer acts, else 0.
fn load_difference(i: u32, place: Place, g1: vec4f) -> vec4f {
    var d = step.gradient_scale * probe_gradient_at(i);
    if DIFFERENCE == CENTRAL {
        d = 0.5 * fma(vec4f(-step.gradient_scale), gradient[i], d);
    } else if DIFFERENCE != EXACT {
        d -= g1;
    }
    return select(vec4f(), d, acts(place));
}
