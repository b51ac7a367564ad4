// norm: the sum of squares of the parameters over one tile, for a displacement relative to it.
//
// in:  params (their padding is zero)
// out: one `Partial` per tile, of which only small.x and large.x are used
// 4 bytes per element.
// builds on: probe_bindings, partial, streams, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let walk = walk_of(thread);
    var total = Partial();
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let small = params[i] * SMALL_SCALE;
        let large = params[i] * LARGE_SCALE;
        total.small.x += dot_lanes(small, small);
        total.large.x += dot_lanes(large, large);
    }
    let sums = reduce_workgroup(thread, total);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
    }
}
