// sum_single_pieces: the partials of each region that is one piece, added by one thread.
//
// in:  the partials of gram
// out: regions[].sums
// builds on: vector_bindings, regions, partial, threads, switches, entry

fn kernel(thread: Thread) {
    let region = thread.workgroup.x * WORKGROUP_SIZE + thread.lane;
    if region >= step.regions || has_several(region) {
        return;
    }
    var total = Partial();
    for (var i = first_partial(region); i < end_partial(region); i += 1u) {
        total = add(total, scalars.partials[i]);
    }
    regions[region].sums = signed(total, region);
}
