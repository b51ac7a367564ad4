// norm: the sum of squares of the parameters that the dimer reaches over one tile, for a displacement relative to their
// norm.
//
// in:  params
// out: one `Partial` per tile, of which only small.x and large.x are used
// 4 bytes per element.
// builds on: scaled, probe_bindings, partial, tile_bounds, tile_sums, threads, switches, entry

fn terms(i: u32, place: Place) -> Partial {
    let theta = select(vec4f(), params[i], acts(place));
    var result = Partial();
    result.small.x = square_up(theta);
    result.large.x = square_down(theta);
    return result;
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
    }
}
