//! One run: a training that can be taken up again where it was left.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;
use dimer::cosine_with_warm_up;
use dimer_burn::{DimerDevice, DimerOptimizer};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::data::{self, Data, Minibatch};
use crate::method::Method;
use crate::model::{Gpt, Size};
use crate::watch::Watch;

/// Steps of the linear warm-up.
const WARM_UP: u64 = 100;

/// What all runs have in common.
pub struct Experiment<'a> {
    pub data: &'a Data,
    pub device: &'a DimerDevice,
    pub size: Size,
    pub steps: u64,
    pub interval: u32,
    pub learning_rate: f64,
    /// Steps from one validation loss to the next.
    pub evaluation_interval: u64,
    /// Equal parts of a minibatch, of which an event uses one.
    pub parts: u32,
    /// Whether both ends of the spectrum are followed.
    pub watch: bool,
    /// The steps after which they are compared with Lanczos.
    pub lanczos: &'a [u64],
    /// And how many products Lanczos takes.
    pub products: usize,
    /// Where logs and checkpoints are kept.
    pub folder: &'a Path,
}

/// One line of a run's log.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    pub step: u64,
    /// Gradients evaluated so far, probes included.
    pub gradients: f64,
    /// Loss of the last minibatch, or of the part that an event used, in nats per character.
    pub train_loss: f32,
    pub validation_loss: f32,
    /// From curvature, at the height of the schedule; empty with a fixed one.
    pub learning_rate: Option<f32>,
    /// Curvature along N as last measured; empty without a dimer and before the first event.
    pub curvature: Option<f32>,
    /// ‖F‖, how far N is from an eigenvector.
    pub residual: Option<f32>,
    /// The curvature along the stiffest and the softest direction of earlier minibatches, if they are watched.
    pub sharpness: Option<f32>,
    pub softest: Option<f32>,
    /// Whether they are eigenvalues.
    pub sharpness_resolved: Option<bool>,
    pub softest_resolved: Option<bool>,
    pub seconds: f64,
}

/// The log of one optimizer and seed.
pub struct Run {
    pub method: Method,
    pub rows: Vec<Row>,
}

impl Run {
    /// The last row that cost at most `gradients`.
    pub fn at_gradients(&self, gradients: f64) -> Option<&Row> {
        self.rows.iter().rev().find(|row| row.gradients <= gradients)
    }
}

struct Files {
    log: PathBuf,
    checkpoint: PathBuf,
    ends: PathBuf,
}

impl Experiment<'_> {
    /// Trains to the last step, from the checkpoint if there is one, else from the beginning.
    pub fn run(&self, method: Method, seed: u64) -> Result<Run, Box<dyn Error>> {
        let name = format!("{method}-{seed}");
        let files = Files {
            log: self.folder.join(format!("{name}.csv")),
            checkpoint: self.folder.join(format!("{name}.safetensors")),
            ends: self.folder.join(format!("{name}.ends.csv")),
        };
        let burn = self.device.burn();
        burn.seed(seed);
        let module = Gpt::new(self.size, self.data.vocabulary, &burn);
        let config = method.config(self.interval, self.learning_rate);
        let groups = Method::groups();
        let mut optimizer = DimerOptimizer::with_groups(module, self.device, config, &groups)?;
        let mut rows = self.resume(&mut optimizer, &files)?;
        let watch = || {
            let step = optimizer.optimizer().steps();
            Watch::new(optimizer.module()?, self.device, self.interval, &files.ends, step)
        };
        let mut watch = self.watch.then(watch).transpose()?;
        let validation = self.data.validation(&burn.clone().inner());
        let bar = progress_bar(self.steps, &name);
        let first = optimizer.optimizer().steps();
        let before = rows.last().map_or(0.0, |row: &Row| row.seconds);
        let started = Instant::now();
        for step in first..self.steps {
            bar.set_position(step);
            optimizer.set_rate_factor(cosine_with_warm_up(step, WARM_UP, self.steps, 0.1))?;
            let minibatch = step - u64::from(optimizer.repeats_minibatch());
            let minibatch = self.data.minibatch(seed, minibatch, &burn);
            let loss_of = |module: &Gpt, part| {
                let (x, y) = data::part(&minibatch, part);
                module.loss(x, y)
            };
            let loss = optimizer.step_with_parts(self.parts, loss_of)?;
            let done = step + 1;
            if let Some(watch) = &mut watch {
                let module = optimizer.module()?;
                watch.after_step(module, self.parts, loss_of)?;
                if self.lanczos.contains(&done) {
                    watch.compare(done, module, self.data, self.products, &files.ends)?;
                }
            }
            if done.is_multiple_of(self.evaluation_interval) || done == self.steps {
                let validation_loss = validation_loss(optimizer.module()?, &validation);
                let train_loss = loss.into_scalar::<f32>();
                let records = optimizer.telemetry()?;
                let rate = records.last().map(|record| record.base_learning_rate);
                // The last event since the previous row.
                let event = records.iter().rev().find(|record| record.event);
                let known = rows.last().and_then(|row| row.curvature.zip(row.residual));
                let found = event.map(|event| (event.curvature, event.residual)).or(known);
                let [softest, stiffest] = watch.as_ref().map_or([None; 2], Watch::last);
                rows.push(Row {
                    step: done,
                    gradients: optimizer.optimizer().gradient_evaluations(),
                    train_loss,
                    validation_loss,
                    learning_rate: method.finds_rate().then_some(rate).flatten(),
                    curvature: found.map(|found| found.0),
                    residual: found.map(|found| found.1),
                    sharpness: stiffest.map(|record| record.initial_curvature),
                    softest: softest.map(|record| record.initial_curvature),
                    sharpness_resolved: stiffest.map(|record| record.resolved),
                    softest_resolved: softest.map(|record| record.resolved),
                    seconds: before + started.elapsed().as_secs_f64(),
                });
                // In this order a log is never behind its checkpoint.
                write_log(&files.log, &rows)?;
                optimizer.save(&files.checkpoint)?;
                let sharpness = stiffest.map(|record| {
                    let mark = if record.resolved { "" } else { " (not resolved)" };
                    format!(", sharpness {:.1}{mark}", record.initial_curvature)
                });
                bar.set_message(format!(
                    "loss {train_loss:.3}, validation {validation_loss:.3}{}",
                    sharpness.unwrap_or_default()
                ));
            }
        }
        bar.finish();
        Ok(Run { method, rows })
    }

    /// Loads what an earlier run has left; returns its log up to there.
    fn resume(
        &self,
        optimizer: &mut DimerOptimizer<Gpt>,
        files: &Files,
    ) -> Result<Vec<Row>, Box<dyn Error>> {
        if !files.checkpoint.exists() {
            return Ok(Vec::new());
        }
        optimizer.load(&files.checkpoint)?;
        let rows = csv::Reader::from_path(&files.log)?;
        let rows: Vec<Row> = rows.into_deserialize().collect::<Result<_, _>>()?;
        let steps = optimizer.optimizer().steps();
        Ok(rows.into_iter().filter(|row| row.step <= steps).collect())
    }
}

fn write_log(path: &Path, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let unfinished = path.with_extension("csv.new");
    let mut writer = csv::Writer::from_path(&unfinished)?;
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    writer.flush()?;
    Ok(fs::rename(unfinished, path)?)
}

fn validation_loss(module: &Gpt, batches: &[Minibatch]) -> f32 {
    let module = module.valid();
    let losses: Vec<_> = batches.iter().map(|(x, y)| module.loss(x.clone(), y.clone())).collect();
    Tensor::cat(losses, 0).mean().into_scalar::<f32>()
}

fn progress_bar(steps: u64, name: &str) -> ProgressBar {
    let template = "{prefix:24} {bar:30} {pos}/{len} [{elapsed} of {duration}] {msg}";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_prefix(name.to_owned())
}
