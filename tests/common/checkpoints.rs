//! What the tests of checkpoints share.

use std::path::PathBuf;

use super::{bits, gpu};
use dimer::{Config, Error, Group, HostObjective, Layout, Objective, Optimizer};

pub const LEN: usize = 130;

/// A file that is gone when the test is.
pub struct Scratch(pub tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("checkpoint.safetensors")
    }
}

pub fn layout() -> Layout {
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    builder.tensor("a.weight", &[5, 12]).tensor_in(slow, "a.bias", &[5]).tensor("b", &[65]);
    builder.build().unwrap()
}

/// A saddle, so that every translation acts.
pub fn objective() -> impl Objective {
    HostObjective::new(|x: &[f32], gradient: &mut [f32]| {
        let mut loss = 0.0;
        for (i, (g, x)) in gradient.iter_mut().zip(x).enumerate() {
            let h = i as f32 / 20.0 - 3.0;
            *g = h * x + x * x * x;
            loss += 0.5 * h * x * x + 0.25 * x.powi(4);
        }
        loss
    })
}

pub fn make(config: &Config, start: f32) -> Optimizer {
    let start = vec![start; LEN];
    Optimizer::new(&gpu(), layout(), config.clone(), &start).unwrap()
}

/// Everything that can be seen of an optimizer.
pub fn snapshot(optimizer: &mut Optimizer) -> impl PartialEq + std::fmt::Debug + use<> {
    let last = optimizer.telemetry().unwrap();
    let last = last.last().map(|record| format!("{record:?}"));
    (
        bits(&optimizer.read_params().unwrap()),
        bits(&optimizer.read_orientation().unwrap().unwrap_or_default()),
        format!("{:?}", optimizer.read_regions().unwrap()),
        (optimizer.steps(), optimizer.gradient_evaluations()),
        last,
    )
}

/// What a checkpoint was refused for.
pub fn reason(result: dimer::Result<()>) -> String {
    match result.unwrap_err() {
        Error::Checkpoint { reason, .. } => reason,
        other => panic!("{other}"),
    }
}
