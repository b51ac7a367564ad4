// Where a probe lies.
// builds on: partial, scalars, step_bindings, switches, reduction, threads

// A probe at this distance from theta along a direction, or with an exact product the direction itself.
fn placed(theta: vec4f, distance: f32, direction: vec4f) -> vec4f {
    return select(fma(vec4f(distance), direction, theta), direction, vec4<bool>(DIFFERENCE == EXACT));
}

// The fraction of the norm of the parameters that the dimer reaches, with which the automatic displacement starts.
const FIRST_FACTOR: f32 = 3e-5;

fn automatic_factor() -> f32 {
    let factor = scalars.calibration.factor;
    return select(factor, FIRST_FACTOR, factor == 0.0);
}

var<workgroup> shared_distance: f32;

// The distance of the probe, known to every thread.
fn probe_distance(thread: Thread) -> f32 {
    var distance = step.displacement;
    if (DISPLACEMENT == AUTOMATIC) & !FAR {
        distance = scalars.calibration.distance;
    }
    if (DISPLACEMENT == RELATIVE) | ((DISPLACEMENT == AUTOMATIC) & FAR) {
        let sums = reduce_partials(thread);
        if thread.lane == 0u {
            let norm = norm_of(sums.small.x, sums.large.x);
            if DISPLACEMENT == RELATIVE {
                shared_distance = max(distance, step.displacement_factor * norm);
            } else {
                shared_distance = 2.0 * automatic_factor() * max(1.0, norm);
            }
        }
        workgroupBarrier();
        distance = shared_distance;
    }
    return distance;
}
