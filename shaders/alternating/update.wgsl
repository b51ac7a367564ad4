// update: takes up what the gradient at the probe tells, turns N, and with MOVES takes the step.
//
//   N, b <- coefficients of turn over (N, HN, b),  HN and c as estimated
//   params <- params + shift S N, S being the learning rate scales of the groups
//   g <- clip g - correction N,  then SGD, Adam, AdamW, Lion or Sophia with g
//
// in:  g, N, the workspace, params, moments, scalars.alternation and the record
// out: N, the workspace, params, moments
// Bytes per element: 36, and with MOVES 44 (SGD), 52 (momentum), 60 (Adam).
// builds on: vector_bindings, estimate, scaled, translation, base, update, tile_bounds, streams, threads, switches, entry

// What every element needs to know.
struct Taken {
    alternation: Alternation,
    probe: Probe,
    clip: f32,
    shift: f32,
    factors: BaseFactors,
}

fn over_basis(coefficients: vec3f, n: vec4f, found: Estimate) -> vec4f {
    let kept = coefficients.x * n;
    return fma(vec4f(coefficients.z), found.turn, fma(vec4f(coefficients.y), found.product, kept));
}

fn element(i: u32, place: Place, taken: Taken) {
    let found = estimate(i, place, taken.probe);
    let before = orientation_at(i);
    let n = over_basis(taken.alternation.combination, before, found);
    store_orientation(i, n);
    store_vector(TURN, i, over_basis(taken.alternation.direction, before, found));
    store_vector(PRODUCT, i, found.product);
    store_vector(CENTRE, i, found.centre);
    if MOVES {
        let theta = shifted(params[i], n, taken.shift, place.group);
        let g = correct(rounded(taken.clip * found.probed), n, taken.alternation.correction);
        update(i, theta, g, place.group, taken.factors);
    }
}

fn kernel(thread: Thread) {
    let alternation = scalars.alternation;
    if alternation.valid == 0u {
        return;
    }
    let factors = base_factors(scalars.latest.updates, scalars.latest.learning_rate);
    let probe = probe_after(scalars.previous);
    let taken = Taken(alternation, probe, scalars.latest.clip, scalars.latest.shift, factors);
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        element(i, tile.place, taken);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        element(i, place_of(i), taken);
    }
}
