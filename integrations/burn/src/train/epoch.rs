//! [`Training`]: the epochs of one training.

use std::mem;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::optim::GradientsAccumulator;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::train::train::WorkerFailure;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent, LearnerModel,
    SupervisedTrainingEventProcessor, TrainStep, TrainingError, TrainingItem,
};
use dimer::{Config, Difference, LearningRate, Schedule, Telemetry};

use super::record::{Saved, own_record};
use super::strategy::DimerStrategy;
use crate::collect::Scaled;
use crate::error::{Error, Result};
use crate::objective::Evaluated;
use crate::optimizer::DimerOptimizer;

/// What goes in, and what comes out.
type Input<M> = <M as TrainStep>::Input;
type Output<M> = <M as TrainStep>::Output;

/// A minibatch, and how far the loader is with it.
type Batch<M> = (Input<M>, Progress);

pub(super) struct Training<'a, M: LearnerModel> {
    strategy: &'a DimerStrategy,
    optimizer: DimerOptimizer<M>,
    learner: Learner<M>,
    pub processor: SupervisedTrainingEventProcessor<M>,
    interrupter: Interrupter,
    /// Minibatches of one step.
    accumulation: usize,
    /// Those of the last step.
    batches: Vec<Batch<M>>,
    /// The rate of the scheduler at which the factor on a rate from curvature is 1.
    full_rate: Option<f64>,
    /// Whether the model was seen to repeat itself.
    is_checked: bool,
}

impl<'a, M: LearnerModel> Training<'a, M>
where
    Input<M>: Clone,
{
    pub fn new(
        strategy: &'a DimerStrategy,
        optimizer: DimerOptimizer<M>,
        learner: Learner<M>,
        saved: Option<Saved>,
        accumulation: usize,
        processor: SupervisedTrainingEventProcessor<M>,
        interrupter: Interrupter,
    ) -> Self {
        // One that was saved has been checked.
        let is_checked = saved.is_some() || !evaluates_again(&strategy.config);
        let full_rate = strategy.full_rate.or(saved.and_then(|saved| saved.full_rate));
        Self {
            strategy,
            optimizer,
            learner,
            processor,
            interrupter,
            accumulation,
            batches: Vec::new(),
            full_rate,
            is_checked,
        }
    }

    /// Trains on all minibatches of `loader`.
    pub fn train(
        &mut self,
        loader: &dyn DataLoader<Input<M>>,
        epoch: usize,
    ) -> std::result::Result<(), TrainingError> {
        let mut iterator = loader.iter();
        self.batches = self.next(&mut *iterator)?;
        if !self.is_checked && !self.batches.is_empty() {
            self.check().map_err(|error| failure(&error))?;
            self.is_checked = true;
        }
        let total_items = loader.num_items();
        self.processor
            .process_train(LearnerEvent::StartSplit { epoch_number: epoch, total_items })?;
        let outcome = self.train_on(&mut *iterator);
        self.batches.clear();
        let end = self.processor.process_train(LearnerEvent::EndSplit(epoch));
        outcome?;
        Ok(end?)
    }

    /// Takes a step on [`Self::batches`], and on those that follow.
    fn train_on(
        &mut self,
        iterator: &mut dyn DataLoaderIterator<Input<M>>,
    ) -> std::result::Result<(), TrainingError> {
        let mut iteration = 0;
        while !self.batches.is_empty() && !self.interrupter.should_stop() {
            let outputs = self.step().map_err(|error| failure(&error))?;
            let rate = self.learner.lr_current();
            // After the step the loader is past all its minibatches, also if it has used a part of them.
            let first = self.batches.len() - outputs.len();
            for (output, (_, progress)) in outputs.into_iter().zip(&self.batches[first..]) {
                iteration += 1;
                let item = TrainingItem::new(
                    output,
                    progress.clone(),
                    Some(iteration),
                    Some(rate.clone()),
                );
                self.processor.process_train(LearnerEvent::ProcessedItem(item))?;
            }
            if !self.optimizer.repeats_minibatch() {
                self.batches.clear();
                self.batches = self.next(iterator)?;
            }
        }
        Ok(())
    }

    /// The minibatches of the next step; none at the end of an epoch.
    fn next(
        &self,
        iterator: &mut dyn DataLoaderIterator<Input<M>>,
    ) -> std::result::Result<Vec<Batch<M>>, TrainingError> {
        let mut batches = Vec::new();
        while batches.len() < self.accumulation {
            let Some(batch) = iterator.next() else { break };
            batches.push((batch?, iterator.progress()));
        }
        Ok(batches)
    }

    /// Refuses a model whose gradients on one minibatch are not of one function.
    fn check(&mut self) -> Result<()> {
        let batches = &self.batches;
        let check = self
            .optimizer
            .check_by(false, |model| Ok(evaluate(model, batches, 1, &mut Vec::new())));
        check.map_err(|error| match error {
            Error::Dimer(dimer::Error::InconsistentObjective { reason, .. }) => {
                Error::Trainer(format!(
                    "has a model whose `TrainStep::step`, called again on one minibatch, does not give the gradient of the \
                     same function ({reason}). Where dropout or another random number is the cause, use \
                     `DimerStrategy::repeat_randomness`"
                ))
            }
            error => error,
        })
    }

    /// One step on [`Self::batches`], or on a part of them; what the model gives for each in the first evaluation, at θ where
    /// there is one.
    fn step(&mut self) -> Result<Vec<Output<M>>> {
        self.learner.lr_step();
        self.set_rate(&self.learner.lr_current())?;
        let mut outputs = Vec::new();
        let batches = mem::take(&mut self.batches);
        let parts = if self.strategy.cuts_accumulation { batches.len() } else { 1 };
        let taken = self.optimizer.step_by(false, parts as u32, |model, part| {
            let mut others = Vec::new();
            let into = if outputs.is_empty() { &mut outputs } else { &mut others };
            Ok(evaluate(model, &batches[part.range(batches.len())], part.of, into))
        });
        self.batches = batches;
        taken?;
        let records = self.optimizer.poll_telemetry()?;
        self.publish(&records)?;
        Ok(outputs)
    }

    /// Shows records of the telemetry.
    fn publish(&self, records: &[Telemetry]) -> Result<()> {
        let evaluations = self.optimizer.optimizer().gradient_evaluations();
        self.strategy.latest.update(records, evaluations);
        self.strategy.records.take(records)
    }

    /// Makes the scheduler's rate that of the next step, or the factor on it.
    fn set_rate(&mut self, rate: &ModuleLearningRate) -> Result<()> {
        let base = rate.base();
        if !base.is_finite() {
            return Err(Error::Trainer(format!(
                "has a scheduler that gives the learning rate {base}"
            )));
        }
        if let Some(name) = self.optimizer.other_rate(rate) {
            return Err(Error::Trainer(format!(
                "has a scheduler that gives \"{name}\" a learning rate of its own; use \
                 `dimer::Group::learning_rate_scale` and `DimerStrategy::with_groups`"
            )));
        }
        match self.strategy.config.learning_rate {
            LearningRate::Fixed(_) => self.optimizer.set_learning_rate(base),
            _ => {
                let full_rate = *self.full_rate.get_or_insert(base);
                let goes_beyond = base > full_rate && self.strategy.full_rate.is_none();
                if goes_beyond || !(full_rate.is_finite() && full_rate > 0.0) {
                    return Err(Error::Trainer(format!(
                        "has a scheduler that begins with {full_rate} and now gives {base}, while its first value stands \
                         for the whole rate from curvature; give `DimerStrategy::with_full_rate` the value above zero \
                         that does"
                    )));
                }
                self.optimizer.set_rate_factor(base / full_rate)
            }
        }
    }

    /// Gives all minibatches of `loader` to the model without autodiff.
    pub fn validate(
        &mut self,
        loader: &dyn DataLoader<<M as InferenceStep>::Input>,
        epoch: usize,
    ) -> std::result::Result<(), TrainingError> {
        let total_items = loader.num_items();
        self.processor
            .process_valid(LearnerEvent::StartSplit { epoch_number: epoch, total_items })?;
        let outcome = self.validate_on(loader);
        let end = self.processor.process_valid(LearnerEvent::EndSplit(epoch));
        outcome?;
        Ok(end?)
    }

    fn validate_on(
        &mut self,
        loader: &dyn DataLoader<<M as InferenceStep>::Input>,
    ) -> std::result::Result<(), TrainingError> {
        let model = self.optimizer.module().map_err(|error| failure(&error))?.valid();
        let mut iterator = loader.iter();
        let mut iteration = 0;
        while let Some(batch) = iterator.next() {
            iteration += 1;
            let output = InferenceStep::step(&model, batch?);
            let item = TrainingItem::new(output, iterator.progress(), Some(iteration), None);
            self.processor.process_valid(LearnerEvent::ProcessedItem(item))?;
            if self.interrupter.should_stop() {
                break;
            }
        }
        Ok(())
    }

    /// The learner with the model as it is now, and with the state of the optimizer.
    pub fn for_checkpoint(&mut self) -> Result<&Learner<M>> {
        let bytes = self.optimizer.save_bytes()?;
        self.strategy.keeper.put(Some(Saved { full_rate: self.full_rate, bytes }));
        self.learner.load_model(own_record(self.optimizer.module()?)?);
        Ok(&self.learner)
    }

    /// The trained model, or that of the last checkpoint if it cannot be read.
    pub fn end(mut self) -> (M, SupervisedTrainingEventProcessor<M>) {
        let published = self.optimizer.telemetry().and_then(|records| self.publish(&records));
        self.interrupter.fail_on_error(published.map_err(|error| failure(&error)));
        let trained = self.optimizer.into_module();
        self.interrupter.fail_on_error(trained.as_ref().map(drop).map_err(failure));
        (trained.unwrap_or_else(|_| self.learner.model()), self.processor)
    }
}

/// The optimizer of a training: for the learner's model, and as it was saved, if it was.
pub(super) fn optimizer<M: LearnerModel>(
    strategy: &DimerStrategy,
    learner: &mut Learner<M>,
    saved: Option<&Saved>,
) -> Result<DimerOptimizer<M>> {
    let devices = learner.model().devices();
    if devices.len() > 1 {
        return Err(Error::SeveralDevices(devices.len()));
    }
    learner.fork(&strategy.device.burn());
    refuse_unsupported(&strategy.config)?;
    let (config, groups) = (with_scheduled_rate(&strategy.config)?, &strategy.groups);
    let mut optimizer =
        DimerOptimizer::with_groups(learner.model(), &strategy.device, config, groups)?;
    if let Some(seed) = strategy.seed {
        optimizer = optimizer.repeat_randomness(seed);
    }
    let record = strategy.optimizer().to_record();
    if !strategy.keeper.is_loaded_by(|| learner.load_optim(record)) {
        return Err(Error::Trainer(
            "has a learner with another optimizer; make it with that of `DimerStrategy::optimizer`, of this strategy"
                .into(),
        ));
    }
    if let Some(saved) = saved {
        optimizer.load_bytes(&saved.bytes)?;
    }
    Ok(optimizer)
}

/// `parts` times the sum of the gradients of `batches`, which are one of so many equal parts of those of a step; and what the
/// model gives for each.
fn evaluate<M: LearnerModel>(
    model: &M,
    batches: &[Batch<M>],
    parts: u32,
    outputs: &mut Vec<Output<M>>,
) -> Evaluated<Scaled>
where
    Input<M>: Clone,
{
    let mut sum = GradientsAccumulator::new();
    for (batch, _) in batches {
        let output = TrainStep::step(model, batch.clone());
        outputs.push(output.item);
        sum.accumulate(model, output.grads);
    }
    Evaluated { gradients: Scaled { gradients: sum.grads(), factor: parts }, loss: None }
}

/// Whether steps of these settings evaluate a minibatch more than once.
fn evaluates_again(config: &Config) -> bool {
    config.dimer.is_some() || matches!(config.learning_rate, LearningRate::Curvature(_))
}

/// What a trainer cannot offer.
fn refuse_unsupported(config: &Config) -> Result<()> {
    let Some(dimer) = &config.dimer else { return Ok(()) };
    if dimer.difference == Difference::Exact {
        return Err(Error::Trainer(
            "has no Hessian products for `Difference::Exact`; set `dimer.difference` to Forward or Central"
                .into(),
        ));
    }
    if matches!(dimer.schedule, Schedule::OnPlateau(_)) {
        return Err(Error::Trainer(
            "has no losses for `Schedule::OnPlateau` to look at; set `dimer.schedule` to Every"
                .into(),
        ));
    }
    Ok(())
}

/// The settings with a fixed rate that is always the same, since the scheduler sets it: a checkpoint goes on with any.
fn with_scheduled_rate(config: &Config) -> Result<Config> {
    config.validate()?;
    let learning_rate = match config.learning_rate {
        LearningRate::Fixed(_) => LearningRate::Fixed(1.0),
        from_curvature => from_curvature,
    };
    Ok(Config { learning_rate, ..config.clone() })
}

/// As an error of Burn's trainer.
pub(super) fn failure(error: &Error) -> TrainingError {
    TrainingError::Workers(vec![WorkerFailure { device_id: 0, message: error.to_string() }])
}
