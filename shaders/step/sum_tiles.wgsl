// sum_tiles: adds the partials of all tiles, by one workgroup. Where there are many tiles, that takes less time than if
// every workgroup of the next kernel does it for itself.
//
// in:  one set of partials, or with SECOND two
// out: scalars.totals
// builds on: scalars, step_bindings, partial, reduction, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let first = reduce_partials_of(0u, thread);
    if thread.lane == 0u {
        scalars.totals[0] = first;
    }
    if SECOND {
        workgroupBarrier();
        let second = reduce_partials_of(1u, thread);
        if thread.lane == 0u {
            scalars.totals[1] = second;
        }
    }
}
