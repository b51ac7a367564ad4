// The update u of the base optimizer: what a step with a learning rate of 1 would add to the parameters, without
// decoupled weight decay and without a correction along N.
// builds on: types, base, guard, reduction, scalars, scaled, step_bindings, switches, threads, update_bindings

// What a workgroup knows of the step: its clip, and the factors of the base optimizer, now and in the step before.
struct UpdateStep {
    clip: f32,
    factors: BaseFactors,
    previous: BaseFactors,
}

// The gradient, the update, and the update of the step before.
struct Update {
    g: vec4f,
    u: vec4f,
    previous: vec4f,
}

var<workgroup> shared_update: UpdateStep;

// Comes before any update: where the gradient is clipped, gram has left its sums.
fn find_factors(thread: Thread) {
    var clip = 1.0;
    if !UNGUARDED {
        clip = guard_of(reduce_partials(thread)).clip;
    }
    if thread.lane == 0u {
        let updates = scalars.latest.updates;
        let factors = base_factors(updates + 1u, 1.0);
        shared_update = UpdateStep(clip, factors, factors_of_previous(updates));
    }
    workgroupBarrier();
}

fn update_at(i: u32, place: Place) -> Update {
    let known = shared_update;
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let decayed = decayed_gradient(params[i], rounded(known.clip * g), place.group);
    let mean = first_moment_at(i);
    let square = second_moment_at(i);
    let u = known.factors.first * base_direction(decayed, mean, square, known.factors).direction;
    let previous = known.previous.first * previous_direction(mean, square, known.previous);
    let scale = -place.group.learning_rate_scale;
    return Update(g, scale * u, select(vec4f(), scale * previous, vec4<bool>(known.previous.first != 0.0)));
}
