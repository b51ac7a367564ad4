//! Trains a small network on handwritten digits in Burn's own trainer, with its dashboard: by AdamW whose learning rate comes
//! from curvature, and by Burn's AdamW at a given rate. The first one's sharpness is watched, and its telemetry goes into files.

#[allow(dead_code, reason = "minibatches are Burn's here")]
#[path = "../../../../examples/digits/data.rs"]
mod data;
mod model;
mod records;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Device;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{Learner, LearningResult, SupervisedTraining, TrainingStrategy};
use clap::Parser;
use dimer::{Config, Dimer, Mode, Schedule};
use dimer_burn::DimerDevice;
use dimer_burn::train::DimerStrategy;
use model::{Batcher, Digit, Minibatch, Model};
use records::Records;

/// Trains a 64-64-32-10 network on the UCI handwritten digits.
#[derive(Parser)]
struct Arguments {
    /// Epochs of each training.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Images in a minibatch.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// The learning rates of Burn's AdamW.
    #[arg(long, num_args = 1.., default_values_t = [1e-3, 1e-2])]
    rates: Vec<f64>,
    /// Plain lines in place of the dashboard.
    #[arg(long)]
    plain: bool,
    /// Where logs, checkpoints and telemetry go.
    #[arg(long, default_value = "target/trainer")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = DimerDevice::host(Device::flex(), &dimer::Gpu::new()?);
    let (train, test) = data::load();
    let steps = train.labels.len().div_ceil(arguments.batch.into()) * usize::from(arguments.epochs);
    // Half a cosine from `initial` to 0.
    let schedule = |initial| CosineAnnealingLrSchedulerConfig::new(initial, steps).init();
    let mut rows = Vec::new();
    let out = arguments.out.join("dimer");
    // The rate comes from curvature by default; beside it, the sharpness is watched.
    let dimer = Dimer { seeks: Mode::Stiffest, schedule: Schedule::Every(20), ..Dimer::default() };
    let config = Config { dimer: Some(dimer.watching()), ..Config::default() };
    let mut records = Records::create(&out)?;
    let strategy =
        DimerStrategy::new(&device, config).with_records(move |record| records.write(record));
    let training = training(&arguments, &out, &train, &test)
        .metric_train_numeric(strategy.curvature())
        .metric_train_numeric(strategy.learning_rate())
        .metric_train_numeric(strategy.gradient_evaluations());
    let optimizer = strategy.optimizer();
    let training = training.with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)));
    // Here the scheduler's value is the factor on the rate.
    rows.push(("curvature".to_owned(), launch(training, &device, optimizer, schedule(1.0)?)?));

    for &rate in &arguments.rates {
        let name = format!("{rate:e}");
        let optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
        let out = arguments.out.join("burn").join(&name);
        let training = self::training(&arguments, &out, &train, &test);
        rows.push((name, launch(training, &device, optimizer, schedule(rate)?)?));
    }

    println!("{:>12} {:>14} {:>12}", "rate", "training loss", "test");
    for (rate, model) in rows {
        let [loss, _] = model.loss_and_accuracy(&train);
        let [_, accuracy] = model.loss_and_accuracy(&test);
        println!("{rate:>12} {loss:>14.5} {:>10.2} %", 100.0 * accuracy);
    }
    println!("telemetry: {}", arguments.out.join("dimer").display());
    Ok(())
}

fn loader(images: &data::Images, batch: u16, seed: Option<u64>) -> Arc<dyn DataLoader<Minibatch>> {
    let builder = DataLoaderBuilder::new(Batcher).batch_size(batch.into());
    let builder = match seed {
        Some(seed) => builder.shuffle(seed),
        None => builder,
    };
    builder.build(InMemDataset::new(Digit::all(images)))
}

fn training(
    arguments: &Arguments,
    out: &Path,
    train: &data::Images,
    test: &data::Images,
) -> SupervisedTraining<Model> {
    let (train, test) = (loader(train, arguments.batch, Some(0)), loader(test, 360, None));
    let training = SupervisedTraining::new(out, train, test)
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .num_epochs(arguments.epochs.into())
        .with_default_checkpointers()
        .with_application_logger(None)
        .summary();
    match arguments.plain {
        true => training.renderer(Box::new(CliMetricsRenderer::new())),
        false => training,
    }
}

fn launch(
    training: SupervisedTraining<Model>,
    device: &DimerDevice,
    optimizer: ModuleOptimizer,
    schedule: ModuleLrScheduler,
) -> Result<Model, Box<dyn Error>> {
    let model = Model::new(&device.burn());
    let learner = Learner::new(model, optimizer, schedule);
    let LearningResult { model, error, .. } = training.launch(learner);
    match error {
        Some(error) => Err(error.to_string().into()),
        None => Ok(model),
    }
}
