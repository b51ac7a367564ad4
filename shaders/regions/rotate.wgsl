// rotate: turns N of each region and leaves the parameters alone.
//
// in:  g1, g2, N, regions[].applied and the record of combine_regions
// out: N
// 16 bytes per element.
// builds on: vector_bindings, regions, gradients, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    if (scalars.latest.status & SKIPPED) != 0u {
        return;
    }
    let lane = thread.lane % PIECE_WIDTH;
    for (var index = first_piece(thread); index < shard.end_piece; index += streams(thread)) {
        let piece = pieces[index];
        let group = tables.groups[piece.group];
        let applied = regions[piece.region].applied;
        for (var i = piece.first + lane; i < piece.end; i += PIECE_WIDTH) {
            let place = place_in(piece, group, i);
            let d = load_difference(i, place, load_gradient(i, place));
            let n = fma(vec4f(applied.turn), d, applied.keep * orientation_at(i));
            store_orientation(i, n);
        }
    }
}
