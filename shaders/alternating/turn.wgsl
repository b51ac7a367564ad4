// turn: what a step of alternating evaluations finds and does, by one thread.
//
//   C = n.Hn  kappa = max(0.99 kappa, |Hn|)  error = |e| / (2 distance |N|)        with n = N/|N|, Hn = p/|N|
//   on the far side:  b' = momentum b - rate / kappa (Hn - C n), less its part along n,  N' = normalize(n + b')
//   loss at the parameters = loss at the probe - along g.N + along^2 N.p / 2
//   where C + significance error < 0 now and at the turn before, a step along N':
//   shift = -+ min(|slope| / ((|C| + damping) N.SN), trust learning rate)        with slope = g.N' - along C
//   g loses its part along N' where that step is shorter than it may be
//
// in:  the partials of gram, the last record
// out: scalars.alternation, the record; the last record becomes the previous one
// builds on: vector_bindings, estimate, guard, scaled, arithmetic, partial, reduction, translation, curvature_statistics
// builds on: record, learning_rate, rotation, types, scalars, step_bindings, threads, switches, entry

// The turn of N: its record, and the coefficients of N' and b'. Where there is none, `record` stays as it is.
fn turn(first: Partial, second: Partial, probe: Probe, record: ptr<function, Record>) -> Alternation {
    var result = Alternation(vec3f(1.0, 0.0, 0.0), 0.0, vec3f(0.0, 0.0, 1.0), 1u);
    if !probe.predicts || probe.along > 0.0 {
        return result;
    }
    let norm = sqrt(first.plain.x);
    let curvature = first.plain.y / first.plain.x;
    let product_norm = norm_of(first.small.y, first.large.y) / norm;
    let curvature_scale = max(SCALE_MEMORY * (*record).curvature_scale, product_norm);
    let rate = select(0.0, step.rotation_rate / curvature_scale, curvature_scale > 0.0);

    // b' = direction . (N, p, b), across n
    let kept = step.turn_momentum;
    let along_n = fma(rate, curvature, -kept * second.plain.x / norm);
    let push = rate * product_norm;
    let cross = kept * rate * second.plain.y / norm;
    let square = fma(kept * kept, second.plain.w, fma(push, push, -2.0 * cross)) - along_n * along_n;
    let angle = sqrt(max(0.0, square));
    let stretch = sqrt(fma(angle, angle, 1.0));
    let direction = vec3f(along_n, -rate, kept * norm) / norm;
    let combination = vec3f(1.0 + along_n, -rate, kept * norm) / (norm * stretch);
    if !all_finite(vec4f(direction, stretch)) || !all_finite(vec4f(combination, curvature)) {
        return result;
    }
    result.direction = direction;
    result.combination = combination;
    let last = *record;
    (*record).status |= EVENT;
    (*record).rotations += 1u;
    (*record).initial_curvature = curvature;
    (*record).curvature = curvature;
    (*record).residual = across(first.plain.y / norm, first.small.y, first.large.y) / norm;
    (*record).angle = atan(angle);
    (*record).curvature_scale = curvature_scale;
    (*record).rate = rate;
    (*record).difference_error =
        0.5 * norm_of(first.small.w, first.large.w) / (scalars.displacement * norm);
    *record = smoothed(*record);
    let is_open = lies_below(*record) && lies_below(last);
    (*record).trust_radius = select(0.0, step.trust, is_open);
    return result;
}

// Whether the curvature that a turn has found is negative beyond its error, which is not.
fn lies_below(record: Record) -> bool {
    return fma(step.significance, record.difference_error, record.curvature) < 0.0;
}

// The bits of the loss at the parameters.
fn loss_at_params(first: Partial, along: f32) -> u32 {
    let change = along * fma(0.5 * along, first.plain.y, -first.plain.z);
    let loss = bitcast<u32>(bitcast<f32>(scalars.loss) + change);
    return select(loss, scalars.loss, scalars.loss == UNWRITTEN || !is_finite(change));
}

fn kernel(thread: Thread) {
    let first = reduce_partials_of(0u, thread);
    workgroupBarrier();
    let second = reduce_partials_of(1u, thread);
    if thread.lane != 0u {
        return;
    }
    keep_latest();
    let previous = scalars.previous;
    let probe = probe_after(previous);
    // What is clipped is the gradient at the probe.
    var of_probe = first;
    of_probe.small.x = second.small.x;
    of_probe.large.x = second.large.x;
    let guard = guard_of(of_probe);
    var record = with_learning_rate(next_record(previous), previous);
    record.loss = loss_at_params(first, probe.along);
    record.gradient_norm = norm_of(first.small.x, first.large.x);
    record.clip = guard.clip;
    record.displacement = scalars.displacement;
    record.parity = 1u - previous.parity;
    var result = turn(first, second, probe, &record);

    let scale = chosen_scale(first.small.z);
    let gradient_product = chosen_sum(first.small.z, first.large.z) / scale / scale;
    // The slope along N' at the probe, and at the parameters.
    let at_probe = dot(result.combination, vec3f(first.plain.z, gradient_product, second.plain.z));
    let slope = fma(-probe.along, record.curvature, at_probe);
    record.projection = slope;
    if MOVES {
        let longest = record.trust_radius * record.learning_rate;
        let shift = newton_shift(slope, record.curvature, longest, first.plain.w);
        record.shift = select(0.0, shift, longest > 0.0);
        if abs(record.shift) < longest {
            result.correction = guard.clip * at_probe;
        }
    }
    let all_finite = is_finite(record.shift) && is_finite(slope) && is_finite(result.correction);
    if guard.valid && all_finite {
        record.updates += u32(MOVES);
    } else {
        record.status |= SKIPPED;
        record = skipped(record, previous);
        result.valid = 0u;
    }
    scalars.alternation = result;
    publish(record, thread);
}
