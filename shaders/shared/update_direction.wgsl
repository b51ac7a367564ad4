// The update u of the base optimizer: what a step with a learning rate of 1 would add to the parameters, without
// decoupled weight decay and without a correction along N.
// builds on: types, base, guard, reduction, scalars, step_bindings, switches, threads, update_bindings

// What a workgroup knows of the step: its clip, and the factors of the base optimizer.
struct UpdateStep {
    clip: f32,
    factors: BaseFactors,
}

var<workgroup> shared_update: UpdateStep;

// Comes before any update: where the gradient is clipped, gram has left its sums.
fn find_factors(thread: Thread) {
    var clip = 1.0;
    if !UNGUARDED {
        clip = guard_of(reduce_partials(thread)).clip;
    }
    if thread.lane == 0u {
        shared_update = UpdateStep(clip, base_factors(scalars.latest.updates + 1u, 1.0));
    }
    workgroupBarrier();
}

fn update_at(i: u32, place: Place) -> vec4f {
    let known = shared_update;
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let decayed = decayed_gradient(params[i], known.clip * g, place.group);
    let result = base_direction(decayed, first_moment_at(i), second_moment_at(i), known.factors);
    return (-place.group.learning_rate_scale * known.factors.first) * result.direction;
}
