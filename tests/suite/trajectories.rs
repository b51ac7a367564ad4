//! 200 steps: fused = unfused = reference, for every base, with and without dimer.

use crate::common::*;
use dimer::reference::{self, Reference};
use dimer::unfused::UnfusedOptimizer;
use dimer::{
    Base, Config, Correction, Dimer, Displacement, Group, HostObjective, Layout, LearningRate,
    Mode, Optimizer, RelativeDisplacement, Rotation, RotationRate, Schedule, Sgd, Translation,
};

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
        Base::Sgd(Sgd { momentum, .. }) => (8.0 / (1.0 - momentum), 1.0 / (1.0 - momentum)),
        // Gradients are at least 1: Adam divides by them.
        Base::Adam(_) | Base::AdamW(_) => (2.0, 2.0),
        // Clipped, and so without error, until h is above m; that is at least 3.5% of a gradient of 1,
        // of which D and its error follow within a factor of 16.
        Base::Sophia(_) => (1.0, 16.0),
        // The sign of a mean of gradients of at least 1, which no rounding changes.
        Base::Lion(_) => (1.0, 0.0),
        other => panic!("{other:?} has no bound"),
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
    let config = Config {
        base,
        learning_rate: LearningRate::Fixed(RATE),
        weight_decay: 0.01,
        dimer,
        ..fixed_rate()
    };
    let mut fused = flat(config.clone(), &problem.start);
    // Sophia has no unfused twin.
    let mut unfused = (base != SOPHIA).then(|| {
        UnfusedOptimizer::new(&gpu(), layout.clone(), config.clone(), &problem.start).unwrap()
    });
    let start = wide(&problem.start);
    let orientation = wide(&fused.read_orientation().unwrap().unwrap_or_default());
    let mut reference = Reference::new(&layout, config, &start, &orientation);
    let (mut for_fused, mut for_unfused) = (problem.objective(), problem.objective());
    for _ in 0..STEPS {
        fused.step(&mut for_fused).unwrap();
        if let Some(unfused) = &mut unfused {
            unfused.step(&mut for_unfused).unwrap();
        }
        reference.step(|params| problem.gradient(params));
    }
    let norm = reference::norm(&problem.gradient(&start));
    let bound = theta_bound(base, has_dimer, norm);
    println!("bound {bound:e}");
    let theta = &reference.params;
    assert!(theta.iter().zip(&start).any(|(a, b)| (a - b).abs() > 100.0 * bound), "it moved");
    assert_all_within("fused θ", &fused.read_params().unwrap(), theta, |_| bound);
    if let Some(unfused) = &unfused {
        assert_all_within("unfused θ", &unfused.read_params().unwrap(), theta, |_| bound);
    }
    if has_dimer {
        let bound = orientation_bound();
        let n = &reference.orientation;
        assert!(reference::dot(n, &orientation) < 1.0 - 100.0 * bound, "it turned");
        assert_all_within(
            "fused N",
            &fused.read_orientation().unwrap().unwrap_or_default(),
            n,
            |_| bound,
        );
        if let Some(unfused) = &unfused {
            let found = unfused.read_orientation().unwrap();
            assert_all_within("unfused N", &found, n, |_| bound);
        }
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
        for seeks in [Mode::Softest, Mode::Stiffest] {
            for translation in [dimer.translation, Translation::None] {
                let schedule = Schedule::Every(INTERVAL);
                run(base, Some(Dimer { seeks, schedule, translation, ..dimer.clone() }));
            }
        }
    }
}

/// Groups with their own learning rate and weight decay, one without dimer; clipping; a relative
/// displacement; a correction in every step: 20 steps against the reference.
#[test]
fn every_setting() {
    let problem = Problem::new();
    let mut builder = Layout::builder();
    let fast = builder.group(Group {
        learning_rate_scale: 3.0,
        weight_decay: Some(0.0),
        ..Group::default()
    });
    let frozen =
        builder.group(Group { learning_rate_scale: 0.5, weight_decay: Some(0.2), dimer: false });
    builder.tensor("a", &[5, 5]).tensor_in(fast, "b", &[2]).tensor_in(frozen, "c", &[40]);
    let layout = builder.build().unwrap();
    assert_eq!(layout.len(), LEN);
    for base in BASES {
        let dimer = Dimer {
            displacement: Displacement::Relative(RelativeDisplacement {
                factor: 0.5,
                minimum: 1e-6,
            }),
            schedule: Schedule::Every(10),
            correction: Correction::EveryStep,
            ..fixed_dimer(ROTATION, DISTANCE, 1.0)
        };
        let config = Config {
            base,
            learning_rate: LearningRate::Fixed(RATE),
            weight_decay: 0.01,
            max_gradient_norm: Some(5.0),
            dimer: Some(dimer),
            ..fixed_rate()
        };
        let mut optimizer =
            Optimizer::new(&gpu(), layout.clone(), config.clone(), &problem.start).unwrap();
        let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
        let start = wide(&problem.start);
        let mut reference = Reference::new(&layout, config, &start, &orientation);
        let mut objective = problem.objective();
        for _ in 0..20 {
            optimizer.step(&mut objective).unwrap();
            reference.step(|params| problem.gradient(params));
        }
        // Where the dimer reaches, ‖θ‖ ≥ 2 makes ΔR ≥ 1, so N is as good as in the longer run. The gradients, clipped to a
        // norm of 5, are wrong by at most 2 · 5 of its error in each step, and the fast group
        // goes three times as far; Adam sees gradients that the clip made 20 times smaller.
        let sensitivity = match base {
            Base::Sgd(Sgd { momentum, .. }) => 1.0 / (1.0 - momentum),
            Base::Adam(_) | Base::AdamW(_) => 2.0 * 20.0,
            Base::Sophia(_) => 16.0 * 20.0,
            Base::Lion(_) => 0.0,
            other => panic!("{other:?} has no bound"),
        };
        let turned = 20.0 * 3.0 * RATE * sensitivity * 10.0 * orientation_bound();
        let bound = theta_bound(base, false, 0.0) + turned;
        println!("{base:?}: bound {bound:e}");
        let theta = &reference.params;
        assert!(theta.iter().zip(&start).all(|(a, b)| a != b), "every group moved");
        assert_all_within("θ", &optimizer.read_params().unwrap(), theta, |_| bound);
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        assert!(n[27..].iter().all(|&n| n == 0.0) && n[..27].iter().all(|&n| n != 0.0));
        assert_all_within("N", &n, &reference.orientation, |_| orientation_bound());
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert!(record.clip < 0.2, "it clipped");
        // The displacement is that of the last event, ten steps before.
        assert!(record.displacement > 1.0);
    }
}

/// The automatic rate follows the reference through a run of rotations.
#[test]
fn automatic_rate() {
    let problem = Problem::new();
    let dimer = Dimer {
        rotation: Rotation::gradient(RotationRate::Automatic),
        ..fixed_dimer(ROTATION, DISTANCE, 1.0)
    };
    let config = Config { dimer: Some(dimer.clone()), ..fixed_rate() };
    let mut optimizer = flat(config.clone(), &problem.start);
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let start = wide(&problem.start);
    let layout = Layout::flat(LEN).unwrap();
    let mut reference = Reference::new(&layout, config, &start, &orientation);
    let mut objective = problem.objective();
    for _ in 0..30 {
        optimizer.rotate(&mut objective).unwrap();
        let g1 = problem.gradient(&start);
        reference.rotate(&dimer, &g1, &mut |params| problem.gradient(params));
    }
    // f·Hf is a difference of curvatures divided by t² ≥ 10⁻³, so the rate is off by at most
    // 10³ · 4 · 10⁻⁶ of itself, and so is every turn, all of which are below one radian together.
    let bound = 30.0 * 4e-3 * 0.1;
    assert_all_within(
        "N",
        &optimizer.read_orientation().unwrap().unwrap_or_default(),
        &reference.orientation,
        |_| bound,
    );
    let record = *optimizer.telemetry().unwrap().last().unwrap();
    assert_within("C", record.curvature.into(), reference.curvature, 1e-3 * reference.curvature);
    assert!(reference.curvature < 1.1, "it went down to the lowest, which is near 1");
}
