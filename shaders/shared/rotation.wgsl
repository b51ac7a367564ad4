// One rotation by the gradient of the curvature.
// builds on: arithmetic, mode, partial, scaled, types, step_bindings

// The automatic rate times the curvature scale, and what an event leaves of that scale.
const AUTOMATIC_RATE: f32 = 0.5;
const SCALE_MEMORY: f32 = 0.99;
// The least turn, squared, that tells the curvature along F from rounding.
const LEAST_TURN: f32 = 1e-3;

// The rotation N' = normalize(n - rate F), for n = N/|N| and F = Hn - C n, as N' = keep N + turn d; towards the
// stiffest direction N' = normalize(n + rate F).
// Fills the record and returns g1 . N'.
fn rotation(sums: Partial, distance: f32, result: ptr<function, Outcome>) -> f32 {
    let norm = sqrt(sums.plain.x);
    let along = sums.plain.y / norm;
    let curvature = along / (norm * distance);
    let residual = across(along, sums.small.y, sums.large.y) / (norm * distance);
    let product_norm = norm_of(sums.small.y, sums.large.y) / (norm * distance);
    let curvature_scale =
        max(max(SCALE_MEMORY * (*result).record.curvature_scale, product_norm),
            curvature_along_force((*result).record, sought(curvature)));
    var rate = step.rotation_rate;
    if rate == 0.0 && curvature_scale > 0.0 {
        rate = AUTOMATIC_RATE / curvature_scale;
    }
    let turn = rounded_scalar(rate * residual);
    let stretch = norm * sqrt(fma(turn, turn, 1.0));
    (*result).keep = fma(rate, sought(curvature), 1.0) / stretch;
    (*result).turn = sought(-rate / (distance * stretch));

    (*result).record.status |= EVENT;
    (*result).record.rotations += 1u;
    (*result).record.initial_curvature = curvature;
    (*result).record.curvature = curvature;
    (*result).record.residual = residual;
    (*result).record.angle = atan(turn);
    (*result).record.displacement = distance;
    (*result).record.curvature_scale = curvature_scale;
    (*result).record.rate = rate;
    let cross_scale = chosen_scale(sums.small.z);
    let cross = chosen_sum(sums.small.z, sums.large.z);
    return fma((*result).turn, cross / cross_scale / cross_scale, (*result).keep * sums.plain.z);
}

// The last event turned n to (n - rate F) / s with s^2 = 1 + t^2, t = rate |F|. The curvature there,
// measured now, gives that along the force's direction f = F/|F|:
//   f.Hf = (C' (1 + t^2) - C + 2 t |F|) / t^2.
// Returns f.Hf - C, or 0 where the turn was too small to tell; all of the matrix whose softest direction is sought.
fn curvature_along_force(last: Record, curvature: f32) -> f32 {
    let turn = rounded_scalar(last.rate * last.residual);
    let squared = turn * turn;
    if !(squared > LEAST_TURN) {
        return 0.0;
    }
    let before = sought(last.curvature);
    let change = fma(curvature, 1.0 + squared, fma(2.0 * turn, last.residual, -before));
    return change / squared - before;
}
