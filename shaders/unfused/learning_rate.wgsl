// learning_rate: the base rate q from the slope and the curvature along the update.
//
//   estimate = scale (-slope) / |curvature|, times norm / (shortest longest) if that is below 1
//   mean   <- the geometric mean of all, in which those of the burn-in count as two once it is over
//   signal <- the mean over the burn-in of (previous_slope - last_move last_curvature) / last_slope, from 0 to 1
//   q <- signal^2 mean, in the burn-in signal^2 times the smaller of mean and estimate, from q / 10 to growth q. Uphill there
//        is no estimate: q does not grow in the burn-in, and is divided by growth where there is no mean. Nor where the
//        curvature is lost in rounding: in the burn-in and without a mean q then goes to probe_rate, if it is below. Where it
//        is not lost, -slope / norm is at least steepest, or curvature < 0 and slope <= last_slope < 0, shortest is not 0, and
//        signal at least 0.9, q goes to ten probe_rate, shortened as the estimate is, if it is below, fourfold at most, and the mean
//        begins anew. At most bound
//
// `left` is the first of these table: scale, growth, burn_in, bound, shortest; `right` of these: slope, curvature, norms,
// own_slope, previous_slope, probe_rate, the logarithm of the mean, for how many it counts, signal, for how many it
// counts, the number of measurements, last_slope, last_curvature, last_move, norm, longest, steepest; `result` is q, which the
// learning rate follows.

// 2^-20, and the least signal.
const ROUNDING: f32 = 9.5367431640625e-7;
const LEAST_SIGNAL: f32 = 0.1;

@compute @workgroup_size(1)
fn main() {
    let q = table[op.result];
    let growth = table[op.left + 1u];
    let rule = op.right;
    let curvature = table[rule + 1u];
    let own_slope = table[rule + 3u];
    let measured = table[rule + 10u];
    let is_burning_in = measured < table[op.left + 2u];
    // A step that is too small for f32 has moved nothing.
    let slope = select(table[rule], own_slope, table[rule] == 0.0 && curvature == 0.0);
    let is_downhill = slope < 0.0;
    let previous = table[rule + 4u];
    let compares = previous != 0.0 && table[rule + 13u] > 0.0 && table[rule + 11u] < 0.0;
    if is_burning_in && is_downhill && compares {
        let seen = previous - table[rule + 13u] * table[rule + 12u];
        let n = table[rule + 9u];
        let signal = clamp(seen / table[rule + 11u], 0.0, 1.0);
        table[rule + 8u] = (n * table[rule + 8u] + signal) / (n + 1.0);
        table[rule + 9u] = n + 1.0;
    }
    let signal = select(max(table[rule + 8u], LEAST_SIGNAL), 1.0, table[rule + 9u] == 0.0);
    let count = table[rule + 7u];
    let norm = table[rule + 14u];
    let longest = max(table[rule + 15u], norm);
    let shortest = table[op.left + 4u] * longest;
    let shortness = select(1.0, norm / shortest, norm < shortest);
    let ten_probes = 10.0 * shortness * table[rule + 5u];
    let is_resolved = abs(curvature) > ROUNDING * table[rule + 2u];
    let is_steepest = table[rule + 16u] > 0.0 && -slope >= table[rule + 16u] * norm;
    let is_lower = table[rule + 11u] < 0.0 && slope <= table[rule + 11u];
    let grows_steeper = is_steepest || (curvature < 0.0 && is_lower);
    let is_clear = shortest > 0.0 && table[rule + 9u] > 0.0 && signal >= 0.9;
    let log_estimate = log(shortness * clamp(table[op.left] * -slope / abs(curvature), 1e-10, 1e3));
    var most = growth;
    var wanted = signal * signal * exp(table[rule + 6u]);
    if is_downhill && is_resolved && is_clear && grows_steeper && q < ten_probes {
        most = 4.0;
        wanted = min(ten_probes, 4.0 * q);
        table[rule + 6u] = max(log_estimate, log(wanted / (signal * signal)));
        table[rule + 7u] = clamp(count, 1.0, 2.0);
    } else if is_downhill && is_resolved {
        let log_mean = (count * table[rule + 6u] + log_estimate) / (count + 1.0);
        table[rule + 6u] = log_mean;
        table[rule + 7u] = count + 1.0;
        wanted = signal * signal * exp(select(log_mean, min(log_mean, log_estimate), is_burning_in));
    } else if is_downhill && (is_burning_in || count == 0.0) {
        wanted = max(table[rule + 5u], q);
    } else if count == 0.0 {
        wanted = q / growth;
    } else if is_burning_in {
        wanted = min(wanted, q);
    }
    wanted = clamp(wanted, q / 10.0, most * q);
    table[rule + 15u] = longest;
    if norm > 0.0 {
        table[rule + 16u] = max(table[rule + 16u], -slope / norm);
    }
    table[rule + 10u] = measured + 1.0;
    table[rule + 11u] = slope;
    table[rule + 12u] = select(0.0, curvature, is_resolved);
    // The first of two steps on one minibatch, which grow more, has moved the parameters as well.
    table[rule + 13u] = select(0.0, table[op.result + 1u], growth == 3.0);
    if measured + 1.0 == table[op.left + 2u] {
        table[rule + 7u] = min(table[rule + 7u], 2.0);
    }
    table[op.result] = min(clamp(wanted, 1e-10, 1e3), table[op.left + 3u]);
}
