// keep_update: keeps what is known of the update; by one workgroup.
//
//   |u|  distance = rate_displacement (1 + |params|)  g.u  g.w
//
// in:  the partials of update_products
// out: scalars.rate
// builds on: partial, reduction, scalars, step_bindings, threads, switches, entry

fn kernel(thread: Thread) {
    let sums = reduce_partials_of(1u, thread);
    if thread.lane == 0u {
        scalars.rate.update_norm = norm_of(sums.small.x, sums.large.x);
        scalars.rate.distance = step.rate_displacement * (1.0 + norm_of(sums.small.y, sums.large.y));
        scalars.rate.own_slope = sums.plain.x;
        // That of an update that was not measured has nothing to be compared with.
        let is_known = scalars.latest.updates == scalars.rate.last_updates;
        scalars.rate.previous_slope = select(0.0, sums.plain.y, is_known);
    }
}
