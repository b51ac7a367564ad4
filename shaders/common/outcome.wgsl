// From the sums over (g1, g2, N) to everything that the element-wise pass needs.

// The constant that PyTorch adds to the norm in `clip_grad_norm_`.
const CLIP_EPSILON: f32 = 1e-6;
// The automatic rate times the curvature scale, and what an event leaves of that scale.
const AUTOMATIC_RATE: f32 = 0.5;
const SCALE_MEMORY: f32 = 0.99;
// The least turn, squared, that tells the curvature along F from rounding.
const LEAST_TURN: f32 = 1e-3;

// Bounds of `reach`.
const LEAST_REACH: f32 = 1e-6;
const LARGEST_REACH: f32 = 1e3;
// How the slope along N may have changed, as a multiple of what the curvature lets expect.
const LEAST_RATIO: f32 = 0.25;
const LARGEST_RATIO: f32 = 2.0;

// What a step is as a whole, whatever it does along N.
struct Whole {
    gradient_norm: f32,
    clip: f32,
    valid: bool,
}

struct Outcome {
    record: Record,
    // N' = keep N + turn d
    keep: f32,
    turn: f32,
    // g = clip g1 - correction N'
    clip: f32,
    correction: f32,
    // The step along N' beside that of the base optimizer.
    shift: f32,
}

// From sums over all elements.
fn whole_of(sums: Partial) -> Whole {
    let gradient_norm = norm_of(sums.small.x, sums.large.x);
    var whole = Whole(gradient_norm, 1.0, true);
    if step.max_gradient_norm > 0.0 {
        whole.clip = min(1.0, step.max_gradient_norm / (gradient_norm + CLIP_EPSILON));
    }
    // A NaN or an infinity in either gradient survives in these two sums of squares.
    whole.valid = is_finite(sums.large.x) && is_finite(sums.large.y);
    if ADAM | SOPHIA {
        let clipped = whole.clip * gradient_norm;
        whole.valid = whole.valid && is_finite(clipped * clipped);
    }
    return whole;
}

fn outcome(sums: Partial) -> Outcome {
    let previous = scalars.previous;
    let whole = whole_of(sums);
    var result = outcome_along(sums, previous, whole, scalars.displacement, step.trust);
    if (result.record.status & SKIPPED) != 0u {
        result.record = skipped(result.record, previous);
    }
    return result;
}

// That of a step of the base optimizer that measures nothing of its gradient.
fn unmeasured_outcome() -> Outcome {
    var result = Outcome();
    result.record = next_record(scalars.latest);
    result.record.status |= UNMEASURED;
    result.record.updates += 1u;
    result.record.clip = 1.0;
    result.clip = 1.0;
    return result;
}

// The record before, less what a step finds anew.
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
    record.status = found.status;
    record.loss = found.loss;
    record.gradient_norm = found.gradient_norm;
    record.angle = 0.0;
    record.projection = 0.0;
    record.shift = 0.0;
    record.skipped += 1u;
    record.streak = previous.streak + 1u;
    return record;
}

// From sums over the elements of one N, with the record before, the distance that N was displaced
// by, and the longest saddle-free step per learning rate.
fn outcome_along(
    sums: Partial,
    previous: Record,
    whole: Whole,
    distance: f32,
    trust: f32,
) -> Outcome {
    var result = Outcome();
    result.record = next_record(previous);
    if AUTOMATIC {
        result.record.difference_error = scalars.calibration.error;
    }
    result.record.gradient_norm = whole.gradient_norm;
    result.record.clip = whole.clip;
    result.clip = whole.clip;
    result.keep = 1.0;

    var valid = whole.valid;
    var projection = sums.plain.z;
    if ROTATION {
        projection = rotation(sums, distance, &result);
        result.record = smoothed(result.record);
        valid = valid && is_finite(result.keep) && is_finite(result.turn);
    }
    if RITZ {
        result.record = smoothed(with_ritz(result.record));
        valid = valid && (scalars.ritz.valid != 0u);
    }
    if DIMER {
        if TRANSLATION {
            translation(projection, previous, trust, &result);
        }
        result.record.projection = projection;
        valid = valid && is_finite(result.correction) && is_finite(result.shift);
    }
    if valid {
        result.record.updates += u32(TRANSLATION);
    } else {
        result.record.status |= SKIPPED;
    }
    return result;
}

// The rotation N' = normalize(n - rate F), for n = N/|N| and F = Hn - C n, as N' = keep N + turn d.
// Fills the record and returns g1 . N'.
fn rotation(sums: Partial, distance: f32, result: ptr<function, Outcome>) -> f32 {
    let norm = sqrt(sums.plain.x);
    let along = sums.plain.y / norm;
    let curvature = along / (norm * distance);
    // |d|^2 - (n.d)^2 at the scale at which |d|^2 was summed; rounding may take it below 0.
    let scale = chosen_scale(sums.small.y);
    let squares = chosen_sum(sums.small.y, sums.large.y);
    let scaled = along * scale;
    let across = sqrt(max(0.0, fma(-scaled, scaled, squares))) / scale;
    let residual = across / (norm * distance);
    let product_norm = norm_of(sums.small.y, sums.large.y) / (norm * distance);
    let curvature_scale =
        max(max(SCALE_MEMORY * (*result).record.curvature_scale, product_norm),
            curvature_along_force((*result).record, curvature));
    var rate = step.rotation_rate;
    if rate == 0.0 && curvature_scale > 0.0 {
        rate = AUTOMATIC_RATE / curvature_scale;
    }
    let turn = rate * residual;
    let stretch = norm * sqrt(fma(turn, turn, 1.0));
    (*result).keep = fma(rate, curvature, 1.0) / stretch;
    (*result).turn = -rate / (distance * stretch);

    (*result).record.status |= EVENT;
    (*result).record.rotations += 1u;
    (*result).record.curvature = curvature;
    (*result).record.residual = residual;
    (*result).record.angle = atan(turn);
    (*result).record.displacement = distance;
    (*result).record.curvature_scale = curvature_scale;
    (*result).record.rate = rate;
    let cross_scale = chosen_scale(sums.small.z);
    let cross = chosen_sum(sums.small.z, sums.large.z);
    return fma((*result).turn, cross / cross_scale / cross_scale, (*result).keep * sums.plain.z);
}

// What happens along N: a correction of the gradient, a step of its own, or nothing.
fn translation(
    projection: f32,
    previous: Record,
    trust: f32,
    result: ptr<function, Outcome>,
) {
    if SADDLE_FREE {
        let record = (*result).record;
        let reach = next_reach(record.status, projection, previous);
        (*result).shift = saddle_free_shift(projection, reach, trust, record);
        (*result).record.reach = reach;
        (*result).record.shift = (*result).shift;
    } else if CLIMB {
        // Uphill along N; downhill elsewhere only where N has found the way over a saddle.
        let convex = (*result).record.curvature >= 0.0;
        (*result).correction = (*result).clip * projection * select(2.0, 1.0, convex);
        (*result).clip = select((*result).clip, 0.0, convex);
    } else {
        let applies = step.only_negative_curvature == 0u || (*result).record.curvature < 0.0;
        (*result).correction =
            select(0.0, (*result).clip * step.alpha * projection, applies);
    }
}

// The saddle-free step along N: Newton's length with |C|, within bounds that `reach` scales.
fn saddle_free_shift(projection: f32, reach: f32, trust: f32, record: Record) -> f32 {
    let bound = fma(step.significance, record.curvature_error, record.curvature_mean);
    let is_open = record.events > 0u && max(bound, record.curvature) < 0.0;
    let longest = trust * step.learning_rate;
    let newton = abs(projection) / (abs(record.curvature_mean) + step.damping);
    let length = clamp(newton, step.kick * longest * min(1.0, reach), longest * reach);
    return select(0.0, select(length, -length, projection > 0.0), is_open);
}

// By how much the bounds of that step have grown or shrunk since the last event. The step before
// moved by `shift` along the same N, and the slope there changed by about C shift, or else C says
// nothing of where the parameters are now.
fn next_reach(status: u32, projection: f32, last: Record) -> f32 {
    if (status & EVENT) != 0u || last.shift == 0.0 {
        return 1.0;
    }
    let ratio = (projection - last.projection) / (last.shift * last.curvature_mean);
    let as_expected = ratio > LEAST_RATIO && ratio < LARGEST_RATIO;
    let next = last.reach * select(0.5, 2.0, as_expected);
    return clamp(next, LEAST_REACH, LARGEST_REACH);
}

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
    record.status |= EVENT;
    record.rotations += ritz.rotations;
    record.curvature = ritz.curvature;
    record.residual = ritz.residual;
    record.angle = ritz.angle;
    record.displacement = scalars.displacement;
    return record;
}

// The last event turned n to (n - rate F) / s with s^2 = 1 + t^2, t = rate |F|. The curvature there,
// measured now, tells that of the force's direction f = F/|F|:
//   f.Hf = (C' (1 + t^2) - C + 2 t |F|) / t^2.
// Returns f.Hf - C, or 0 where the turn was too small to tell.
fn curvature_along_force(last: Record, curvature: f32) -> f32 {
    let turn = last.rate * last.residual;
    let squared = turn * turn;
    if !(squared > LEAST_TURN) {
        return 0.0;
    }
    let change = fma(curvature, 1.0 + squared, fma(2.0 * turn, last.residual, -last.curvature));
    return change / squared - last.curvature;
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

// g less its part along N. Without a correction the bits of g stay, the sign of a zero included;
// a select keeps the loop over elements free of branches.
fn correct(g: vec4f, n: vec4f, correction: f32) -> vec4f {
    let corrected = fma(vec4f(-correction), n, g);
    return select(g, corrected, vec4<bool>(correction != 0.0));
}

// The parameters moved along N; without a step their bits stay.
fn shifted(theta: vec4f, n: vec4f, shift: f32) -> vec4f {
    let moved = fma(vec4f(shift), n, theta);
    return select(theta, moved, vec4<bool>(shift != 0.0));
}

// Written by one thread of the first workgroup of the whole vector.
fn publish(record: Record, thread: Thread) {
    if shard.first_tile + thread.workgroup.x == 0u {
        scalars.latest = record;
        scalars.records[step.index % RING] = record;
    }
}
