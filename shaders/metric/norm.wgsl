// norm: the sum of squares of a scaled direction over one tile.
//
//   |s d|^2
//
// in:  the direction d in the probe, second moment
// out: one `Partial` per tile, of which only small.x and large.x are used
// 8 bytes per element.
// builds on: scaled, metric, partial, scalars, threads, tile_sums, switches, entry

fn terms(i: u32, place: Place) -> Partial {
    let scaled = scale_at(i, place, square_factor()) * probe[i];
    var result = Partial();
    result.small.x = square_up(scaled);
    result.large.x = square_down(scaled);
    return result;
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
    }
}
