// translate: corrects the gradient along N and takes the step of the base optimizer.
//
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam or AdamW with g
//
// in:  g1, params, moments and the partials of gram, and with DIMER also N
// out: params, moments, the record
// Bytes an element: 12 (SGD), 20 (momentum), 28 (Adam); 4 more with DIMER.

fn translate(i: u32, place: Place, result: Outcome, factors: BaseFactors) {
    var g = result.clip * load_gradient(i, place);
    if DIMER {
        g = correct(g, orientation[i], result);
    }
    update(i, g, place.group, factors);
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
        translate(i, tile.place, result, factors);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        translate(i, place_of(i), result, factors);
    }
}
