// norm: from the sums of all regions to what a step is as a whole, by one workgroup: the norm of the
// gradient, its clip, and whether it is finite.
//
// in:  regions[].sums
// out: scalars.latest, not complete yet

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    var total = Partial();
    for (var region = thread.lane; region < step.regions; region += WORKGROUP_SIZE) {
        total = add(total, regions[region].sums);
    }
    let whole = whole_of(reduce_workgroup(thread, total));
    if thread.lane == 0u {
        scalars.latest.gradient_norm = whole.gradient_norm;
        scalars.latest.clip = whole.clip;
        scalars.latest.status = select(SKIPPED, 0u, whole.valid);
    }
}
