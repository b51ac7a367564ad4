//! Vectors that no binding holds: 40 million parameters, 160 MB each, where a binding of Mesa's software
//! renderer stops at 128 MiB. (That shards do not change a bit is in `deterministic.rs`, with limits made
//! small.)

use crate::common::*;
use dimer::reference::bias_correction;
use dimer::{Config, Dimer, Layout, LearningRate, Optimizer, Projection};

const LEN: usize = 40_000_000;

/// Curvatures from −1 to 2.
fn curvature(i: usize) -> f32 {
    (i % 4096) as f32 / 1365.0 - 1.0
}

/// An event of the paper's rotation with AdamW: θ, N and C against f64, every element.
#[test]
fn forty_million_parameters() {
    let (rate, distance, learning_rate) = (0.25, 64.0, 1e-2);
    let h: Vec<f32> = (0..LEN).map(curvature).collect();
    let start: Vec<f32> = (0..LEN).map(|i| 0.5 + (i % 1000) as f32 / 1000.0).collect();
    let dimer = Dimer {
        translation: dimer::Translation::Project(Projection {
            alpha: 0.0,
            only_negative_curvature: false,
        }),
        ..fixed_dimer(rate, distance, 0.0)
    };
    let config = Config {
        learning_rate: LearningRate::Fixed(learning_rate),
        weight_decay: 0.0,
        dimer: Some(dimer),
        ..fixed_rate()
    };
    let mut optimizer = Optimizer::new(&gpu(), Layout::flat(LEN).unwrap(), config, &start).unwrap();
    let before = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let mut objective = quadratic(h.clone());
    optimizer.step(&mut objective).unwrap();

    let sum = |f: &dyn Fn(usize) -> f64| (0..LEN).map(f).sum::<f64>();
    let squares = sum(&|i| before[i] * before[i]);
    let expected = sum(&|i| f64::from(h[i]) * before[i] * before[i]) / squares;
    let record = *optimizer.telemetry().unwrap().last().unwrap();
    // g₂ − g₁ has the rounding of two gradients of up to 3 (2⁻²³ of that) over ΔR N, which is 0.01 on
    // average here; the errors are independent, and their sum over N is below 10⁻⁵.
    assert_within("C", record.curvature.into(), expected, 1e-5);
    let norm = sum(&|i| (f64::from(h[i]) * f64::from(start[i])).powi(2)).sqrt();
    assert_within("‖g‖", record.gradient_norm.unwrap().into(), norm, 1e-6 * norm);

    // N − η (HN − C N), normalised.
    let turned = |i: usize| before[i] - rate * (f64::from(h[i]) - expected) * before[i];
    let length = sum(&|i| turned(i) * turned(i)).sqrt();
    let after = optimizer.read_orientation().unwrap().unwrap_or_default();
    let rounding = rate * 3.0 * 4.0 * UNIT / distance;
    for (i, &n) in after.iter().enumerate() {
        let bound = 2e-5 * before[i].abs() + rounding;
        assert_within("N", n.into(), turned(i) / length, bound);
    }

    // The first step of Adam: g/(|g| + ε), with both bias corrections in it.
    let correction = bias_correction(0.9, 1) / (1.0 - 0.9);
    assert_within("m̂", correction, 1.0, 1e-9);
    let params = optimizer.read_params().unwrap();
    for (i, &theta) in params.iter().enumerate() {
        let g = f64::from(h[i]) * f64::from(start[i]);
        let expected = f64::from(start[i]) - learning_rate * g / (g.abs() + 1e-8);
        // θ rounds once; the direction of length 1 in 32 places (see kernels_match_reference.rs), and
        // the product h θ by a unit of g, which moves the direction by less.
        let bound = UNIT * 2.0 + 33.0 * UNIT * learning_rate;
        assert_within("θ", theta.into(), expected, bound);
    }
}
