// first_distance: the distance of the probes, or where that is searched for the least one, by one workgroup; with FAR the
// middle of the search, for the probes before it.
//
//   distance = max(minimum, fraction |theta|)      FAR: 64 times that
//
// in:  the partials of norm
// out: modes.distance
// builds on: modes_bindings, partial, reduction, threads, switches, entry

const LARGEST: f32 = 3e38;
const MIDDLE: f32 = 64.0;

fn kernel(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane == 0u {
        let first = max(modes.minimum, modes.fraction * norm_of(sums.small.x, sums.large.x));
        modes.distance = select(first, MIDDLE * first, FAR);
        // Where no product is finite.
        modes.best_distance = MIDDLE * first;
        modes.best_error = LARGEST;
    }
}
