//! The whole of a training: its epochs, checkpoints and end.

use burn::train::{
    EventProcessorTraining, Learner, LearnerEvent, LearnerModel, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainStep, TrainingComponents, ValidLoader,
};

use super::epoch::{Training, failure, optimizer};
use super::strategy::DimerStrategy;
use crate::error::Error;

impl<M> SupervisedLearningStrategy<M> for DimerStrategy
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn fit(
        &self,
        components: TrainingComponents<M>,
        mut learner: Learner<M>,
        train: TrainLoader<M>,
        valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let interrupter = components.interrupter.clone();
        let device = self.device.burn();
        let (train, valid) = (train.to_device(&device), valid.to_device(&device.inner()));
        let resumes = components.checkpoint.is_some() && components.checkpointer.is_some();
        let (epochs, store) = (components.num_epochs, components.event_store);
        let mut checkpointer = components.checkpointer;
        let mut early_stopping = components.early_stopping;
        let Some(_in_use) = self.keeper.begin() else {
            interrupter.fail(failure(&Error::Trainer(
                "has a strategy that another training uses; make one for each".into(),
            )));
            return (learner.model(), components.event_processor);
        };
        let saved = self.keeper.take();
        self.latest.reset();
        let accumulation = components.grad_accumulation.unwrap_or(1).max(1);
        let optimizer = match &saved {
            _ if self.cuts_accumulation && accumulation == 1 => Err(Error::Trainer(
                "accumulates no gradients, and `DimerStrategy::with_parts` takes the minibatches of a step as parts; add \
                 `SupervisedTraining::grads_accumulation`, or leave `with_parts` out"
                    .into(),
            )),
            None if resumes => Err(Error::Trainer(
                "goes on from a checkpoint without a state of this strategy; make the learner with its `optimizer`, and \
                 save with it"
                    .into(),
            )),
            Some(_) if !resumes => Err(Error::Trainer(
                "has a learner into which the state of an optimizer was loaded, which holds parameters; go on by \
                 `SupervisedTraining::checkpoint`"
                    .into(),
            )),
            saved => optimizer(self, &mut learner, saved.as_ref()),
        };
        let optimizer = match optimizer {
            Ok(optimizer) => optimizer,
            Err(error) => {
                interrupter.fail(failure(&error));
                return (learner.model(), components.event_processor);
            }
        };
        let mut training = Training::new(
            self,
            optimizer,
            learner,
            saved,
            accumulation,
            components.event_processor,
            interrupter.clone(),
        );
        for epoch in starting_epoch..=epochs {
            let outcome = training.train(&*train, epoch);
            interrupter.fail_on_error(outcome);
            if interrupter.should_stop() {
                break;
            }
            interrupter.fail_on_error(training.validate(&*valid, epoch));
            let end = training.processor.process_train(LearnerEvent::EndEpoch(epoch));
            interrupter.fail_on_error(end);
            if checkpointer.is_some() || early_stopping.is_some() {
                interrupter.fail_on_error(training.processor.flush());
            }
            if interrupter.should_stop() {
                break;
            }
            if let Some(checkpointer) = &mut checkpointer {
                match training.for_checkpoint() {
                    Ok(learner) => {
                        checkpointer.checkpoint(learner, epoch, &store);
                        self.keeper.put(None);
                    }
                    Err(error) => interrupter.fail(failure(&error)),
                }
            }
            let stops =
                early_stopping.as_mut().is_some_and(|early| early.should_stop(epoch, &store));
            if stops || interrupter.should_stop() {
                break;
            }
        }
        training.end()
    }
}
