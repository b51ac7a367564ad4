// measure: the learning rate from the curvature along the update u, by one thread.
//
//   g.u = g.e / s,  u.Hu = (g' - g).e / s^2,  for the displacement e = s u between two gradients g and g'
//   estimate = scale (-g.u) / |u.Hu|, within bounds around the last base rate q
//   q <- q (estimate / q)^gain
//
//   s = distance / |u|, and with REPEATED the rate of the step before
//
// in:  the partials of probe_products, or with REPEATED those of step_products
// out: scalars.rate
// builds on: repeat_bindings, arithmetic, learning_rate, reduction, scalars, step_bindings, threads, switches

// By how much the base rate grows and shrinks at most, and shrinks where the update leads uphill.
const MOST_GROWTH: f32 = 2.0;
const MOST_DECAY: f32 = 10.0;
const UPHILL_DECAY: f32 = 2.0;
// The same by two steps on one minibatch.
const MOST_CHANGE: f32 = 3.0;
// Bounds of the base rate.
const LEAST_RATE: f32 = 1e-10;
const LARGEST_RATE: f32 = 1e3;

// Where the dimer lies: g.e and (g' - g).e, and s.
struct Dimer {
    slope: f32,
    change: f32,
    length: f32,
}

// The rate that leads to the lowest point of the parabola, times `scale`, within the bounds around q.
fn estimate_of(dimer: Dimer, q: f32) -> f32 {
    let least = q / select(MOST_DECAY, MOST_CHANGE, REPEATED);
    let most = q * select(MOST_GROWTH, MOST_CHANGE, REPEATED);
    if dimer.slope >= 0.0 {
        return select(q / UPHILL_DECAY, least, REPEATED);
    }
    if REPEATED && dimer.change <= 0.0 {
        return most;
    }
    // The quotient would overflow where there is hardly any curvature.
    let along = step.rate_scale * dimer.length * -dimer.slope;
    let across = abs(dimer.change);
    if along >= most * across {
        return most;
    }
    return max(least, along / across);
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
        is_pair = known.first + 1u == step.index && known.first_rate > 0.0;
    }
    let valid = !is_pair || (is_finite(dimer.slope) && is_finite(dimer.change));
    scalars.rate.valid = u32(valid);
    // Without an update, or without the first of two steps, there is nothing to measure.
    let measured = valid && is_pair && (dimer.slope != 0.0 || dimer.change != 0.0);
    scalars.rate.measured = u32(measured);
    if measured {
        let estimate = estimate_of(dimer, q);
        // A power of 1 would be rounded.
        let adopted = select(q * pow(estimate / q, step.rate_gain), estimate, step.rate_gain == 1.0);
        scalars.rate.base_learning_rate = clamp(adopted, LEAST_RATE, LARGEST_RATE);
        scalars.rate.update_slope = dimer.slope / dimer.length;
        scalars.rate.update_curvature = dimer.change / (dimer.length * dimer.length);
    }
}
