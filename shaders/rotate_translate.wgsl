// rotate_translate: one whole event in one pass.
//
//   N <- normalize(n - rate F)      with n = N/|N|, F = Hn - C n, Hn = (g2 - g1) / (distance |N|)
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam or AdamW with g
//
// in:  g1, g2, N, params, moments and the partials of gram
// out: N, params, moments, the record
// Bytes an element: 24 (SGD), 32 (momentum), 40 (Adam).

fn rotate_translate(i: u32, place: Place, result: Outcome, factors: BaseFactors) {
    let g1 = load_gradient(i, place);
    let d = load_difference(i, place, g1);
    let n = fma(vec4f(result.turn), d, result.keep * orientation[i]);
    orientation[i] = n;
    update(i, correct(result.clip * g1, n, result), place.group, factors);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let result = outcome(reduce_partials(lane));
    publish(result, workgroup.x, lane);
    if is_skipped(result) {
        return;
    }
    let factors = base_factors(result.record.updates);
    let tile = tile_of(workgroup.x, lane);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        rotate_translate(i, tile.place, result, factors);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        rotate_translate(i, place_of(i), result, factors);
    }
}
