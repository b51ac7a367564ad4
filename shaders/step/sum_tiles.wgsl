// sum_tiles: adds the partials of all tiles, by one workgroup. Where there are many tiles, that takes less time than if
// every workgroup of the next kernel does it for itself.
//
// in:  the first set of partials
// out: scalars.total
// builds on: scalars, step_bindings, partial, reduction, threads, switches, entry

fn kernel(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane == 0u {
        scalars.total = sums;
    }
}
