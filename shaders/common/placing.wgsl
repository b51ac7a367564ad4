// Where a probe lies.

// A probe at this distance from theta along a direction, or with EXACT the direction itself.
fn placed(theta: vec4f, distance: f32, direction: vec4f) -> vec4f {
    return select(fma(vec4f(distance), direction, theta), direction, vec4<bool>(EXACT));
}

// The fraction of the norm of the parameters that the automatic displacement starts with.
const FIRST_FACTOR: f32 = 3e-5;

fn automatic_factor() -> f32 {
    let factor = scalars.calibration.factor;
    return select(factor, FIRST_FACTOR, factor == 0.0);
}

// The distance of the probe, known to every thread.
fn probe_distance(thread: Thread) -> f32 {
    var distance = step.displacement;
    if AUTOMATIC {
        distance = scalars.calibration.distance;
        if FAR {
            let sums = reduce_partials(thread);
            distance = 2.0 * automatic_factor() * max(1.0, norm_of(sums.small.x, sums.large.x));
        }
    }
    if RELATIVE {
        let sums = reduce_partials(thread);
        let norm = norm_of(sums.small.x, sums.large.x);
        distance = max(distance, step.displacement_factor * norm);
    }
    return distance;
}
