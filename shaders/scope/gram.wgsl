// gram: the sums of ../gram.wgsl over one piece.
//
// in:  g1, N, and with ROTATION also g2
// out: one `Partial` a piece; the last record becomes the previous one
// 8 or 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let piece = piece_of(workgroup.x, lane);
    var total = Partial();
    var i = piece.first + lane % STREAM_WIDTH;
    while i < piece.end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < piece.end; term += 1u) {
            run = add(run, products(i, place_of(i)));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    let sums = reduce_stream(lane, total);
    if lane % STREAM_WIDTH == 0u && piece.first < piece.end {
        scalars.partials[piece.slot] = sums;
    }
    if shard.first_tile + workgroup.x == 0u && lane == 0u {
        scalars.previous = scalars.latest;
    }
}
