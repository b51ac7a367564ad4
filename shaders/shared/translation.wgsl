// What a step does along N.
// builds on: types, scalars, step_bindings, switches

// The least bound of a step along N, as a share of the update, and of the largest bound: at a saddle itself there is no
// update.
const LEAST_SHARE: f32 = 0.2;
const LEAST_TRUST_RADIUS: f32 = 0.01;
// The share of its bound from which on a step counts as bounded.
const BOUNDED: f32 = 0.99;
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
    share: f32,
    scale: f32,
    result: ptr<function, Outcome>,
) {
    if TRANSLATION == SADDLE_FREE {
        if ROTATION != NO_ROTATION {
            // A step moves the parameters along N by N.SN times its length.
            (*result).record.update_norm =
                share * scalars.rate.update_norm / max(scale, LEAST_SCALE);
        }
        let record = (*result).record;
        let trust_radius = next_trust_radius(projection, record, previous, trust);
        (*result).shift = saddle_free_shift(projection, trust_radius, scale, record);
        (*result).record.trust_radius = trust_radius;
        (*result).record.shift = (*result).shift;
    } else if TRANSLATION == CLIMB {
        // Uphill along N; downhill elsewhere only where N has found the way over a saddle.
        let convex = (*result).record.curvature >= 0.0;
        (*result).correction = (*result).clip * projection * select(2.0, 1.0, convex);
        (*result).clip = select((*result).clip, 0.0, convex);
    } else if TRANSLATION == PROJECT {
        let applies = step.only_negative_curvature == 0u || (*result).record.curvature < 0.0;
        (*result).correction =
            select(0.0, (*result).clip * step.alpha * projection, applies);
    }
}

// The saddle-free step along N: Newton's length with |C|, at most `trust_radius` per learning rate, and at least a share
// of that.
fn saddle_free_shift(projection: f32, trust_radius: f32, scale: f32, record: Record) -> f32 {
    let bound = fma(step.significance, record.curvature_error, record.curvature_mean);
    let is_open = record.events > 0u && max(bound, record.curvature) < 0.0;
    let shift = newton_shift(projection, record.curvature_mean, trust_radius * record.learning_rate, scale);
    return select(0.0, shift, is_open);
}

// Downhill along N, as far as Newton's method with |C|, within its bounds.
fn newton_shift(projection: f32, curvature: f32, longest: f32, scale: f32) -> f32 {
    let newton = abs(projection) / max((abs(curvature) + step.damping) * scale, LEAST_SCALE);
    let length = clamp(newton, step.kick * longest, longest);
    return select(length, -length, projection > 0.0);
}

// The longest step along N per learning rate: from the first event that knows one as long as the update of the base
// optimizer. Twice that after a step that was bounded and after which the slope still leads on along the same N, half
// of it after one that went too far.
fn next_trust_radius(projection: f32, record: Record, last: Record, trust: f32) -> f32 {
    var trust_radius = select(last.trust_radius, max(last.trust_radius, record.update_norm), last.update_norm == 0.0);
    if (record.status & EVENT) == 0u {
        let slope = projection * last.shift;
        let bounded = abs(last.shift) >= BOUNDED * last.trust_radius * last.learning_rate;
        trust_radius *= select(select(1.0, 0.5, slope > 0.0), 2.0, bounded && slope < 0.0);
    }
    return min(max(trust_radius, max(LEAST_SHARE * record.update_norm, LEAST_TRUST_RADIUS * trust)), trust);
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
