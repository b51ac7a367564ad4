// sum_entries: adds the sums of all tiles, a workgroup for each entry, into its first tile.
//
// in:  the partials of gram
// out: the first partial of each entry
// builds on: modes_bindings, mode_sums, threads, entry

fn kernel(thread: Thread) {
    let entry = thread.workgroup.x;
    let sums = sum_of_entry(thread, entry);
    if thread.lane == 0u {
        modes.partials[entry * step.tiles] = sums;
    }
}
