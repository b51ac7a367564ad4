// calibrate: the automatic displacement, by one thread.
//
//   FAR:  keeps C at 2 distance; the near probe is at half of that
//   else: change      = |C(2 distance) - C(distance)|, to first order the error of C(distance)
//         rounding    = 2^-24 (|g1| + |HN| |params|) / distance
//         error       = change + rounding
//         next_factor = factor / 2 where change > rounding, else 2 factor
//
// in:  the partials of gram
// out: scalars.calibration
// builds on: probe_bindings, partial, probe_distance, reduction, threads, switches, entry

const UNIT: f32 = 5.9604645e-8;
const LEAST_FACTOR: f32 = 1e-6;
const LARGEST_FACTOR: f32 = 1e-2;

fn kernel(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane != 0u {
        return;
    }
    let distance = scalars.displacement;
    let curvature = sums.plain.y / (sums.plain.x * distance);
    if FAR {
        scalars.calibration.far = curvature;
        scalars.calibration.distance = 0.5 * distance;
        // What holds if one of the two is not finite.
        scalars.calibration.error = scalars.latest.difference_error;
        scalars.calibration.next_factor = scalars.calibration.factor;
    } else {
        let factor = automatic_factor();
        let change = abs(scalars.calibration.far - curvature);
        let product_norm = norm_of(sums.small.y, sums.large.y) / (sqrt(sums.plain.x) * distance);
        let params_norm = distance / factor;
        let gradient_norm = norm_of(sums.small.x, sums.large.x);
        let rounding = UNIT * fma(product_norm, params_norm, gradient_norm) / distance;
        let error = change + rounding;
        if is_finite(error) {
            scalars.calibration.error = error;
            let next = factor * select(2.0, 0.5, change > rounding);
            scalars.calibration.next_factor = clamp(next, LEAST_FACTOR, LARGEST_FACTOR);
        }
    }
}
