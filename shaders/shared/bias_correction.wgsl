// The bias correction of a moving mean that began at zero.

// Terms of the series of expm1; on [-1/2, 0] the next one is below 2^-25 of the sum.
const EXPM1_TERMS: f32 = 9.0;

// 1 - beta^t from log(beta), without the cancellation of 1 - pow(beta, t) at small t.
fn bias_correction(log_beta: f32, t: f32) -> f32 {
    let x = log_beta * t;
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    // x (1 + x/2 (1 + x/3 (1 + ...)))
    var series = 1.0;
    for (var term = EXPM1_TERMS; term > 1.0; term -= 1.0) {
        series = fma(series, x / term, 1.0);
    }
    return -x * series;
}
