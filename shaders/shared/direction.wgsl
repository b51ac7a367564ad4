// The direction p of a rotation. Where it outlives an event (KEEPS_DIRECTION), nothing writes it before the last
// rotation, when it is known that every gradient was finite.
// builds on: mode, types, scalars, scaled, step_bindings, switches, tile_bounds, basis_bindings

// Until N has found negative curvature p is the gradient: on a plateau the steps so far have turned it
// towards such curvature. The stiffest curvature is hardly ever negative, so there that is the first event.
fn takes_gradient() -> bool {
    return scalars.latest.events == 0u || sought(scalars.latest.curvature) >= 0.0;
}

// p before it is normalised.
fn raw_direction(i: u32) -> vec4f {
    if KEEPS_DIRECTION {
        if takes_gradient() {
            let place = place_of(i);
            return select(vec4f(), step.gradient_scale * gradient[i], acts(place));
        }
    }
    return load_vector(P, i);
}

fn direction_at(i: u32) -> vec4f {
    if KEEPS_DIRECTION {
        return rounded(scalars.ritz.inverse_direction * raw_direction(i));
    }
    return load_vector(P, i);
}
