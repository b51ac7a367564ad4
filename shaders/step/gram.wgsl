// gram: the sums over one tile from which curvature, rotation, projection and clipping follow.
//
//   N.N  N.d  g1.N  N.SN  g1.g1  d.d  g1.d      with d = g2 - g1 and S the learning rate scales
//
// in:  g1, and with DIMER also N, and with ROTATION also g2
// out: one `Partial` per tile; the last record becomes the previous one
// 4, 8 or 12 bytes per element.
// builds on: vector_bindings, products, tile_sums, partial, threads, switches, entry

fn terms(i: u32, place: Place) -> Partial {
    return products(i, place);
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
        if leads(thread.workgroup.x) {
            keep_latest();
        }
    }
}
