// The curvatures of the last events, and the record of an event whose rotation was by Rayleigh-Ritz.
// builds on: types, scalars

// The record with the curvature of this event taken into the mean of the last ones. A window, since
// the first N is random and its curvature must not be remembered for long.
fn smoothed(before: Record) -> Record {
    var record = before;
    record.events += 1u;
    for (var i = CURVATURES - 1u; i > 0u; i -= 1u) {
        record.curvatures[i] = record.curvatures[i - 1u];
    }
    record.curvatures[0] = record.curvature;
    let known = min(record.events, CURVATURES);
    let count = f32(known);
    var sum = 0.0;
    for (var i = 0u; i < known; i += 1u) {
        sum += record.curvatures[i];
    }
    record.curvature_mean = sum / count;
    var squares = 0.0;
    for (var i = 0u; i < known; i += 1u) {
        let difference = record.curvatures[i] - record.curvature_mean;
        squares = fma(difference, difference, squares);
    }
    record.curvature_error = sqrt(squares / (count * max(1.0, count - 1.0)));
    return record;
}

// The record of an event in which the locally optimal rotation turned N before this kernel.
fn with_ritz(before: Record) -> Record {
    let ritz = scalars.ritz;
    var record = before;
    record.status |= EVENT | (ritz.stopped << STOP_SHIFT);
    record.rotations += ritz.rotations;
    record.initial_curvature = ritz.initial_curvature;
    record.curvature = ritz.curvature;
    record.residual = ritz.residual;
    record.angle = ritz.angle;
    record.displacement = scalars.displacement;
    return record;
}
