// first_distance: the distance of the probes, or that with which its search begins, by one workgroup.
//
//   distance = max(minimum, fraction |theta|)
//
// in:  the partials of norm
// out: modes.distance
// builds on: modes_bindings, partial, reduction, threads, switches

const LARGEST: f32 = 3e38;
// The middle of the search, for the case that no product is finite.
const MIDDLE: f32 = 64.0;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane == 0u {
        modes.distance = max(modes.minimum, modes.fraction * norm_of(sums.small.x, sums.large.x));
        modes.best_distance = MIDDLE * modes.distance;
        modes.best_error = LARGEST;
    }
}
