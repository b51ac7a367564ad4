// displace: places the probe of several dimers.
//
//   probe <- params + distance sum_b s_b N_b / sqrt(B), or with EXACT without params and distance
//   distance as in ../displace.wgsl
//
// in:  params, N, and with RELATIVE the partials of norm
// out: probe, scalars.displacement
// 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let distance = probe_distance(lane);
    if shard.first_tile + workgroup.x == 0u && lane == 0u {
        scalars.displacement = distance;
    }
    let piece = piece_of(workgroup.x, lane);
    let scale = sign_of(piece.region) * step.region_scale;
    for (var i = piece.first + lane % STREAM_WIDTH; i < piece.end; i += STREAM_WIDTH) {
        probe[i] = placed(params[i], distance, scale * orientation[i]);
    }
}
