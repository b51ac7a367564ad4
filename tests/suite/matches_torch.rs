//! The base optimizers against PyTorch: trajectories made by `oracles/torch_trajectories.py`.

use crate::common::*;
use dimer::{Config, HostObjective, LearningRate};

/// The gradient of scipy's `rosen`, in f32, in the order in which autograd accumulates it.
fn rosenbrock(x: &[f32], gradient: &mut [f32]) -> f32 {
    let mut loss = 0.0;
    for i in 0..x.len() - 1 {
        let (valley, offset) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
        loss += 100.0 * valley * valley + offset * offset;
        gradient[i] += -400.0 * x[i] * valley - 2.0 * offset;
        gradient[i + 1] += 200.0 * valley;
    }
    loss
}

fn config(run: &str) -> Config {
    let (base, learning_rate, weight_decay) = match run {
        "sgd" => (SGD, 1e-4, 0.0),
        "sgd_decay" => (SGD, 1e-4, 1e-1),
        "momentum" => (MOMENTUM, 1e-4, 0.0),
        "nesterov" => (NESTEROV, 1e-4, 1e-2),
        "adam" => (ADAM, 1e-2, 0.0),
        "adam_decay" => (ADAM, 1e-2, 1e-1),
        "adamw" | "adamw_clipped" => (ADAMW, 1e-2, 1e-2),
        "lion" => (LION, 2_f64.powi(-10), 2_f64.powi(-3)),
        other => panic!("no such run: {other}"),
    };
    let max_gradient_norm = (run == "adamw_clipped").then_some(1.0);
    Config {
        base,
        learning_rate: LearningRate::Fixed(learning_rate),
        weight_decay,
        max_gradient_norm,
        dimer: None,
        ..fixed_rate()
    }
}

/// Every recorded point of every run within 1e-5.
#[test]
fn trajectories() {
    let table = include_str!("../oracles/torch_trajectories.csv");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.starts_with(['#', 'r']))
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(rows.len(), 9 * 4 - 1);
    for run in rows.chunk_by(|a, b| a[0] == b[0]) {
        let mut optimizer = flat(config(run[0][0]), &[-1.2, 1.0, -0.5, 0.8]);
        let mut objective = HostObjective::new(rosenbrock);
        for row in run {
            let steps: u64 = row[1].parse().unwrap();
            while optimizer.steps() < steps {
                optimizer.step(&mut objective).unwrap();
            }
            let expected: Vec<f64> = row[2..].iter().map(|x| x.parse().unwrap()).collect();
            let found = optimizer.read_params().unwrap();
            println!("{} {steps}: {found:?}", row[0]);
            assert_all_within(&row[..2].join(" "), &found, &expected, |_| 1e-5);
        }
    }
}

/// torch 2.15 AdamW after 1000 steps. Torch rounds 1 − lr·λ to f32 and so is 6e-6 from the same
/// run in f64; the kernels, which do not, are held to 1e-6 of that one.
#[test]
fn adamw_golden() {
    let mut optimizer = flat(config("adamw"), &[-1.2, 1.0, -0.5, 0.8]);
    let mut objective = HostObjective::new(rosenbrock);
    for _ in 0..1000 {
        optimizer.step(&mut objective).unwrap();
    }
    let expected = [-0.648329258, 0.4332515, 0.196019009, 0.0385237336];
    let found = optimizer.read_params().unwrap();
    assert_all_within("θ", &found, &expected, |_| 1e-5);
    let exact = [-0.6483351111563279, 0.4332590588292904, 0.1960254428844898, 0.03852624129772013];
    assert_all_within("θ", &found, &exact, |_| 1e-6);
}
