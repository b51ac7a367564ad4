// translate: corrects the gradient along N and takes the step of the base optimizer.
//
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam or AdamW with g
//
// in:  g1, params, moments and the partials of gram, and with DIMER also N
// out: params, moments, the record
// Bytes an element: 12 (SGD), 20 (momentum), 28 (Adam); 4 more with DIMER.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let result = outcome(reduce_partials(lane));
    publish(result, workgroup.x, lane);
    if is_skipped(result) {
        return;
    }
    let factors = base_factors(result.record.updates);
    let begin = workgroup.x * shard.tile_vectors;
    let end = min(begin + shard.tile_vectors, shard.vectors);
    for (var i = begin + lane; i < end; i += WORKGROUP_SIZE) {
        var g = result.clip * load_gradient(i);
        if DIMER {
            // Without a correction the bits of g must stay, the sign of a zero included.
            if result.correction != 0.0 {
                g = fma(vec4f(-result.correction), orientation[i], g);
            }
        }
        update(i, g, factors);
    }
}
