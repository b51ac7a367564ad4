// The frame of translate and rotate_translate, which define what happens to one vec4:
//
//   fn element(i: u32, place: Place, applied: Applied)
//
// builds on: types, broadcast_update, tile_bounds, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let applied = broadcast_update(thread);
    if applied.skipped != 0u {
        return;
    }
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        element(i, tile.place, applied);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        element(i, place_of(i), applied);
    }
}
