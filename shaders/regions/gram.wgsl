// gram: the sums of ../step/gram.wgsl over the pieces, by streams that walk one after the other.
//
// in:  g1, N, and with a rotation also g2
// out: a `Partial` for each piece and thread of its stream; the last record becomes the previous one
// 8 or 12 bytes per element.
// builds on: vector_bindings, regions, products, run, partial, threads, switches, entry

fn kernel(thread: Thread) {
    let lane = thread.lane % PIECE_WIDTH;
    for (var index = first_piece(thread); index < shard.end_piece; index += streams(thread)) {
        let piece = pieces[index];
        let group = tables.groups[piece.group];
        var total = Partial();
        var i = piece.first + lane;
        while i < piece.end {
            var run = Partial();
            for (var term = 0u; term < RUN && i < piece.end; term += 1u) {
                run = add(run, products(i, place_in(piece, group, i)));
                i += PIECE_WIDTH;
            }
            total = add(total, run);
        }
        scalars.partials[piece.partial * PIECE_WIDTH + lane] = total;
    }
    if leads(thread.workgroup.x) && thread.lane == 0u {
        keep_latest();
    }
}
