// scale_product: from the gradient at a probe along s d / |s d| to the product times the distance, s H (s d) distance.
//
//   g2 <- |s d| s (g2 - g1), or with an exact product |s d| s g2
//
// in:  g1, g2, second moment, and the partials of norm
// out: g2
// 16 bytes per element, with an exact product 12.
// builds on: metric, scalars, streams, threads, tile_bounds, switches, entry

var<workgroup> shared_norm: f32;

fn scale_product(i: u32, place: Place, factor: f32) {
    var difference = probe_gradient[i];
    if DIFFERENCE != EXACT {
        difference -= gradient[i];
    }
    probe_gradient[i] = shared_norm * scale_at(i, place, factor) * difference;
}

fn kernel(thread: Thread) {
    let norm = scaled_norm(thread);
    if thread.lane == 0u {
        shared_norm = norm;
    }
    workgroupBarrier();
    let factor = square_factor();
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        scale_product(i, tile.place, factor);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        scale_product(i, place_of(i), factor);
    }
}
