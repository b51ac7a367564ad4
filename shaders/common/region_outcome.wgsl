// What a step does in one region.

// Whether the dimer reaches into a region.
fn is_reached(region: u32) -> bool {
    return regions[region].elements > 0u;
}

// With the scope as a whole, and the turn of which of the two records is the older.
fn region_outcome(region: u32, whole: Whole, parity: u32) -> Outcome {
    let distance = scalars.displacement * step.region_scale;
    let trust = step.trust * sqrt(f32(regions[region].elements));
    var result =
        outcome_along(regions[region].sums, regions[region].records[parity], whole, distance, trust);
    // The sums have the sign in them, the elements have not.
    result.turn *= sign_of(region);
    return result;
}

// Where the dimer does not reach, the base optimizer is alone.
fn unreached_outcome(whole: Whole) -> Outcome {
    var result = Outcome();
    result.clip = whole.clip;
    result.keep = 1.0;
    return result;
}

// What one stream does with its piece: nothing in a skipped step. `scope/whole.wgsl` has decided that,
// and published the record of the whole.
struct Task {
    piece: Piece,
    result: Outcome,
    updates: u32,
}

fn task_of(thread: Thread) -> Task {
    let record = scalars.latest;
    var task = Task();
    task.updates = record.updates;
    if (record.status & SKIPPED) != 0u {
        return task;
    }
    task.piece = piece_of(thread);
    if task.piece.first == task.piece.end {
        return task;
    }
    let whole = Whole(record.gradient_norm, record.clip, true);
    let region = task.piece.region;
    if is_reached(region) {
        task.result = region_outcome(region, whole, 1u - record.parity);
        if task.piece.slot == regions[region].first_slot && thread.lane % STREAM_WIDTH == 0u {
            regions[region].records[record.parity] = task.result.record;
        }
    } else {
        task.result = unreached_outcome(whole);
    }
    return task;
}
