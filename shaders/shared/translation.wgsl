// What a step does along N.
// builds on: types, step_bindings, switches

// Bounds of `reach`.
const LEAST_REACH: f32 = 1e-6;
const LARGEST_REACH: f32 = 1e3;
// How much the slope along N may have changed, as a multiple of what the curvature predicts.
const LEAST_RATIO: f32 = 0.25;
const LARGEST_RATIO: f32 = 2.0;
// Below any N.SN, and normal.
const LEAST_SCALE: f32 = 1e-37;

// What happens along N: a correction of the gradient, a step of its own, or nothing.
//
// That step moves the parameters by shift SN, S being the learning rate scales of the groups. Along an
// eigenvector the slope g.N then changes by C shift N.SN, and `scale` is N.SN. In an event that turns N in the
// same pass, it is that of the N before the turn.
fn translation(
    projection: f32,
    previous: Record,
    trust: f32,
    scale: f32,
    result: ptr<function, Outcome>,
) {
    if TRANSLATION == SADDLE_FREE {
        let record = (*result).record;
        let reach = next_reach(record.status, projection, scale, previous);
        (*result).shift = saddle_free_shift(projection, reach, trust, scale, record);
        (*result).record.reach = reach;
        (*result).record.shift = (*result).shift;
    } else if TRANSLATION == CLIMB {
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
fn saddle_free_shift(projection: f32, reach: f32, trust: f32, scale: f32, record: Record) -> f32 {
    let bound = fma(step.significance, record.curvature_error, record.curvature_mean);
    let is_open = record.events > 0u && max(bound, record.curvature) < 0.0;
    let longest = trust * record.learning_rate;
    let newton = abs(projection) / max((abs(record.curvature_mean) + step.damping) * scale, LEAST_SCALE);
    let length = clamp(newton, step.kick * longest * min(1.0, reach), longest * reach);
    return select(0.0, select(length, -length, projection > 0.0), is_open);
}

// By how much the bounds of that step have grown or shrunk since the last event. The step before
// moved by `shift` along the same N, and the slope there changed by about C shift N.SN, or else C says
// nothing about where the parameters are now.
fn next_reach(status: u32, projection: f32, scale: f32, last: Record) -> f32 {
    if (status & EVENT) != 0u || last.shift == 0.0 {
        return 1.0;
    }
    let ratio = (projection - last.projection) / (last.shift * last.curvature_mean * scale);
    let as_expected = ratio > LEAST_RATIO && ratio < LARGEST_RATIO;
    let next = last.reach * select(0.5, 2.0, as_expected);
    return clamp(next, LEAST_REACH, LARGEST_REACH);
}

// g less its part along N. Without a correction the bits of g stay, the sign of a zero included;
// a select keeps the loop over elements free of branches.
fn correct(g: vec4f, n: vec4f, correction: f32) -> vec4f {
    let corrected = fma(vec4f(-correction), n, g);
    return select(g, corrected, vec4<bool>(correction != 0.0));
}

// The parameters moved along N, by the scale of their group; without a step their bits stay.
fn shifted(theta: vec4f, n: vec4f, shift: f32, group: Group) -> vec4f {
    let scaled = shift * group.learning_rate_scale;
    let moved = fma(vec4f(scaled), n, theta);
    return select(theta, moved, vec4<bool>(scaled != 0.0));
}
