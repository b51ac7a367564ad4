//! The digits network of the demo in training, with its sharpness.

use dimer::{
    Base, Config, CurvatureRate, Dimer, Gpu, LearningRate, Lion, Mode, Optimizer, Schedule, Sgd,
    cosine_with_warm_up,
};

use crate::{data, network};

/// What is told of a step: its number, the loss, the learning rate, and the sharpness, which is not a number in steps that
/// do not measure it.
pub const ROW: usize = 4;

/// Images of a minibatch.
const BATCH: usize = 128;

/// Steps of a run. As in the demo, the rate warms up in the first tenth and then falls to a tenth.
const STEPS: u64 = 1000;

/// Steps from one look at the sharpness to the next.
const INTERVAL: u32 = 10;

pub struct Training {
    optimizer: Optimizer,
    objective: network::Training,
    accuracy: network::Accuracy,
    /// Answers on their way, and the step that they were asked after.
    answers: network::Answers,
    asked: u64,
    /// The last share of right answers that is known, and its step.
    share: f64,
    answered: u64,
}

/// The base optimizers by their names on the page.
fn base(name: &str) -> Base {
    match name {
        "Adam" => Base::Adam(Default::default()),
        "SGD" => Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
        "Lion" => Base::Lion(Lion::default()),
        _ => Base::AdamW(Default::default()),
    }
}

impl Training {
    /// From weights of this seed, at a fixed rate or at one from curvature that begins there.
    pub fn new(
        gpu: &Gpu,
        name: &str,
        from_curvature: bool,
        rate: f64,
        seed: u64,
    ) -> dimer::Result<Self> {
        let learning_rate = if from_curvature {
            let initial = rate;
            LearningRate::Curvature(CurvatureRate { initial, ..CurvatureRate::default() })
        } else {
            LearningRate::Fixed(rate)
        };
        let schedule = Schedule::Every(INTERVAL);
        let dimer = Dimer { seeks: Mode::Stiffest, schedule, ..Dimer::default() }.watching();
        let config =
            Config { base: base(name), learning_rate, dimer: Some(dimer), ..Config::default() };
        let (train, test) = data::load();
        let start = network::initial_params(seed);
        let optimizer = Optimizer::new(gpu, network::layout()?, config, &start)?;
        let objective = network::Training::new(&optimizer, &train, BATCH, seed);
        let accuracy = network::Accuracy::new(&optimizer, &test);
        let answers = accuracy.start();
        let (asked, answered, share) = (0, 0, f64::NAN);
        Ok(Self { optimizer, objective, accuracy, answers, asked, share, answered })
    }

    /// Takes so many steps, or those that are left: a row for each.
    pub async fn advance(&mut self, steps: u32) -> dimer::Result<Vec<f32>> {
        let first = self.optimizer.steps();
        for step in first..STEPS.min(first + u64::from(steps)) {
            self.optimizer.set_rate_factor(cosine_with_warm_up(step, STEPS / 10, STEPS, 0.1))?;
            self.optimizer.step_async(&mut self.objective).await?;
        }
        let mut rows = Vec::new();
        for record in self.optimizer.telemetry_async().await? {
            // Before its minibatch has turned N.
            let sharpness = if record.event { record.initial_curvature } else { f32::NAN };
            let loss = record.loss.unwrap_or(f32::NAN);
            let row: [f32; ROW] = [record.step as f32, loss, record.learning_rate, sharpness];
            rows.extend(row);
        }
        // What could not be read is asked for again; if the device is lost, the next step says so.
        if let Some(share) = self.accuracy.share(&self.answers) {
            if let Ok(share) = share {
                (self.answered, self.share) = (self.asked, share);
            }
            (self.asked, self.answers) = (self.optimizer.steps(), self.accuracy.start());
        }
        Ok(rows)
    }

    /// A step not long ago, and the share of right answers after it on images that were not trained on.
    pub fn accuracy(&self) -> [f64; 2] {
        [self.answered as f64, self.share]
    }
}
