// Sums of the set of modes: several entries, each with one `Partial` per tile.
// builds on: modes_bindings, partial, threads, step_bindings, switches

// The workgroup's share of one entry.
fn leave_sums(thread: Thread, entry: u32, sums: Partial) {
    if thread.lane == 0u {
        modes.partials[entry * step.tiles + shard.first_tile + thread.workgroup.x] = sums;
    }
}

// The sum of all tiles of one entry, known to the first thread.
fn sum_of_entry(thread: Thread, entry: u32) -> Partial {
    var total = Partial();
    for (var tile = thread.lane; tile < step.tiles; tile += WORKGROUP_SIZE) {
        total = add(total, modes.partials[entry * step.tiles + tile]);
    }
    let sums = reduce_workgroup(thread, total);
    workgroupBarrier();
    return sums;
}
