// displace: places the probe of several dimers.
//
//   probe <- params + distance sum_b s_b N_b / sqrt(B), or with an exact product without params and distance
//   distance as in ../probe/displace.wgsl
//
// in:  params, N, and with RELATIVE the partials of norm
// out: probe, scalars.displacement
// 12 bytes per element.
// builds on: probe_bindings, regions, probe_distance, threads, switches, entry

fn kernel(thread: Thread) {
    let distance = probe_distance(thread);
    if leads(thread.workgroup.x) && thread.lane == 0u {
        scalars.displacement = distance;
    }
    let lane = thread.lane % PIECE_WIDTH;
    for (var index = first_piece(thread); index < shard.end_piece; index += streams(thread)) {
        let piece = pieces[index];
        let scale = sign_of(piece.region) * step.region_scale;
        for (var i = piece.first + lane; i < piece.end; i += PIECE_WIDTH) {
            probe[i] = placed(params[i], distance, scale * orientation_at(i));
        }
    }
}
