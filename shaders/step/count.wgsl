// count: the record of a step that measures nothing of its gradient, by one thread.
//
// in:  the last record
// out: the record
// builds on: vector_bindings, learning_rate, outcome, threads, switches, entry

fn kernel(thread: Thread) {
    if thread.lane == 0u {
        let record = unmeasured_outcome().record;
        keep_measurement(record);
        scalars.latest = record;
        scalars.records[step.index % RING] = record;
    }
}
