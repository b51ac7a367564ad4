// outcomes: what a step does in each region, one thread per region.
//
// in:  regions[].sums, the previous record, scalars.latest of norm
// out: regions[].applied, and the older of regions[].records
// builds on: vector_bindings, regions, region_outcome, outcome, learning_rate, record, base, threads, switches, entry

fn kernel(thread: Thread) {
    let region = thread.workgroup.x * WORKGROUP_SIZE + thread.lane;
    if region >= step.regions {
        return;
    }
    let guard = guard_of_record();
    let parity = scalars.previous.parity;
    // The counters of a region stand still in steps of the base optimizer alone.
    let step_record = with_learning_rate(next_record(scalars.previous), scalars.previous);
    let factors = base_factors(step_record.updates + 1u, step_record.learning_rate);
    if is_reached(region) {
        let result = region_outcome(region, guard, parity);
        regions[region].applied = applied_of(result, factors);
        regions[region].records[1u - parity] = result.record;
    } else {
        // The base optimizer is alone there.
        regions[region].applied = Applied(1.0, 0.0, guard.clip, 0.0, 0.0, 0u, factors);
    }
}
