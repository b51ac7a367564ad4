// sums: the partials of each region, added; products with d get the sign of its displacement.
//
// in:  the partials of gram
// out: regions[].sums

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let region = stream_of(thread);
    var total = Partial();
    if region < step.regions {
        let end = regions[region].end_slot;
        let first = regions[region].first_slot + thread.lane % STREAM_WIDTH;
        for (var slot = first; slot < end; slot += STREAM_WIDTH) {
            total = add(total, scalars.partials[slot]);
        }
    }
    var sums = reduce_stream(thread, total);
    if thread.lane % STREAM_WIDTH == 0u && region < step.regions {
        let sign = sign_of(region);
        sums.plain.y *= sign;
        sums.small.z *= sign;
        sums.large.z *= sign;
        regions[region].sums = sums;
    }
}
