// The record of a step, from the record of the step before.
// builds on: types, learning_rate, scalars, step_bindings, switches, threads

// The previous record, without what each step finds anew.
fn next_record(previous: Record) -> Record {
    var record = previous;
    record.index = step.index;
    record.status = WRITTEN;
    record.loss = scalars.loss;
    record.angle = 0.0;
    record.projection = 0.0;
    record.shift = 0.0;
    record.streak = 0u;
    return record;
}

// What a skipped step leaves: nothing of it may reach the state.
fn skipped(found: Record, previous: Record) -> Record {
    var record = previous;
    record.index = found.index;
    record.status = found.status & ~(RATE_MEASURED | RATE_LOST);
    record.loss = found.loss;
    record.gradient_norm = found.gradient_norm;
    record.angle = 0.0;
    record.projection = 0.0;
    record.shift = 0.0;
    record.skipped += 1u;
    record.streak = previous.streak + 1u;
    return record;
}

// Written by one thread of the leading workgroup.
fn publish(record: Record, thread: Thread) {
    if leads(thread.workgroup.x) {
        keep_measurement(record);
        if (DISPLACEMENT == AUTOMATIC) & ((record.status & (EVENT | SKIPPED)) == EVENT) {
            scalars.calibration.factor = scalars.calibration.next_factor;
        }
        scalars.latest = record;
        scalars.records[step.index % RING] = record;
    }
}
