// Sums over all tiles in a fixed order: the same bits on every run on one device.
// builds on: partial, threads, scalars, step_bindings, switches

// The sum of all partials, known to the first thread of every workgroup, in the same order.
fn reduce_partials(thread: Thread) -> Partial {
    if SUMMED {
        return scalars.total;
    }
    return reduce_partials_of(0u, thread);
}

// The same for set `number` of them: a kernel with more sums leaves several.
fn reduce_partials_of(number: u32, thread: Thread) -> Partial {
    var total = Partial();
    for (var tile = thread.lane; tile < step.tiles; tile += WORKGROUP_SIZE) {
        total = add(total, scalars.partials[number * step.tiles + tile]);
    }
    return reduce_workgroup(thread, total);
}
