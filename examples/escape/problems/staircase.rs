//! The staircase of saddles on which gradient descent needs exponential time (Du, Jin, Lee, Jordan,
//! Singh, Póczos 2017, arXiv 1705.10412, the "octopus"), turned so that no axis is special.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Problem, Reflections, normal};

const LEN: usize = 10;
/// Half the width of a step, the stiffness across it, and the softness along it.
const TAU: f64 = 1.0;
const STIFFNESS: f64 = 1.0;
const SOFTNESS: f64 = 0.25;
/// How far each step lies below the one before.
const DROP: f64 = (6.0 * STIFFNESS + 2.0 * SOFTNESS) * TAU * TAU;

/// Ten saddles in a row; each is left along an axis of its own.
pub fn octopus(rng: &mut StdRng) -> Problem {
    let turn = Arc::new(Reflections::new((0..3).map(|_| normal(rng, LEN))));
    let turn_back = Arc::clone(&turn);
    Problem {
        name: "octopus staircase",
        len: LEN,
        target: -0.99 * LEN as f64 * DROP,
        start: Box::new(move |rng| {
            let mut theta: Vec<f64> = (0..LEN).map(|_| rng.random_range(0.0..0.5)).collect();
            turn_back.apply_transposed(&mut theta);
            theta
        }),
        function: Box::new(move |params, gradient| {
            let mut z = params.to_vec();
            turn.apply(&mut z);
            let loss = stairs(&z, gradient);
            turn.apply_transposed(gradient);
            loss
        }),
    }
}

/// The loss in its own coordinates, even in each of them.
fn stairs(z: &[f64], gradient: &mut [f64]) -> f64 {
    let x: Vec<f64> = z.iter().map(|z| z.abs()).collect();
    let step = x.iter().position(|&x| x < 2.0 * TAU).unwrap_or(LEN);
    let mut loss = -DROP * step as f64;
    for i in 0..LEN {
        if i < step {
            let offset = x[i] - 4.0 * TAU;
            loss += STIFFNESS * offset * offset;
            gradient[i] = 2.0 * STIFFNESS * offset;
        } else if i != step {
            loss += STIFFNESS * x[i] * x[i];
            gradient[i] = 2.0 * STIFFNESS * x[i];
        }
    }
    if step < LEN {
        let (value, slope) = edge(x[step]);
        loss += value;
        gradient[step] = slope;
        if step + 1 < LEN {
            let next = x[step + 1];
            let (value, slope) = hand_over(x[step]);
            loss += (value - STIFFNESS) * next * next;
            gradient[step] += slope * next * next;
            gradient[step + 1] = 2.0 * value * next;
        }
    }
    gradient.iter_mut().zip(z).for_each(|(g, z)| *g *= z.signum());
    loss
}

/// Along the axis that leaves the current saddle: down, then steeper.
fn edge(x: f64) -> (f64, f64) {
    if x <= TAU {
        return (-SOFTNESS * x * x, -2.0 * SOFTNESS * x);
    }
    let (over, bend) = (x - TAU, 2.0 * STIFFNESS - SOFTNESS);
    let value = -SOFTNESS * TAU * TAU - 2.0 * SOFTNESS * TAU * over - bend * over * over;
    (value, -2.0 * SOFTNESS * TAU - 2.0 * bend * over)
}

/// The curvature along the next axis, from stiff to soft as the edge is crossed.
fn hand_over(x: f64) -> (f64, f64) {
    if x <= TAU {
        return (STIFFNESS, 0.0);
    }
    let (s, change) = ((x - TAU) / TAU, STIFFNESS + SOFTNESS);
    let value = STIFFNESS - change * (3.0 * s * s - 2.0 * s * s * s);
    (value, -change * 6.0 * (s - s * s) / TAU)
}
