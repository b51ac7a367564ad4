// The frame of kernels of the set of modes that sum over one tile what they define for one vec4:
//
//   fn terms(i: u32, thread: Thread) -> Partial
//
// builds on: partial, run, streams, threads, switches

// Known to the first thread of the workgroup.
fn sum_over_tile(thread: Thread) -> Partial {
    let walk = walk_of(thread);
    var total = Partial();
    var i = walk.first;
    while i < walk.end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < walk.end; term += 1u) {
            run = add(run, terms(i, thread));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    return reduce_workgroup(thread, total);
}
