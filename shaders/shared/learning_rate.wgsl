// The learning rate of a step.
// builds on: types, scalars, step_bindings, switches

// For how many estimates the mean of the burn-in counts after it.
const BURN_IN_WEIGHT: u32 = 2u;

// The base rate after `previous`: in the first step, what it starts from.
fn base_rate_of(previous: Record) -> f32 {
    let is_first = previous.base_learning_rate == 0.0;
    return select(previous.base_learning_rate, step.initial_rate, is_first);
}

// `record` with the rate of this step; `previous` is the record of the step before.
fn with_learning_rate(found: Record, previous: Record) -> Record {
    var record = found;
    record.learning_rate = step.learning_rate;
    record.base_learning_rate = step.learning_rate;
    if LEARNING_RATE != FIXED {
        record.base_learning_rate = base_rate_of(previous);
        record.update_slope = previous.update_slope;
        record.update_curvature = previous.update_curvature;
        if LEARNING_RATE == MEASURED {
            if scalars.rate.measured == LOST {
                record.status |= RATE_LOST;
            }
            if scalars.rate.measured == MEASUREMENT {
                record.status |= RATE_MEASURED;
                record.base_learning_rate = scalars.rate.base_learning_rate;
                record.update_slope = scalars.rate.update_slope;
                record.update_curvature = scalars.rate.update_curvature;
            }
        }
        record.learning_rate = min(record.learning_rate * record.base_learning_rate, step.rate_bound);
    }
    return record;
}

// Takes up what the step has measured, once it is known to count; by one thread.
fn keep_measurement(record: Record) {
    if LEARNING_RATE == MEASURED {
        scalars.rate.lost += u32((record.status & RATE_LOST) != 0u);
        if (record.status & RATE_MEASURED) == 0u {
            return;
        }
        scalars.rate.last_updates = record.updates;
        // The first of two steps on one minibatch has moved them as well.
        scalars.rate.last_move = scalars.rate.first_rate + record.learning_rate;
        scalars.rate.last_slope = record.update_slope;
        scalars.rate.last_curvature = record.update_curvature;
        scalars.rate.longest = scalars.rate.next_longest;
        scalars.rate.steepest = scalars.rate.next_steepest;
        if scalars.rate.next_mean > 0.0 {
            scalars.rate.mean_estimate = scalars.rate.next_mean;
            scalars.rate.estimates = scalars.rate.next_estimates;
        }
        if scalars.rate.next_signal >= 0.0 {
            scalars.rate.mean_signal = scalars.rate.next_signal;
            scalars.rate.signals += 1u;
        }
        scalars.rate.measurements += 1u;
        if scalars.rate.measurements == step.rate_burn_in {
            scalars.rate.estimates = min(scalars.rate.estimates, BURN_IN_WEIGHT);
        }
    }
}
