// What a step applies to every element: computed from its sums and shared with all threads of a workgroup.
// builds on: types, base, outcome, record, reduction, threads, switches

var<workgroup> shared_applied: Applied;

fn factors_of(record: Record) -> BaseFactors {
    return base_factors(record.updates, record.learning_rate);
}

// One thread computes it; that of the leading workgroup also publishes the record.
fn broadcast_update(thread: Thread) -> Applied {
    if UNGUARDED {
        if thread.lane == 0u {
            let result = unmeasured_outcome();
            shared_applied = applied_of(result, factors_of(result.record));
        }
    } else {
        let sums = reduce_partials(thread);
        if thread.lane == 0u {
            let result = outcome(sums);
            publish(result.record, thread);
            shared_applied = applied_of(result, factors_of(result.record));
        }
    }
    workgroupBarrier();
    return shared_applied;
}
