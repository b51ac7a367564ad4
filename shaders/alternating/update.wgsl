// update: takes up what the gradient at the probe tells, turns N, and with MOVES takes the step.
//
//   N, b <- coefficients of turn over (N, HN, b),  HN and c as estimated
//   params <- params + shift S N, S being the learning rate scales of the groups
//   g <- clip (g - (g.N) N) where that shift is shorter than it may be, else clip g,
//   then SGD, Adam, AdamW, Lion or Sophia with g
//
// in:  g, N, the workspace, params, moments, scalars.ritz and the record
// out: N, the workspace, params, moments
// Bytes per element: 36, and with MOVES 44 (SGD), 52 (momentum), 60 (Adam).
// builds on: vector_bindings, estimate, scaled, translation, base, update, tile_bounds, streams, threads, switches, entry

fn over_basis(coefficients: vec3f, n: vec4f, product: vec4f, turn: vec4f) -> vec4f {
    let kept = coefficients.x * n;
    return fma(vec4f(coefficients.z), turn, fma(vec4f(coefficients.y), product, kept));
}

fn element(i: u32, place: Place, foreseen: bool, factors: BaseFactors) {
    let found = estimate(i, place, foreseen);
    let before = orientation_at(i);
    let turn = load_vector(TURN, i);
    let n = over_basis(scalars.ritz.combination, before, found.product, turn);
    store_orientation(i, n);
    store_vector(TURN, i, over_basis(scalars.ritz.direction, before, found.product, turn));
    store_vector(PRODUCT, i, found.product);
    store_vector(CENTRE, i, found.centre);
    if MOVES {
        let clip = scalars.latest.clip;
        let longest = scalars.latest.trust_radius * scalars.latest.learning_rate;
        // The shift is all of the step along N, if it is Newton's.
        let is_whole = abs(scalars.latest.shift) < longest;
        let probed = fma(along(), scalars.latest.curvature, scalars.latest.projection);
        let correction = select(0.0, clip * probed, is_whole);
        let theta = shifted(params[i], n, scalars.latest.shift, place.group);
        update(i, theta, correct(rounded(clip * found.probed), n, correction), place.group, factors);
    }
}

fn kernel(thread: Thread) {
    if scalars.ritz.valid == 0u {
        return;
    }
    let foreseen = foresees(scalars.previous);
    let factors = base_factors(scalars.latest.updates, scalars.latest.learning_rate);
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        element(i, tile.place, foreseen, factors);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        element(i, place_of(i), foreseen, factors);
    }
}
