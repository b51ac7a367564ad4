// The sums over one tile of what the kernel defines for one vec4:
//
//   fn terms(i: u32, place: Place) -> Partial
//
// builds on: types, partial, run, tile_bounds, streams, threads, switches

// Known to the first thread of the workgroup.
fn sum_over_tile(thread: Thread) -> Partial {
    let tile = tile_of(thread);
    var total = Partial();
    var i = tile.first;
    while i < tile.alike_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.alike_end; term += 1u) {
            run = add(run, terms(i, tile.place));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    i = tile.first;
    while i < tile.mixed_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.mixed_end; term += 1u) {
            run = add(run, terms(i, place_of(i)));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    return reduce_workgroup(thread, total);
}
