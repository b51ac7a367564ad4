// The frame of the kernels that pass over the elements of every piece, which define what happens to one vec4:
//
//   fn element(i: u32, place: Place, applied: Applied)
//
// builds on: vector_bindings, regions, threads, switches, entry

fn kernel(thread: Thread) {
    if (scalars.latest.status & SKIPPED) != 0u {
        return;
    }
    let lane = thread.lane % PIECE_WIDTH;
    for (var index = first_piece(thread); index < shard.end_piece; index += streams(thread)) {
        let piece = pieces[index];
        let group = tables.groups[piece.group];
        let applied = regions[piece.region].applied;
        for (var i = piece.first + lane; i < piece.end; i += PIECE_WIDTH) {
            element(i, place_in(piece, group, i), applied);
        }
    }
}
