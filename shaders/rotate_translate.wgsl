// rotate_translate: one whole event in one pass.
//
//   N <- normalize(n - rate F)      with n = N/|N|, F = Hn - C n, Hn = (g2 - g1) / (distance |N|)
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam or AdamW with g
//
// in:  g1, g2, N, params, moments and the partials of gram
// out: N, params, moments, the record
// Bytes an element: 24 (SGD), 32 (momentum), 40 (Adam).

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
        let g1 = load_gradient(i);
        let d = load_difference(i, g1);
        let n = fma(vec4f(result.turn), d, result.keep * orientation[i]);
        orientation[i] = n;
        var g = result.clip * g1;
        // Without a correction the bits of g must stay, the sign of a zero included.
        if result.correction != 0.0 {
            g = fma(vec4f(-result.correction), n, g);
        }
        update(i, g, factors);
    }
}
