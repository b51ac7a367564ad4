// combine_regions: makes the record of the step from the outcomes of all regions, by one workgroup: whether
// every region is finite, and the C, F and angle of the softest one, or of the stiffest where that is sought.
//
// in:  regions[].records
// out: the record
// builds on: vector_bindings, learning_rate, mode, regions, region_outcome, record, threads, switches, entry

struct Found {
    // Of the matrix whose softest direction is sought.
    curvature: f32,
    region: u32,
    // 0 once a region is not finite.
    valid: u32,
}

var<workgroup> found: array<Found, WORKGROUP_SIZE>;

fn kernel(thread: Thread) {
    let previous = scalars.previous;
    let parity = 1u - previous.parity;
    var mine = Found(0.0, step.regions, u32(guard_of_record().valid));
    for (var region = thread.lane; region < step.regions; region += WORKGROUP_SIZE) {
        if is_reached(region) {
            let curvature = sought(regions[region].records[parity].curvature);
            mine.valid &= u32((regions[region].records[parity].status & SKIPPED) == 0u);
            if mine.region == step.regions || curvature < mine.curvature {
                mine.curvature = curvature;
                mine.region = region;
            }
        }
    }
    found[thread.lane] = mine;
    workgroupBarrier();
    if thread.lane != 0u {
        return;
    }
    for (var other = 1u; other < WORKGROUP_SIZE; other += 1u) {
        let theirs = found[other];
        mine.valid &= theirs.valid;
        let better = mine.region == step.regions || theirs.curvature < mine.curvature;
        if theirs.region != step.regions && better {
            mine.curvature = theirs.curvature;
            mine.region = theirs.region;
        }
    }
    var record = regions[mine.region].records[parity];
    // The counters are those of the whole.
    record.updates = previous.updates + u32(MOVES);
    record.skipped = previous.skipped;
    record.rotations = previous.rotations + u32(ROTATION == BY_GRADIENT);
    record.region = mine.region;
    record.parity = parity;
    if mine.valid == 0u {
        record = skipped(record, previous);
        record.status |= SKIPPED;
    }
    keep_measurement(record);
    scalars.latest = record;
    scalars.records[step.index % RING] = record;
}
