//! 200 steps: fused = unfused = reference, for every base, with and without dimer.

mod common;

use common::*;
use dimer::reference::{self, Reference};
use dimer::unfused::UnfusedOptimizer;
use dimer::{Base, Config, Dimer, HostObjective, Layout};

const STEPS: u32 = 200;
const LEN: usize = 67;
const RATE: f64 = 1e-3;
/// Events in the run, and the rate and distance of their rotation.
const INTERVAL: u32 = 50;
const ROTATION: f64 = 0.25;
const DISTANCE: f64 = 1.0;

/// ½ Σ hᵢ (θᵢ − bᵢ)², with h in [1, 2], |b| in [2, 3] and θ in [−1, 1]: no gradient comes near
/// zero in the 0.3 that a run can move, so Adam's ratio stays well conditioned, and differences
/// of gradients are exact at any distance.
struct Problem {
    h: Vec<f32>,
    b: Vec<f32>,
    start: Vec<f32>,
}

impl Problem {
    fn new() -> Self {
        use rand::RngExt;
        let mut rng = rng(90);
        let mut draw = |from: f32, to: f32| -> Vec<f32> {
            (0..LEN).map(|_| rng.random_range(from..to)).collect()
        };
        let (h, signs, sizes) = (draw(1.0, 2.0), draw(-1.0, 1.0), draw(2.0, 3.0));
        let b = signs.iter().zip(sizes).map(|(sign, size)| size.copysign(*sign)).collect();
        Self { h, b, start: draw(-1.0, 1.0) }
    }

    fn objective(&self) -> HostObjective<impl FnMut(&[f32], &mut [f32]) -> f32> {
        let (h, b) = (self.h.clone(), self.b.clone());
        HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
            for i in 0..LEN {
                gradient[i] = h[i] * (params[i] - b[i]);
            }
            0.0
        })
    }

    fn gradient(&self, params: &[f64]) -> Vec<f64> {
        let parts = self.h.iter().zip(&self.b).zip(params);
        parts.map(|((&h, &b), x)| f64::from(h) * (x - f64::from(b))).collect()
    }
}

/// How far N may be off after the run, in norm.
///
/// One product a = (g₂ − g₁)/ΔR is off by 4 units of |g|, h|θ| ≤ 8 each (subtraction, product,
/// probe, difference), so by δ = 8 · 8 UNIT √n in norm. A rotation adds η δ and stretches what
/// was there by at most 1 + η (λmax − λmin) = 1 + η.
fn orientation_bound() -> f64 {
    let product = 8.0 * 8.0 * UNIT * (LEN as f64).sqrt() / DISTANCE;
    let events = STEPS.div_ceil(INTERVAL);
    let stretched = (0..events).map(|event| (1.0 + ROTATION).powi(event as i32));
    ROTATION * product * stretched.sum::<f64>() + 16.0 * UNIT
}

/// How far an element of θ may be off after the run.
///
/// A step rounds θ twice (|θ| ≤ 2) and its direction, which is at most `direction`, by 32 units.
/// An event corrects the gradient by c N with ‖g₁‖ ≥ |c|: if N is off by ε, the gradient is off by
/// 2 ‖g₁‖ ε, and the momentum passes on 1/(1 − μ) times that. The quadratic itself contracts.
fn theta_bound(base: Base, dimer: bool, norm: f64) -> f64 {
    let steps = f64::from(STEPS);
    let (direction, sensitivity) = match base {
        Base::Sgd { momentum, .. } => (8.0 / (1.0 - momentum), 1.0 / (1.0 - momentum)),
        // Gradients are at least 1: Adam divides by them.
        Base::Adam { .. } | Base::AdamW { .. } => (2.0, 2.0),
    };
    let rounding = steps * (4.0 * UNIT + RATE * 32.0 * UNIT * direction);
    let events = f64::from(STEPS.div_ceil(INTERVAL));
    let turned = RATE * events * sensitivity * 2.0 * norm * orientation_bound();
    rounding + if dimer { turned } else { 0.0 }
}

fn run(base: Base, dimer: Option<Dimer>) {
    println!("{base:?}, dimer {}", dimer.is_some());
    let problem = Problem::new();
    let layout = Layout::flat(LEN).unwrap();
    let has_dimer = dimer.is_some();
    let config =
        Config { base, learning_rate: RATE, weight_decay: 0.01, dimer, ..Config::default() };
    let mut fused = flat(config.clone(), &problem.start);
    let mut unfused =
        UnfusedOptimizer::new(&gpu(), layout.clone(), config.clone(), &problem.start).unwrap();
    let start = wide(&problem.start);
    let orientation = wide(&fused.read_orientation_blocking().unwrap());
    let mut reference = Reference::new(&layout, config, &start, &orientation);
    let (mut for_fused, mut for_unfused) = (problem.objective(), problem.objective());
    for _ in 0..STEPS {
        fused.step(&mut for_fused).unwrap();
        unfused.step(&mut for_unfused).unwrap();
        reference.step(|params| problem.gradient(params));
    }
    let norm = reference::norm(&problem.gradient(&start));
    let bound = theta_bound(base, has_dimer, norm);
    println!("bound {bound:e}");
    let theta = &reference.params;
    assert!(theta.iter().zip(&start).any(|(a, b)| (a - b).abs() > 100.0 * bound), "it moved");
    assert_all_within("fused θ", &fused.read_params_blocking().unwrap(), theta, |_| bound);
    assert_all_within("unfused θ", &unfused.read_params_blocking().unwrap(), theta, |_| bound);
    if has_dimer {
        let bound = orientation_bound();
        let n = &reference.orientation;
        assert!(reference::dot(n, &orientation) < 1.0 - 100.0 * bound, "it turned");
        assert_all_within("fused N", &fused.read_orientation_blocking().unwrap(), n, |_| bound);
        assert_all_within("unfused N", &unfused.read_orientation_blocking().unwrap(), n, |_| bound);
    }
}

#[test]
fn without_dimer() {
    BASES.into_iter().for_each(|base| run(base, None));
}

#[test]
fn with_dimer() {
    for base in BASES {
        let dimer = fixed_dimer(ROTATION, DISTANCE, 1.0);
        run(base, Some(Dimer { interval: INTERVAL, ..dimer }));
    }
}
