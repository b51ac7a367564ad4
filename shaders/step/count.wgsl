// count: the record of a step that measures nothing of its gradient, by one thread.
//
// in:  the last record
// out: the record
// builds on: vector_bindings, learning_rate, outcome, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    if thread.lane == 0u {
        let record = unmeasured_outcome().record;
        keep_measurement(record);
        scalars.latest = record;
        scalars.records[step.index % RING] = record;
    }
}
