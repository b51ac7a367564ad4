// keep_slope: keeps what the next step, on the same minibatch, needs to know of this one; by one thread.
//
// in:  the partials of step_products, the record of this step
// out: scalars.rate
// builds on: arithmetic, reduction, scalars, step_bindings, threads, switches, entry

fn kernel(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane == 0u {
        scalars.rate.first = step.index;
        // A step that was skipped has nothing to compare.
        let is_taken = (scalars.latest.status & SKIPPED) == 0u && is_finite(sums.plain.x);
        scalars.rate.first_rate = select(0.0, scalars.latest.learning_rate, is_taken);
        scalars.rate.first_slope = sums.plain.x;
    }
}
