// turn: what a step of alternating evaluations finds and does, by one thread.
//
//   C = n.Hn  kappa = max(0.99 kappa, |Hn|)  error = |e| / (2 distance |N|)        with n = N/|N|, Hn = p/|N|
//   every second step:  b' = momentum b - rate / kappa (Hn - C n), less its part along n,  N' = normalize(n + b')
//   loss at the parameters = loss at the probe - along g.N + along^2 N.p / 2
//   where C + significance error < 0 now and at the turn before, a step along N':
//   shift = -+ min(|slope| / ((|C| + damping) N.SN), trust learning rate)        with slope = g.N' - along C
//
// in:  the partials of gram, the last record
// out: scalars.ritz, the record; the last record becomes the previous one
// builds on: vector_bindings, estimate, guard, scaled, arithmetic, partial, reduction, translation, curvature_statistics
// builds on: record, learning_rate, rotation, types, scalars, step_bindings, threads, switches, entry

// Fills what is found of N, and returns g.N'.
fn turn(first: Partial, second: Partial, result: ptr<function, Outcome>, ritz: ptr<function, Ritz>) -> f32 {
    let norm = sqrt(first.plain.x);
    let curvature = first.plain.y / first.plain.x;
    let product_norm = norm_of(first.small.y, first.large.y) / norm;
    let curvature_scale = max(SCALE_MEMORY * (*result).record.curvature_scale, product_norm);
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
    let found = all_finite(vec4f(direction, stretch)) & all_finite(vec4f(combination, curvature));
    let scale = chosen_scale(first.small.z);
    let gradient_product = chosen_sum(first.small.z, first.large.z) / scale / scale;
    if !(found & (step.side < 0.0)) {
        return first.plain.z;
    }
    (*ritz).direction = direction;
    (*ritz).combination = combination;
    let last = (*result).record;
    (*result).record.status |= EVENT;
    (*result).record.rotations += 1u;
    (*result).record.initial_curvature = curvature;
    (*result).record.curvature = curvature;
    (*result).record.residual = across(first.plain.y / norm, first.small.y, first.large.y) / norm;
    (*result).record.angle = atan(angle);
    (*result).record.curvature_scale = curvature_scale;
    (*result).record.rate = rate;
    (*result).record.difference_error =
        0.5 * norm_of(first.small.w, first.large.w) / (scalars.displacement * norm);
    (*result).record = smoothed((*result).record);
    let is_open = lies_below((*result).record) && lies_below(last);
    (*result).record.trust_radius = select(0.0, step.trust, is_open);
    return dot(combination, vec3f(first.plain.z, gradient_product, second.plain.z));
}

// Whether the curvature that a turn has found is negative beyond its error.
fn lies_below(record: Record) -> bool {
    return record.curvature < 0.0 && fma(step.significance, record.difference_error, record.curvature) < 0.0;
}

// The bits of the loss at the parameters, to third order in the distance.
fn loss_at_params(first: Partial) -> u32 {
    let change = along() * fma(0.5 * along(), first.plain.y, -first.plain.z);
    let loss = bitcast<u32>(bitcast<f32>(scalars.loss) + change);
    return select(loss, UNWRITTEN, scalars.loss == UNWRITTEN);
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
    let guard = guard_of(first);
    var result = Outcome();
    result.record = with_learning_rate(next_record(previous), previous);
    result.record.loss = loss_at_params(first);
    result.record.gradient_norm = guard.gradient_norm;
    result.record.clip = guard.clip;
    result.record.displacement = scalars.displacement;
    var ritz = scalars.ritz;
    ritz.combination = vec3f(1.0, 0.0, 0.0);
    ritz.direction = vec3f(0.0, 0.0, 1.0);
    let probed = turn(first, second, &result, &ritz);
    // That at the parameters.
    let projection = fma(-along(), result.record.curvature, probed);
    if MOVES {
        let longest = result.record.trust_radius * result.record.learning_rate;
        let shift = newton_shift(projection, result.record.curvature, longest, first.plain.w);
        result.record.shift = select(0.0, shift, result.record.trust_radius > 0.0);
    }
    result.record.projection = projection;
    // The gradient at the probe may be larger than that at the parameters.
    let product_norm = norm_of(first.small.y, first.large.y);
    let largest = guard.clip * fma(scalars.displacement, product_norm, guard.gradient_norm);
    let valid = guard.valid && largest < SQUARE_OVERFLOWS && is_finite(result.record.shift)
        && is_finite(projection);
    if valid {
        result.record.updates += u32(MOVES);
    } else {
        result.record.status |= SKIPPED;
        result.record = skipped(result.record, previous);
    }
    ritz.valid = u32(valid);
    scalars.ritz = ritz;
    publish(result.record, thread);
}
