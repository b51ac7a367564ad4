// hessian_product: the Hessian along the direction of the last probe.
//
//   workspace[VECTOR] <- d / distance      where the dimer acts, else 0
//
//   forward: d = g2 - g1, exact: d = g2
//   central along n: d = (g2 - g1) / 2 with g1 on the other side, and g1 <- (g1 + g2) / 2
//   central along u and p: d = (workspace[VECTOR] - g2) / 2, where the first of the pair was kept
//
// in:  g1, g2
// out: one vector of the workspace
// 12 bytes per element; with a central difference 16 along n and 12 otherwise.
// builds on: basis_bindings, gradients, tile_bounds, streams, switches, entry

fn store_product(i: u32, place: Place, inverse: f32) {
    let g1 = load_gradient(i, place);
    var d = load_difference(i, place, g1);
    if DIFFERENCE == CENTRAL {
        if VECTOR == HN {
            gradient[i] = step.loss_scale * g1;
        } else {
            d = select(vec4f(), kept_difference(i), acts(place));
        }
    }
    store_vector(VECTOR, i, inverse * d);
}

fn kept_difference(i: u32) -> vec4f {
    let difference = load_vector(VECTOR, i) - probe_gradient_at(i);
    return 0.5 * step.gradient_scale * difference;
}

fn kernel(thread: Thread) {
    if STOPS & (VECTOR != HN) {
        if scalars.ritz.stopped != 0u {
            return;
        }
    }
    let inverse = 1.0 / scalars.displacement;
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        store_product(i, tile.place, inverse);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        store_product(i, place_of(i), inverse);
    }
}
