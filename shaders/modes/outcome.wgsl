// outcome: curvature, residual and error of the product of every mode, by one workgroup.
//
//   C <- C + y.f / y.y,   residual = sqrt(f.f / y.y - (y.f / y.y)^2),   error = |e| / |y|
//
// in:  the partials of residuals
// out: modes
// builds on: modes_bindings, mode_sums, partial, threads, switches, entry

fn kernel(thread: Thread) {
    for (var j = 0u; j < arguments.modes; j += 1u) {
        let sums = sum_of_entry(thread, j);
        if thread.lane == 0u {
            let inverse = 1.0 / sqrt(sums.plain.x);
            let along = sums.plain.y * inverse * inverse;
            let force = norm_of(sums.small.x, sums.large.x) * inverse;
            let error = norm_of(sums.small.y, sums.large.y) * inverse;
            let curvature = modes.curvatures[j] + along;
            modes.curvatures[j] = curvature;
            // As a product: the squares could leave f32.
            modes.residuals[j] = sqrt(max(0.0, force - abs(along))) * sqrt(force + abs(along));
            modes.product_errors[j] = error;
            modes.valid &= u32(is_finite(curvature) && is_finite(force) && is_finite(error));
        }
    }
}
