// whole: from the sums of all regions to the step as a whole, by one workgroup: the norm of the
// gradient, whether every region is finite, and the record, which has the C, F and angle of the softest
// region.
//
// in:  regions[].sums
// out: the record

struct Softest {
    curvature: f32,
    region: u32,
    // 0 once a region is not finite.
    valid: u32,
}

var<workgroup> softest: array<Softest, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    var total = Partial();
    for (var region = thread.lane; region < step.regions; region += WORKGROUP_SIZE) {
        total = add(total, regions[region].sums);
    }
    let whole = whole_of(reduce_workgroup(thread, total));
    let previous = scalars.previous;
    var mine = Softest(0.0, step.regions, u32(whole.valid));
    for (var region = thread.lane; region < step.regions; region += WORKGROUP_SIZE) {
        if is_reached(region) {
            let record = region_outcome(region, whole, previous.parity).record;
            mine.valid &= u32((record.status & SKIPPED) == 0u);
            if mine.region == step.regions || record.curvature < mine.curvature {
                mine.curvature = record.curvature;
                mine.region = region;
            }
        }
    }
    softest[thread.lane] = mine;
    workgroupBarrier();
    if thread.lane != 0u {
        return;
    }
    for (var other = 1u; other < WORKGROUP_SIZE; other += 1u) {
        let theirs = softest[other];
        mine.valid &= theirs.valid;
        let better = mine.region == step.regions || theirs.curvature < mine.curvature;
        if theirs.region != step.regions && better {
            mine.curvature = theirs.curvature;
            mine.region = theirs.region;
        }
    }
    var record = region_outcome(mine.region, whole, previous.parity).record;
    // The counters are those of the whole.
    record.updates = previous.updates + u32(TRANSLATION);
    record.skipped = previous.skipped;
    record.rotations = previous.rotations + u32(ROTATION);
    record.softest = mine.region;
    record.parity = 1u - previous.parity;
    if mine.valid == 0u {
        record = skipped(record, previous);
        record.status |= SKIPPED;
    }
    scalars.latest = record;
    scalars.records[step.index % RING] = record;
}
