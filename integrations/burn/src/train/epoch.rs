//! [`Training`]: the epochs of one training.

use std::mem;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::module::{Module, Param, ParamId};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::train::train::WorkerFailure;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent, LearnerModel,
    SupervisedTrainingEventProcessor, TrainStep, TrainingError, TrainingItem,
};
use dimer::{LearningRate, Telemetry};

use super::record::{Saved, own_record};
use super::strategy::DimerStrategy;
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
        full_rate: Option<f64>,
        accumulation: Option<usize>,
        processor: SupervisedTrainingEventProcessor<M>,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            strategy,
            optimizer,
            learner,
            processor,
            interrupter,
            accumulation: accumulation.unwrap_or(1).max(1),
            batches: Vec::new(),
            full_rate,
            is_checked: false,
        }
    }

    /// Trains on all minibatches of `loader`.
    pub fn train(
        &mut self,
        loader: &dyn DataLoader<Input<M>>,
        epoch: usize,
    ) -> std::result::Result<(), TrainingError> {
        let mut iterator = loader.iter();
        let mut next = self.next(&mut *iterator)?;
        if let Some(batches) = next.as_ref().filter(|_| !self.is_checked) {
            self.check(batches).map_err(|error| failure(&error))?;
            self.is_checked = true;
        }
        let total_items = loader.num_items();
        self.processor
            .process_train(LearnerEvent::StartSplit { epoch_number: epoch, total_items })?;
        let mut iteration = 0;
        while !self.interrupter.should_stop() {
            // The last minibatch of an epoch may be used again.
            if !self.optimizer.repeats_minibatch() {
                match next.take() {
                    Some(batches) => self.batches = batches,
                    None => break,
                }
            }
            let outputs = self.step().map_err(|error| failure(&error))?;
            let rate = self.learner.lr_current();
            for (output, (_, progress)) in outputs.into_iter().zip(&self.batches) {
                iteration += 1;
                let item = TrainingItem::new(
                    output,
                    progress.clone(),
                    Some(iteration),
                    Some(rate.clone()),
                );
                self.processor.process_train(LearnerEvent::ProcessedItem(item))?;
            }
            if next.is_none() && !self.optimizer.repeats_minibatch() {
                next = self.next(&mut *iterator)?;
            }
        }
        Ok(self.processor.process_train(LearnerEvent::EndSplit(epoch))?)
    }

    /// The minibatches of the next step; none at the end of an epoch.
    fn next(
        &self,
        iterator: &mut dyn DataLoaderIterator<Input<M>>,
    ) -> std::result::Result<Option<Vec<Batch<M>>>, TrainingError> {
        let mut batches = Vec::new();
        while batches.len() < self.accumulation {
            let Some(batch) = iterator.next() else { break };
            batches.push((batch?, iterator.progress()));
        }
        Ok((!batches.is_empty()).then_some(batches))
    }

    /// Refuses a model whose gradients on one minibatch are not of one function.
    fn check(&mut self, batches: &[Batch<M>]) -> Result<()> {
        let check =
            self.optimizer.check_by(false, |model| Ok(evaluate(model, batches, &mut Vec::new())));
        check.map_err(|error| match error {
            Error::Dimer(dimer::Error::InconsistentObjective { reason, .. }) => {
                Error::Trainer(format!(
                    "has a model whose `TrainStep::step` does not give the gradient of one function on one minibatch: \
                     {reason}. For dropout and other random numbers there is `DimerStrategy::repeat_randomness`"
                ))
            }
            error => error,
        })
    }

    /// One step on [`Self::batches`]; what the model gives for each of them, at θ.
    fn step(&mut self) -> Result<Vec<Output<M>>> {
        self.learner.lr_step();
        self.set_rate(&self.learner.lr_current())?;
        let mut outputs = Vec::new();
        let batches = mem::take(&mut self.batches);
        let taken = self.optimizer.step_by(false, |model| {
            // The first evaluation is that at θ, where there is one.
            let mut others = Vec::new();
            let into = if outputs.is_empty() { &mut outputs } else { &mut others };
            Ok(evaluate(model, &batches, into))
        });
        self.batches = batches;
        taken?;
        let records = self.optimizer.poll_telemetry()?;
        self.publish(&records);
        Ok(outputs)
    }

    /// Shows records of the telemetry.
    fn publish(&self, records: &[Telemetry]) {
        let evaluations = self.optimizer.optimizer().gradient_evaluations();
        self.strategy.latest.update(records, evaluations);
        self.strategy.records.take(records);
    }

    /// Makes the scheduler's rate that of the next step, or the factor on it.
    fn set_rate(&mut self, rate: &ModuleLearningRate) -> Result<()> {
        let base = rate.base();
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
                if !(full_rate.is_finite() && full_rate > 0.0) {
                    return Err(Error::Trainer(format!(
                        "has a scheduler whose full rate is {full_rate}; give one above zero to \
                         `DimerStrategy::with_full_rate`"
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
        Ok(self.processor.process_valid(LearnerEvent::EndSplit(epoch))?)
    }

    /// The learner with the model as it is now, and with the state of the optimizer.
    pub fn for_checkpoint(&mut self) -> Result<&Learner<M>> {
        let bytes = self.optimizer.save_bytes()?;
        self.strategy.keeper.put(Saved { full_rate: self.full_rate, bytes });
        self.learner.load_model(own_record(self.optimizer.module()?)?);
        Ok(&self.learner)
    }

    /// The trained model, or the first one if it cannot be read.
    pub fn end(mut self, model: M) -> (M, SupervisedTrainingEventProcessor<M>) {
        match self.optimizer.telemetry() {
            Ok(records) => self.publish(&records),
            Err(error) => self.interrupter.fail(failure(&error)),
        }
        let trained = self.optimizer.into_module();
        self.interrupter.fail_on_error(trained.as_ref().map(drop).map_err(failure));
        (trained.unwrap_or(model), self.processor)
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
    let (config, groups) = (strategy.config.clone(), &strategy.groups);
    let mut optimizer =
        DimerOptimizer::with_groups(learner.model(), &strategy.device, config, groups)?;
    if let Some(seed) = strategy.seed {
        optimizer = optimizer.repeat_randomness(seed);
    }
    // A step of the learner's own optimizer, which must be the strategy's.
    let gradients = first_gradient(&learner.model());
    if !strategy.keeper.is_asked_by(|| learner.optimizer_step(gradients)) {
        return Err(Error::Trainer(
            "has a learner with another optimizer; make it with that of `DimerStrategy::optimizer`"
                .into(),
        ));
    }
    if let Some(saved) = saved {
        optimizer.load_bytes(&saved.bytes)?;
    }
    Ok(optimizer)
}

/// The sum of the gradients of `batches`, and what the model gives for each.
fn evaluate<M: LearnerModel>(
    model: &M,
    batches: &[Batch<M>],
    outputs: &mut Vec<Output<M>>,
) -> Evaluated<GradientsParams>
where
    Input<M>: Clone,
{
    let mut sum = GradientsAccumulator::new();
    for (batch, _) in batches {
        let output = TrainStep::step(model, batch.clone());
        outputs.push(output.item);
        sum.accumulate(model, output.grads);
    }
    Evaluated { gradients: sum.grads(), loss: None }
}

/// A gradient of zeros for the first parameter that has one.
fn first_gradient<M: Module>(model: &M) -> GradientsParams {
    struct First(GradientsParams);
    impl burn::module::ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_empty() && param.val().is_require_grad() {
                let id: ParamId = param.id;
                self.0.register(id, param.val().inner().zeros_like());
            }
        }
    }
    let mut first = First(GradientsParams::new());
    model.visit(&mut first);
    first.0
}

/// As an error of Burn's trainer.
pub(super) fn failure(error: &Error) -> TrainingError {
    TrainingError::Workers(vec![WorkerFailure { device_id: 0, message: error.to_string() }])
}
