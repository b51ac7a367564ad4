// learning_rate: the base rate q from the slope and the curvature along the update.
//
//   estimate = scale (-slope) / |curvature|, from shrink q to growth q;
//   uphill q where the slope is not negative, growth q where a curvature that keeps its sign is not positive
//   q <- q (estimate / q)^gain
//
// `left` is the first of these slots: slope, curvature, scale, shrink, growth, uphill, keeps_sign, gain; `result`
// is q.

@compute @workgroup_size(1)
fn main() {
    let q = slots[op.result];
    let slope = slots[op.left];
    let curvature = slots[op.left + 1u];
    let shrink = slots[op.left + 3u];
    let growth = slots[op.left + 4u];
    var estimate = clamp(slots[op.left + 2u] * -slope / abs(curvature), shrink * q, growth * q);
    if slots[op.left + 6u] == 1.0 && curvature <= 0.0 {
        estimate = growth * q;
    }
    if slope >= 0.0 {
        estimate = slots[op.left + 5u] * q;
    }
    let gain = slots[op.left + 7u];
    slots[op.result] = select(q * pow(estimate / q, gain), estimate, gain == 1.0);
}
