// The base optimizers: from the corrected gradient to the new moments and the direction of the step.
// builds on: bias_correction, types, step_bindings, switches

fn base_factors(updates: u32, learning_rate: f32) -> BaseFactors {
    var factors = BaseFactors(learning_rate, 1.0, 1.0);
    if (BASE == ADAM) | (BASE == ADAMW) {
        let t = f32(updates);
        factors.first = 1.0 / bias_correction(step.log_beta1, t);
        factors.second = inverseSqrt(bias_correction(step.log_beta2, t));
    }
    return factors;
}

// The moments after a step, and where it leads: the step is -rate first direction, without decoupled decay.
struct Direction {
    direction: vec4f,
    m: vec4f,
    v: vec4f,
}

// From the corrected gradient, decayed if the decay is added to it, and the moments before the step.
fn base_direction(gradient: vec4f, mean: vec4f, square: vec4f, factors: BaseFactors) -> Direction {
    var result = Direction(gradient, vec4f(), vec4f());
    if (BASE == ADAM) | (BASE == ADAMW) | (BASE == SOPHIA) {
        result.m = fma(vec4f(step.beta1_complement), gradient - mean, mean);
        result.v = fma(vec4f(step.beta2), square, step.beta2_complement * (gradient * gradient));
        if BASE == SOPHIA {
            let ratio = result.m / max(step.rho * result.v, vec4f(step.epsilon));
            result.direction = clamp(ratio, vec4f(-1.0), vec4f(1.0));
        } else {
            let root = fma(sqrt(result.v), vec4f(factors.second), vec4f(step.epsilon));
            result.direction = result.m / root;
        }
    } else if BASE == LION {
        result.m = fma(vec4f(step.beta2_complement), gradient - mean, mean);
        result.direction = sign(fma(vec4f(step.beta1_complement), gradient - mean, mean));
    } else if (BASE == MOMENTUM) | (BASE == NESTEROV) {
        result.m = fma(vec4f(step.momentum), mean, gradient);
        result.direction = result.m;
        if BASE == NESTEROV {
            result.direction = fma(vec4f(step.momentum), result.m, gradient);
        }
    }
    return result;
}

// The same factors for the update of the step before; there is none before the first.
fn factors_of_previous(updates: u32) -> BaseFactors {
    if updates == 0u {
        return BaseFactors();
    }
    var factors = base_factors(updates, 1.0);
    if BASE == NESTEROV {
        // The gradient that it saw ahead of the mean is taken for the mean of all.
        let share = (1.0 - step.momentum) / bias_correction(log(step.momentum), f32(updates));
        factors.first = step.momentum + share;
    }
    return factors;
}

// Where the step before led, from the moments that it left.
fn previous_direction(mean: vec4f, square: vec4f, factors: BaseFactors) -> vec4f {
    if (BASE == ADAM) | (BASE == ADAMW) {
        return mean / fma(sqrt(square), vec4f(factors.second), vec4f(step.epsilon));
    }
    if BASE == SOPHIA {
        return clamp(mean / max(step.rho * square, vec4f(step.epsilon)), vec4f(-1.0), vec4f(1.0));
    }
    if BASE == LION {
        return sign(mean);
    }
    return mean;
}

// Whether weight decay multiplies the parameters, or else is added to the gradient.
fn is_decoupled() -> bool {
    return (BASE == ADAMW) | (BASE == SOPHIA) | (BASE == LION);
}

// The gradient with the weight decay that is added to it.
fn decayed_gradient(theta: vec4f, gradient: vec4f, group: Group) -> vec4f {
    if is_decoupled() {
        return gradient;
    }
    let decayed = fma(vec4f(group.weight_decay), theta, gradient);
    return select(gradient, decayed, vec4<bool>(group.weight_decay != 0.0));
}
