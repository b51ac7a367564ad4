// gram: the sums over one tile from which curvature, rotation, projection and clipping follow.
//
//   N.N  N.d  g1.N  N.SN  g1.g1  d.d  g1.d      with d = g2 - g1 and S the learning rate scales
//
// in:  g1, and with DIMER also N, and with ROTATION also g2
// out: one `Partial` per tile; the last record becomes the previous one
// 4, 8 or 12 bytes per element.
// builds on: vector_bindings, products, run, partial, tile_bounds, streams, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let tile = tile_of(thread);
    var total = Partial();
    var i = tile.first;
    while i < tile.alike_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.alike_end; term += 1u) {
            run = add(run, products(i, tile.place));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    i = tile.first;
    while i < tile.mixed_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.mixed_end; term += 1u) {
            run = add(run, products(i, place_of(i)));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    let sums = reduce_workgroup(thread, total);
    if thread.lane == 0u {
        let index = shard.first_tile + thread.workgroup.x;
        scalars.partials[index] = sums;
        if index == 0u {
            keep_latest();
        }
    }
}
