// gram: the sums of ../gram.wgsl over one piece.
//
// in:  g1, N, and with ROTATION also g2
// out: one `Partial` a piece; the last record becomes the previous one
// 8 or 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let piece = piece_of(thread);
    var total = Partial();
    var i = piece.first + thread.lane % STREAM_WIDTH;
    while i < piece.end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < piece.end; term += 1u) {
            run = add(run, products(i, place_of(i)));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    let sums = reduce_stream(thread, total);
    if thread.lane % STREAM_WIDTH == 0u && piece.first < piece.end {
        scalars.partials[piece.slot] = sums;
    }
    if shard.first_tile + thread.workgroup.x == 0u && thread.lane == 0u {
        scalars.previous = scalars.latest;
    }
}
