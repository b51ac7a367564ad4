// What does not depend on the step along N: the norm of the gradient, the clip, whether all is finite.
// builds on: arithmetic, partial, types, scalars, step_bindings, switches

// The constant that PyTorch adds to the norm in `clip_grad_norm_`.
const CLIP_EPSILON: f32 = 1e-6;

// The least f32 whose square is infinite: 2^64.
const SQUARE_OVERFLOWS: f32 = 18446744073709551616.0;

struct StepGuard {
    gradient_norm: f32,
    clip: f32,
    valid: bool,
}

// Whether the step only watches: what a probe finds, finite or not, must change nothing in it.
fn watches() -> bool {
    return MOVES & (TRANSLATION == NO_TRANSLATION);
}

// From sums over all elements.
fn guard_of(sums: Partial) -> StepGuard {
    let gradient_norm = norm_of(sums.small.x, sums.large.x);
    var guard = StepGuard(gradient_norm, 1.0, true);
    if step.max_gradient_norm > 0.0 {
        guard.clip = min(1.0, step.max_gradient_norm / (gradient_norm + CLIP_EPSILON));
    }
    // A NaN or an infinity in either gradient survives in these two sums of squares.
    let all_finite = is_finite(sums.large.x) && (watches() || is_finite(sums.large.y));
    guard.valid = all_finite && scalars.broken == 0u;
    if (BASE == ADAM) | (BASE == ADAMW) | (BASE == SOPHIA) {
        guard.valid = guard.valid && guard.clip * gradient_norm < SQUARE_OVERFLOWS;
    }
    return guard;
}
