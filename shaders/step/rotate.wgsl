// rotate: turns the dimer and leaves the parameters alone.
//
//   N <- normalize(n - rate F)      with n = N/|N|, F = Hn - C n, Hn = (g2 - g1) / (distance |N|)
//
// in:  g1, g2, N and the partials of gram
// out: N, the record
// 16 bytes per element.
// builds on: vector_bindings, broadcast_update, gradients, tile_bounds, streams, turn, switches, entry

fn rotate(i: u32, place: Place, applied: Applied) {
    let d = load_difference(i, place, load_gradient(i, place));
    store_orientation(i, turned(orientation_at(i), d, applied));
}

fn kernel(thread: Thread) {
    let applied = broadcast_update(thread);
    // A locally optimal rotation has turned N already.
    if ROTATION == BY_GRADIENT {
        if applied.skipped != 0u {
            return;
        }
        let tile = tile_of(thread);
        for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
            rotate(i, tile.place, applied);
        }
        for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
            rotate(i, place_of(i), applied);
        }
    }
}
