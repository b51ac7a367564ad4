// keep_update_norm: the norm of the update, for the length of a step along N; by one workgroup.
//
//   |u|
//
// in:  the partials of update_norm
// out: scalars.rate.update_norm
// builds on: update_bindings, arithmetic, partial, reduction, scalars, step_bindings, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let sums = reduce_partials_of(1u, thread);
    if thread.lane == 0u {
        scalars.rate.update_norm = norm_of(sums.small.x, sums.large.x);
    }
}
