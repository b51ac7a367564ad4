// measure: the learning rate from the curvature along the update u, by one thread.
//
//   g.u = g.e / s,  u.Hu = (g' - g).e / s^2,  for the displacement e = s u between two gradients g and g'
//   estimate = scale (-g.u) / |u.Hu|; with Adam times 50 |u| / the longest |u|, if that is below 1
//   mean   <- the geometric mean of all estimates, in which those of the burn-in count as two once it is over
//   signal <- the mean over the burn-in of (g.w - r w.Hw) / (the last g.u), from 0 to 1: the slope of the update w of the
//             step before as this minibatch would have found it there, r learning rates ago
//   q <- signal^2 mean, in the burn-in signal^2 times the smaller of mean and estimate; within bounds around the last q
//
//   s = distance / |u|, and with REPEATED the rate of the step before. Uphill there is no estimate: q does not grow in the
//   burn-in, and shrinks where there is no mean. Nor where the curvature is lost in the rounding of g: q then goes to
//   distance / |u| in the burn-in and without a mean, if it is below.
//   With Adam, where the curvature is not lost, signal >= 0.9, and u leads down at least as steeply as ever, -g.u / |u|, or
//   u.Hu < 0 and g.u is no higher than the last one, if that was below 0: then a q below 10 distance / |u|, shortened as the
//   estimate is, goes there, fourfold at most, and the mean begins anew.
//
// in:  the partials of probe_products, or with REPEATED those of step_products; scalars.rate
// out: scalars.rate
// builds on: arithmetic, learning_rate, partial, reduction, scalars, step_bindings, threads, switches, entry

// By how much the base rate shrinks at most, and by how much it grows at most, or shrinks without a mean where the update
// leads uphill: with a gradient at a probe, and with two steps on one minibatch.
const MOST_DECAY: f32 = 10.0;
const MOST_GROWTH: f32 = 2.0;
const MOST_GROWTH_OF_STEPS: f32 = 3.0;
// Bounds of the base rate.
const LEAST_RATE: f32 = 1e-10;
const LARGEST_RATE: f32 = 1e3;
// By how much of |g| |e| a product with a gradient in f32 may be off: 2^-20.
const ROUNDING: f32 = 9.5367431640625e-7;
const LEAST_SIGNAL: f32 = 0.1;
// What the signal must be where the slope grows; how many probes q should be long then, and by how much it grows at most.
const CLEAR_SIGNAL: f32 = 0.9;
const PROBES: f32 = 10.0;
const MOST_GROWTH_OF_SLOPES: f32 = 4.0;

// Where the dimer lies: g.e and (g' - g).e, s, and |g| |e|.
struct Dimer {
    slope: f32,
    change: f32,
    length: f32,
    norms: f32,
}

fn is_resolved(dimer: Dimer) -> bool {
    return abs(dimer.change) > ROUNDING * dimer.norms;
}

// By how much less than its own rate suits an update that may be long again.
fn shortness() -> f32 {
    let norm = scalars.rate.update_norm;
    let shortest = step.shortest_update * max(scalars.rate.longest, norm);
    return select(1.0, norm / shortest, norm < shortest);
}

// The rate that leads to the lowest point of the parabola, times `scale`.
fn lowest_rate(dimer: Dimer) -> f32 {
    // The quotient would overflow where there is hardly any curvature.
    let along = step.rate_scale * dimer.length * -dimer.slope;
    let across = abs(dimer.change);
    if along >= LARGEST_RATE * across {
        return LARGEST_RATE;
    }
    return max(along / across, LEAST_RATE);
}

// Keeps what this measurement adds to the longest update and the steepest way down: an event may look along another update
// before the step counts.
fn extend_known(dimer: Dimer) {
    let known = scalars.rate;
    let norm = known.update_norm;
    let steepness = -dimer.slope / (dimer.length * norm);
    let counts = norm > 0.0 && is_finite(norm) && is_finite(steepness);
    scalars.rate.next_longest = max(known.longest, select(0.0, norm, counts));
    scalars.rate.next_steepest = max(known.steepest, select(0.0, steepness, counts));
}

// Whether the rate may grow with the slope: the way down is at least as steep as in every measurement before, or it bends down
// and g.u is no higher than in the last one.
fn grows_steeper(dimer: Dimer) -> bool {
    let known = scalars.rate;
    let steepest = known.steepest * known.update_norm * dimer.length;
    let is_steepest = known.steepest > 0.0 && -dimer.slope >= steepest;
    let is_lower = known.last_slope < 0.0 && dimer.slope / dimer.length <= known.last_slope;
    let bends_down = dimer.change < 0.0 && is_lower;
    return step.shortest_update > 0.0 && (is_steepest || bends_down);
}

// The geometric mean with one estimate more.
fn mean_with(estimate: f32) -> f32 {
    let known = scalars.rate;
    if known.estimates == 0u {
        return estimate;
    }
    return known.mean_estimate * pow(estimate / known.mean_estimate, 1.0 / f32(known.estimates + 1u));
}

// The mean signal with that of this step: what other minibatches see of the slope; -1 if the step does not count.
fn signal_with(is_burning_in: bool) -> f32 {
    let known = scalars.rate;
    let compares = (known.last_move > 0.0) & (known.last_slope < 0.0) & (known.previous_slope != 0.0);
    if !is_burning_in | !compares {
        return -1.0;
    }
    let slope = fma(-known.last_move, known.last_curvature, known.previous_slope);
    let signal = clamp(slope / known.last_slope, 0.0, 1.0);
    return known.mean_signal + (signal - known.mean_signal) / f32(known.signals + 1u);
}

// The base rate after q.
fn next_rate(dimer: Dimer, q: f32) -> f32 {
    let most = select(MOST_GROWTH, MOST_GROWTH_OF_STEPS, REPEATED);
    let known = scalars.rate;
    let is_burning_in = known.measurements < step.rate_burn_in;
    let is_downhill = dimer.slope < 0.0;
    var next_signal = -1.0;
    if is_downhill {
        next_signal = signal_with(is_burning_in);
        scalars.rate.next_signal = next_signal;
    }
    var signal = select(known.mean_signal, next_signal, next_signal >= 0.0);
    signal = select(max(signal, LEAST_SIGNAL), 1.0, known.signals == 0u && next_signal < 0.0);
    let share = signal * signal;
    let has_signal = known.signals > 0u || next_signal >= 0.0;
    let short = shortness();
    let distant = PROBES * short * known.distance / known.update_norm;
    var wanted = share * known.mean_estimate;
    if is_downhill && is_resolved(dimer) {
        let estimate = short * lowest_rate(dimer);
        if has_signal && signal >= CLEAR_SIGNAL && q < distant && grows_steeper(dimer) {
            let grown = min(distant, MOST_GROWTH_OF_SLOPES * q);
            scalars.rate.next_mean = max(estimate, grown / share);
            scalars.rate.next_estimates = clamp(known.estimates, 1u, BURN_IN_WEIGHT);
            return grown;
        }
        let mean = mean_with(estimate);
        scalars.rate.next_mean = mean;
        scalars.rate.next_estimates = known.estimates + 1u;
        wanted = share * select(mean, min(mean, estimate), is_burning_in);
    } else if is_downhill && (is_burning_in || known.estimates == 0u) {
        // So far the slope is known to lead on.
        wanted = max(known.distance / known.update_norm, q);
    } else if known.estimates == 0u {
        wanted = q / most;
    } else if is_burning_in {
        wanted = min(wanted, q);
    }
    return clamp(wanted, q / MOST_DECAY, most * q);
}

fn kernel(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane != 0u {
        return;
    }
    let known = scalars.rate;
    let q = base_rate_of(scalars.latest);
    let norms = norm_of(sums.small.x, sums.large.x) * norm_of(sums.small.y, sums.large.y);
    var dimer = Dimer(sums.plain.x, sums.plain.y, known.distance / known.update_norm, norms);
    var is_pair = true;
    if REPEATED {
        let slope = known.first_slope;
        dimer = Dimer(slope, sums.plain.x - slope, known.first_rate, norms);
        is_pair = known.first == step.first && known.first_rate > 0.0;
        if dimer.slope == 0.0 && dimer.change == 0.0 {
            // A step below the resolution of f32 has moved nothing.
            dimer.slope = dimer.length * known.own_slope;
        }
    }
    scalars.rate.next_mean = 0.0;
    scalars.rate.next_signal = -1.0;
    // Without an update, or without the first of two steps, there is nothing to measure.
    scalars.rate.measured = NOTHING;
    if is_pair && !(is_finite(dimer.slope) && is_finite(dimer.change)) {
        scalars.rate.measured = LOST;
    } else if is_pair && (dimer.slope != 0.0 || dimer.change != 0.0) {
        scalars.rate.measured = MEASUREMENT;
        let most = min(LARGEST_RATE, step.rate_bound);
        scalars.rate.base_learning_rate = min(max(next_rate(dimer, q), LEAST_RATE), most);
        scalars.rate.update_slope = dimer.slope / dimer.length;
        extend_known(dimer);
        let curvature = dimer.change / (dimer.length * dimer.length);
        scalars.rate.update_curvature = select(0.0, curvature, is_resolved(dimer));
    }
}
