// From the sums over (g1, g2, N) to everything that the element-wise pass needs.
// builds on: guard, rotation, translation, curvature_statistics, record, learning_rate
// builds on: arithmetic, partial, types, scalars, step_bindings, switches

fn outcome(sums: Partial) -> Outcome {
    let previous = scalars.previous;
    let guard = guard_of(sums);
    var result = outcome_along(sums, previous, guard, scalars.displacement, step.trust, 1.0);
    if (result.record.status & SKIPPED) != 0u {
        result.record = skipped(result.record, previous);
    }
    return result;
}

// The outcome of a step of the base optimizer that measures nothing of its gradient.
fn unmeasured_outcome() -> Outcome {
    var result = Outcome();
    result.record = with_learning_rate(next_record(scalars.latest), scalars.latest);
    result.record.status |= UNMEASURED;
    result.record.updates += 1u;
    result.record.clip = 1.0;
    result.clip = 1.0;
    return result;
}

// From sums over the elements of one N, with the previous record, the distance by which N was
// displaced, the longest saddle-free step per learning rate, and the share of the update that falls to this N.
fn outcome_along(
    sums: Partial,
    previous: Record,
    guard: StepGuard,
    distance: f32,
    trust: f32,
    share: f32,
) -> Outcome {
    var result = Outcome();
    // That of a region may be older than the step before.
    result.record = with_learning_rate(next_record(previous), scalars.previous);
    if DISPLACEMENT == AUTOMATIC {
        result.record.difference_error = scalars.calibration.error;
    }
    result.record.gradient_norm = guard.gradient_norm;
    result.record.clip = guard.clip;
    result.clip = guard.clip;
    result.keep = 1.0;

    let unturned = result;
    var measured = true;
    var projection = sums.plain.z;
    if ROTATION == BY_GRADIENT {
        projection = rotation(sums, distance, &result);
        result.record = smoothed(result.record);
        measured =
            is_finite(sums.large.y) && is_finite(result.keep) && is_finite(result.turn);
    }
    if ROTATION == BY_RAYLEIGH_RITZ {
        result.record = smoothed(with_ritz(result.record));
        measured = scalars.ritz.valid != 0u;
    }
    if watches() & !measured {
        // N stays, and so does what was known of it.
        result = unturned;
        result.record.status |= EVENT;
        projection = sums.plain.z;
    }
    var valid = guard.valid && (measured || watches());
    if DIMER {
        if MOVES {
            translation(projection, previous, trust, share, sums.plain.w, &result);
        }
        result.record.projection = projection;
        valid = valid && is_finite(result.correction) && is_finite(result.shift);
    }
    if valid {
        result.record.updates += u32(MOVES);
    } else {
        result.record.status |= SKIPPED;
    }
    return result;
}

fn applied_of(result: Outcome, factors: BaseFactors) -> Applied {
    let skipped = u32((result.record.status & SKIPPED) != 0u);
    return Applied(
        result.keep,
        result.turn,
        result.clip,
        result.correction,
        result.shift,
        skipped,
        factors,
    );
}
