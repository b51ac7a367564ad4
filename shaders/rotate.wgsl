// rotate: turns the dimer and leaves the parameters alone.
//
//   N <- normalize(n - rate F)      with n = N/|N|, F = Hn - C n, Hn = (g2 - g1) / (distance |N|)
//
// in:  g1, g2, N and the partials of gram
// out: N, the record
// 16 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let result = outcome(reduce_partials(lane));
    publish(result, workgroup.x, lane);
    if is_skipped(result) {
        return;
    }
    let begin = workgroup.x * shard.tile_vectors;
    let end = min(begin + shard.tile_vectors, shard.vectors);
    for (var i = begin + lane; i < end; i += WORKGROUP_SIZE) {
        let d = load_difference(i, load_gradient(i));
        orientation[i] = fma(vec4f(result.turn), d, result.keep * orientation[i]);
    }
}
