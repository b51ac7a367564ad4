// The step of the base optimizer.
// builds on: arithmetic, base, types, scalars, vector_bindings

// One vec4 of the step, from the parameters and the corrected gradient. Frozen parameters keep their bits, those of
// -0 and beside an infinite gradient too. A parameter that leaves f32 stops all later steps.
fn update(i: u32, start: vec4f, corrected: vec4f, group: Group, factors: BaseFactors) {
    let rate = factors.learning_rate * group.learning_rate_scale;
    var theta = start;
    if is_decoupled() {
        theta = fma(vec4f(-rate * group.weight_decay), theta, theta);
    }
    let gradient = decayed_gradient(theta, corrected, group);
    let result = base_direction(gradient, first_moment_at(i), second_moment_at(i), factors);
    store_first_moment(i, result.m);
    store_second_moment(i, result.v);
    theta = fma(vec4f(-rate * factors.first), result.direction, theta);
    theta = select(theta, start, vec4<bool>(rate == 0.0));
    params[i] = theta;
    if !all_finite(theta) {
        atomicStore(&scalars.overflowed, 1u);
    }
}
