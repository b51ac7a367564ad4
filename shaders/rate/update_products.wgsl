// update_products: what a measurement has to know of the update, over one tile: norms, and slopes.
//
//   u.u  params.params  g.u  g.w  with the update w of the step before; of the parameters those that can move
//
// in:  g, params, moments, and where the gradient is clipped the partials of gram
// out: one `Partial` per tile behind those of gram, of which the first two sums of each kind are used
// Bytes per element: 8 (SGD), 12 (one moment), 16 (two).
// builds on: scaled, update_direction, partial, tile_sums, scalars, threads, switches, entry

fn terms(i: u32, place: Place) -> Partial {
    let update = update_at(i, place);
    let u = update.u;
    let theta = select(vec4f(), params[i], vec4<bool>(place.group.learning_rate_scale > 0.0));
    var result = Partial();
    result.plain.x = dot_lanes(update.g, u);
    result.plain.y = dot_lanes(update.g, update.previous);
    result.small.x = square_up(u);
    result.large.x = square_down(u);
    result.small.y = square_up(theta);
    result.large.y = square_down(theta);
    return result;
}

fn kernel(thread: Thread) {
    find_factors(thread);
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[step.tiles + shard.first_tile + thread.workgroup.x] = sums;
    }
}
