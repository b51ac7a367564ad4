// update_norm: the sums of squares of the update and of the parameters that it can move over one tile.
//
//   u.u  params.params
//
// in:  g, params, moments, and where the gradient is clipped the partials of gram
// out: one `Partial` per tile behind those of gram, of which the first two sums of squares are used
// Bytes per element: 8 (SGD), 12 (one moment), 16 (two).
// builds on: update_direction, partial, tile_sums, scalars, threads, switches

fn terms(i: u32, place: Place) -> Partial {
    let u = update_at(i, place);
    let theta = select(vec4f(), params[i], vec4<bool>(place.group.learning_rate_scale > 0.0));
    var result = Partial();
    result.small.x = dot_lanes(u * SMALL_SCALE, u * SMALL_SCALE);
    result.large.x = dot_lanes(u * LARGE_SCALE, u * LARGE_SCALE);
    result.small.y = dot_lanes(theta * SMALL_SCALE, theta * SMALL_SCALE);
    result.large.y = dot_lanes(theta * LARGE_SCALE, theta * LARGE_SCALE);
    return result;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    find_factors(thread);
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[step.tiles + shard.first_tile + thread.workgroup.x] = sums;
    }
}
