// learning_rate: the base rate q from the slope and the curvature along the update.
//
//   estimate = scale (-slope) / |curvature|, in the burn-in no more than the geometric mean of these so far, the n-th
//   counted n times, from shrink q to growth q; uphill q where the slope is not negative, growth q where a curvature
//   that keeps its sign is not positive
//   q <- in the burn-in the estimate, then q (estimate / q)^(1 / (k + 1)) for the k-th; but no more than bound
//
// `left` is the first of these slots: slope, curvature, scale, shrink, growth, uphill, keeps_sign, burn_in, bound; `right`
// that of the weighted sum of the estimates' logarithms, their number and the number of measurements; `result` is q.

@compute @workgroup_size(1)
fn main() {
    let q = slots[op.result];
    let slope = slots[op.left];
    let curvature = slots[op.left + 1u];
    let growth = slots[op.left + 4u];
    let after_burn_in = slots[op.right + 2u] - slots[op.left + 7u];
    slots[op.right + 2u] += 1.0;
    var estimate = slots[op.left + 2u] * -slope / abs(curvature);
    if slope >= 0.0 {
        estimate = slots[op.left + 5u] * q;
    } else {
        if after_burn_in < 0.0 {
            let n = slots[op.right + 1u] + 1.0;
            slots[op.right + 1u] = n;
            slots[op.right] += n * log(estimate);
            estimate = min(estimate, exp(slots[op.right] / (n * (n + 1.0) / 2.0)));
        } else if slots[op.left + 6u] == 1.0 && curvature <= 0.0 {
            estimate = growth * q;
        }
        estimate = clamp(estimate, slots[op.left + 3u] * q, growth * q);
    }
    let gain = 1.0 / (after_burn_in + 2.0);
    let next = select(estimate, q * pow(estimate / q, gain), after_burn_in >= 0.0);
    slots[op.result] = min(next, slots[op.left + 8u]);
}
