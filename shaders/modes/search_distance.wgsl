// search_distance: compares the distance of the last pair of probes with the best so far, by one workgroup.
//
//   where |e| + |Hx| |y - x| of the product along a mode is the smallest: best <- distance
//   distance <- 4 distance, or with LAST the best; products that were not finite until then do not count
//
// in:  the partials of residuals
// out: modes.distance
// builds on: modes_bindings, mode_sums, partial, threads, switches, entry

const STEP: f32 = 4.0;

fn kernel(thread: Thread) {
    let sums = sum_of_entry(thread, 0u);
    if thread.lane != 0u {
        return;
    }
    // The rounding of the gradients, with what the bend of the loss adds, and that of the points.
    let size = norm_of(sums.small.x, sums.large.x) + abs(modes.curvatures[arguments.column]);
    let error = fma(size, sqrt(sums.plain.z), norm_of(sums.small.y, sums.large.y));
    // A NaN is not less.
    if error < modes.best_error {
        modes.best_error = error;
        modes.best_distance = modes.distance;
    }
    if LAST {
        modes.valid = 1u;
    }
    modes.distance = select(STEP * modes.distance, modes.best_distance, LAST);
}
