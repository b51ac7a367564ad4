// The metric of Adam's preconditioner P, in which a step is one of gradient descent: the Hessian along a direction d
// of these coordinates is s H (s d) with s = P^(-1/2), element by element.
// builds on: bias_correction, metric_bindings, partial, reduction, scalars, step_bindings, tile_bounds, threads, types

// 1/sqrt(1 - beta2^t) of the last step, or 0 before the first one.
fn square_factor() -> f32 {
    let t = f32(scalars.latest.updates);
    return select(inverseSqrt(bias_correction(step.log_beta2, t)), 0.0, t == 0.0);
}

// s from P = (sqrt(v) / sqrt(1 - beta2^t) + epsilon) / learning_rate_scale, as the last step had it; before the first
// one from P = 1 / learning_rate_scale.
fn scale_at(i: u32, place: Place, factor: f32) -> vec4f {
    let root = fma(sqrt(second_moment_at(i)), vec4f(factor), vec4f(step.epsilon));
    let divisor = select(root, vec4f(1.0), vec4<bool>(factor == 0.0));
    return select(vec4f(), sqrt(place.group.learning_rate_scale / divisor), acts(place));
}

// |s d|, from the partials of metric/norm.
fn scaled_norm(thread: Thread) -> f32 {
    let sums = reduce_partials(thread);
    return norm_of(sums.small.x, sums.large.x);
}
