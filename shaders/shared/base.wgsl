// The base optimizers: from the corrected gradient to the new parameters and moments.
// builds on: arithmetic, types, scalars, step_bindings, switches, vector_bindings

// Terms of the series of expm1; on [-1/2, 0] the next one is below 2^-25 of the sum.
const EXPM1_TERMS: f32 = 9.0;

// 1 - beta^t from log(beta), without the cancellation of 1 - pow(beta, t) at small t.
fn bias_correction(log_beta: f32, t: f32) -> f32 {
    let x = log_beta * t;
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    // x (1 + x/2 (1 + x/3 (1 + ...)))
    var series = 1.0;
    for (var term = EXPM1_TERMS; term > 1.0; term -= 1.0) {
        series = fma(series, x / term, 1.0);
    }
    return -x * series;
}

fn base_factors(updates: u32) -> BaseFactors {
    var factors = BaseFactors(1.0, 1.0);
    if (BASE == ADAM) | (BASE == ADAMW) {
        let t = f32(updates);
        factors.first = 1.0 / bias_correction(step.log_beta1, t);
        factors.second = inverseSqrt(bias_correction(step.log_beta2, t));
    }
    return factors;
}

// One vec4 of the step, from the parameters and the corrected gradient. Frozen parameters keep their bits, those of
// -0 and beside an infinite gradient too. A parameter that leaves f32 stops all later steps.
fn update(i: u32, start: vec4f, corrected: vec4f, group: Group, factors: BaseFactors) {
    let rate = step.learning_rate * group.learning_rate_scale;
    var theta = start;
    var g = corrected;
    if (BASE == ADAMW) | (BASE == SOPHIA) | (BASE == LION) {
        theta = fma(vec4f(-rate * group.weight_decay), theta, theta);
    } else {
        let decayed = fma(vec4f(group.weight_decay), theta, g);
        g = select(g, decayed, vec4<bool>(group.weight_decay != 0.0));
    }
    if (BASE == ADAM) | (BASE == ADAMW) | (BASE == SOPHIA) {
        let mean = first_moment_at(i);
        let m = fma(vec4f(step.beta1_complement), g - mean, mean);
        let square = second_moment_at(i);
        let v = fma(vec4f(step.beta2), square, step.beta2_complement * (g * g));
        store_first_moment(i, m);
        store_second_moment(i, v);
        if BASE == SOPHIA {
            let ratio = m / max(step.rho * v, vec4f(step.epsilon));
            theta = fma(vec4f(-rate), clamp(ratio, vec4f(-1.0), vec4f(1.0)), theta);
        } else {
            let root = fma(sqrt(v), vec4f(factors.second), vec4f(step.epsilon));
            theta = fma(vec4f(-rate * factors.first), m / root, theta);
        }
    } else if BASE == LION {
        let m = first_moment_at(i);
        let mean = fma(vec4f(step.beta1_complement), g - m, m);
        store_first_moment(i, fma(vec4f(step.beta2_complement), g - m, m));
        theta = fma(vec4f(-rate), sign(mean), theta);
    } else if (BASE == MOMENTUM) | (BASE == NESTEROV) {
        let m = fma(vec4f(step.momentum), first_moment_at(i), g);
        store_first_moment(i, m);
        if BASE == NESTEROV {
            g = fma(vec4f(step.momentum), m, g);
        } else {
            g = m;
        }
        theta = fma(vec4f(-rate), g, theta);
    } else {
        theta = fma(vec4f(-rate), g, theta);
    }
    theta = select(theta, start, vec4<bool>(rate == 0.0));
    params[i] = theta;
    if !all_finite(theta) {
        atomicStore(&scalars.overflowed, 1u);
    }
}
