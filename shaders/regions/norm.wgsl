// norm: what concerns the step as a whole, from the sums of all regions, by one workgroup: the norm of
// the gradient, its clip, and whether it is finite.
//
// in:  regions[].sums, and where a step only watches and clips, the partials of gram
// out: scalars.latest, not yet complete
// builds on: vector_bindings, regions, guard, partial, reduction, threads, switches, entry

fn kernel(thread: Thread) {
    var total = Partial();
    for (var region = thread.lane; region < step.regions; region += WORKGROUP_SIZE) {
        total = add(total, regions[region].sums);
    }
    total = reduce_workgroup(thread, total);
    if watches() & (step.max_gradient_norm > 0.0) {
        workgroupBarrier();
        total = reduce_partials(thread);
    }
    let guard = guard_of(total);
    if thread.lane == 0u {
        scalars.latest.gradient_norm = guard.gradient_norm;
        scalars.latest.clip = guard.clip;
        scalars.latest.status = select(SKIPPED, 0u, guard.valid);
    }
}
