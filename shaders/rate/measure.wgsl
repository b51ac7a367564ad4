// measure: the learning rate from the curvature along the update u, by one thread.
//
//   g.u = g.e / s,  u.Hu = (g' - g).e / s^2,  for the displacement e = s u between two gradients g and g'
//   estimate = scale (-g.u) / |u.Hu|
//   q <- in the burn-in the smaller of the estimate and of the geometric mean of all so far, the n-th counted n times;
//        after it q (estimate / q)^gain; both within bounds around the last base rate q
//
//   s = distance / |u|, and with REPEATED the rate of the step before
//
// in:  the partials of probe_products, or with REPEATED those of step_products
// out: scalars.rate
// builds on: arithmetic, learning_rate, reduction, scalars, step_bindings, threads, switches

// By how much the base rate shrinks at most, and by how much it grows at most and shrinks where the update leads
// uphill: with a gradient at a probe, and with two steps on one minibatch.
const MOST_DECAY: f32 = 10.0;
const MOST_GROWTH: f32 = 2.0;
const UPHILL_DECAY: f32 = 2.0;
const MOST_GROWTH_OF_STEPS: f32 = 3.0;
const UPHILL_DECAY_OF_STEPS: f32 = 3.0;
// Bounds of the base rate.
const LEAST_RATE: f32 = 1e-10;
const LARGEST_RATE: f32 = 1e3;

// Where the dimer lies: g.e and (g' - g).e, and s.
struct Dimer {
    slope: f32,
    change: f32,
    length: f32,
}

// The rate that leads to the lowest point of the parabola, times `scale`.
fn estimate_of(dimer: Dimer) -> f32 {
    // The quotient would overflow where there is hardly any curvature.
    let along = step.rate_scale * dimer.length * -dimer.slope;
    let across = abs(dimer.change);
    if along >= LARGEST_RATE * across {
        return LARGEST_RATE;
    }
    return max(along / across, LEAST_RATE);
}

// start (end / start)^gain
fn between(start: f32, end: f32, gain: f32) -> f32 {
    // The first has none before it.
    if gain == 1.0 {
        return end;
    }
    return start * pow(end / start, gain);
}

// The base rate after q.
fn next_rate(dimer: Dimer, q: f32) -> f32 {
    let measurements = scalars.rate.measurements;
    let is_burning_in = measurements < step.rate_burn_in;
    var goal = q / select(UPHILL_DECAY, UPHILL_DECAY_OF_STEPS, REPEATED);
    if dimer.slope < 0.0 {
        let most = q * select(MOST_GROWTH, MOST_GROWTH_OF_STEPS, REPEATED);
        goal = estimate_of(dimer);
        if is_burning_in && dimer.change != 0.0 {
            // The gain of means in which the n-th counts n times.
            let gain = 2.0 / f32(scalars.rate.estimates + 2u);
            let mean = between(scalars.rate.mean_estimate, goal, gain);
            scalars.rate.next_mean = mean;
            goal = min(goal, mean);
        } else if REPEATED && dimer.change <= 0.0 {
            goal = most;
        }
        goal = clamp(goal, q / MOST_DECAY, most);
    }
    if is_burning_in {
        return goal;
    }
    // The geometric mean of where the burn-in ended and of the estimates since.
    return between(q, goal, 1.0 / f32(measurements - step.rate_burn_in + 2u));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let sums = reduce_partials(thread);
    if thread.lane != 0u {
        return;
    }
    let known = scalars.rate;
    let q = base_rate_of(scalars.latest);
    var dimer = Dimer(sums.plain.x, sums.plain.y, known.distance / known.update_norm);
    var is_pair = true;
    if REPEATED {
        dimer = Dimer(known.first_slope, sums.plain.x - known.first_slope, known.first_rate);
        is_pair = known.first == step.first && known.first_rate > 0.0;
    }
    scalars.rate.next_mean = 0.0;
    // Without an update, or without the first of two steps, there is nothing to measure.
    scalars.rate.measured = NOTHING;
    if is_pair && !(is_finite(dimer.slope) && is_finite(dimer.change)) {
        scalars.rate.measured = LOST;
    } else if is_pair && (dimer.slope != 0.0 || dimer.change != 0.0) {
        scalars.rate.measured = MEASUREMENT;
        let most = min(LARGEST_RATE, step.rate_bound);
        scalars.rate.base_learning_rate = min(max(next_rate(dimer, q), LEAST_RATE), most);
        scalars.rate.update_slope = dimer.slope / dimer.length;
        scalars.rate.update_curvature = dimer.change / (dimer.length * dimer.length);
    }
}
