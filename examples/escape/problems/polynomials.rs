//! Saddles of polynomials, two of them turned so that no axis is special.

use rand::rngs::StdRng;

use super::{Problem, Reflections, normal, random_direction};

/// Elements of the rotated saddles.
const LEN: usize = 1000;

/// ½ Σ hᵢ zᵢ² over i ≠ 1, plus −½ c y² + q y⁴ for y = z₁, with z = Qθ. Its saddle is at 0 and its
/// minima at y² = c/(4q).
struct RotatedSaddle {
    stiffness: Vec<f64>,
    softness: f64,
    quartic: f64,
}

impl RotatedSaddle {
    fn problem(self, name: &'static str, target: f64, rng: &mut StdRng) -> Problem {
        let turn = Reflections::new((0..4).map(|_| normal(rng, LEN)));
        Problem {
            name,
            len: LEN,
            target,
            start: Box::new(|rng| random_direction(rng, LEN, 1e-6)),
            function: Box::new(move |params, gradient| {
                let mut z = params.to_vec();
                turn.apply(&mut z);
                let y = z[1];
                let mut loss = -0.5 * self.softness * y * y + self.quartic * y.powi(4);
                for (i, (g, z)) in gradient.iter_mut().zip(&z).enumerate() {
                    let stiffness = if i == 1 { 0.0 } else { self.stiffness[i] };
                    *g = stiffness * z;
                    loss += 0.5 * stiffness * z * z;
                }
                gradient[1] = -self.softness * y + 4.0 * self.quartic * y.powi(3);
                turn.apply_transposed(gradient);
                loss
            }),
        }
    }
}

/// Curvatures 0.1 to 2, and −2 along the way out to minima at −1.
pub fn lifted_quartic(rng: &mut StdRng) -> Problem {
    let stiffness = (0..LEN).map(|i| 0.1 + 1.9 * i as f64 / (LEN - 1) as f64).collect();
    RotatedSaddle { stiffness, softness: 2.0, quartic: 0.25 }.problem("lifted quartic", -0.99, rng)
}

/// Curvatures 0.1 to 100, and −0.05 along the way out to minima at −0.0125.
pub fn stiff_saddle(rng: &mut StdRng) -> Problem {
    let stiffness = (0..LEN).map(|i| 10_f64.powf(-1.0 + 3.0 * i as f64 / (LEN - 1) as f64));
    RotatedSaddle { stiffness: stiffness.collect(), softness: 0.05, quartic: 0.0125 }.problem(
        "stiff saddle",
        -0.0124,
        rng,
    )
}

/// The saddle of the four-dimensional Rosenbrock function (Kok, Sandrock 2009, Evol. Comput. 17,
/// 437), between its two minima. It counts as left when either side is reached.
pub fn rosenbrock() -> Problem {
    const SADDLE: [f64; 4] =
        [-0.6561246357194449, 0.4431200409715711, 0.20431224822836322, 0.041743494776128307];
    // The loss is 3.70824 at the saddle and 3.70143 at the nearer minimum.
    const TARGET: f64 = 3.703;
    Problem {
        name: "Rosenbrock",
        len: 4,
        target: TARGET,
        start: Box::new(|rng| {
            let offset = random_direction(rng, 4, 1e-3);
            SADDLE.iter().zip(offset).map(|(x, offset)| x + offset).collect()
        }),
        function: Box::new(|x, gradient| {
            let mut loss = 0.0;
            gradient.fill(0.0);
            for i in 0..3 {
                let (valley, slope) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
                loss += 100.0 * valley * valley + slope * slope;
                gradient[i] -= 400.0 * x[i] * valley + 2.0 * slope;
                gradient[i + 1] += 200.0 * valley;
            }
            loss
        }),
    }
}
