//! [`DimerStrategy`]: trains a model of Burn's trainer.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::ParamGroup;
use burn::optim::ModuleOptimizer;
use dimer::{Config, Dimer, Group, Mode, Telemetry};

use super::metric::{DimerMetric, Kind, Latest};
use super::record::StateKeeper;
use crate::device::DimerDevice;
use crate::error::{Error, Result};

/// Trains in Burn's own trainer with [`DimerOptimizer`](crate::DimerOptimizer). Model, loaders, metrics, dashboard, early
/// stopping, accumulation of gradients and checkpoints stay the user's. It takes two changes, which belong together:
///
/// - `Learner::new(model, strategy.optimizer(), scheduler)`, so that the trainer's checkpoints hold the state of the
///   optimizer. Without the second change this panics at its first step, since Burn has no error there.
/// - `.with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))`.
///
/// What to know:
///
/// - Gradients are those that [`TrainStep::step`](burn::train::TrainStep::step) gives. At probes it is called again on the same
///   minibatch, and must give the gradient of the same function; where there are probes, the strategy checks this before the
///   first step. For dropout there is [`DimerStrategy::repeat_randomness`]. A minibatch is cloned for each call.
/// - With [`LearningRate::Fixed`](dimer::LearningRate::Fixed) the rate of each step is that of the learner's scheduler; with a
///   rate from curvature the scheduler's value over its first one is the factor on it. For one that begins lower than it goes,
///   such as a warm-up, [`DimerStrategy::with_full_rate`] is needed. A scheduler ends the training where it gives a
///   parameter a rate of its own: groups have [`Group::learning_rate_scale`].
/// - With accumulation, the gradient is the sum over the minibatches of a step, as in Burn, at every point; events may use a
///   part of them ([`DimerStrategy::with_parts`]). One step is one of the scheduler, also where it repeats a minibatch.
/// - [`TrainStep::optimize`](burn::train::TrainStep::optimize) is not called, and there is no loss in the telemetry: the trainer
///   keeps it in the output of the model. So [`Schedule::OnPlateau`](dimer::Schedule::OnPlateau), which looks at losses, is
///   refused, and so are [`Difference::Exact`](dimer::Difference::Exact), for which there are no products, and
///   [`Rotation::Alternating`](dimer::Rotation::Alternating), since minibatches change.
/// - An epoch does not end between two steps on one minibatch
///   ([`RateProbe::RepeatedMinibatch`](dimer::RateProbe::RepeatedMinibatch)), which then counts twice in the metrics. In events
///   of [`Difference::Central`](dimer::Difference::Central) that do not evaluate θ, the metrics are those of a probe.
/// - `SupervisedTraining::gradient_checkpointing` reaches Burn's own strategies only: give the device of the
///   [`DimerDevice`] that strategy.
/// - What goes wrong here ends the training, as an error of [`LearningResult`](burn::train::LearningResult); its kind is
///   [`TrainingError::Workers`](burn::train::TrainingError::Workers), since Burn has none for others.
///
/// Where there are checkpointers, the state is read at the end of each epoch. A model's record from a checkpoint is an
/// ordinary one; that of the optimizer holds the parameters as well, and belongs to the settings that it was saved with, but
/// for the number of a fixed rate.
///
/// To go on from a checkpoint gives the bits of a training that was never interrupted, if strategy and accumulation are as they
/// were, and the loader gives the same minibatches in the same epoch: one that shuffles with a generator that is not saved
/// does not.
#[derive(Clone, Debug)]
pub struct DimerStrategy {
    pub(super) device: DimerDevice,
    pub(super) config: Config,
    pub(super) groups: Vec<(ParamGroup, Group)>,
    pub(super) seed: Option<u64>,
    pub(super) full_rate: Option<f64>,
    /// Whether an event may be of some of the minibatches that a step accumulates.
    pub(super) cuts_accumulation: bool,
    pub(super) keeper: StateKeeper,
    pub(super) latest: Latest,
    pub(super) records: Records,
}

/// What is called for each record of the telemetry, and may fail.
#[derive(Clone, Default)]
pub(super) struct Records(Option<Arc<Mutex<Call>>>);

type Call = dyn FnMut(&Telemetry) -> std::result::Result<(), Box<dyn std::error::Error>> + Send;

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Records").field(&self.0.is_some()).finish()
    }
}

impl Records {
    pub(super) fn take(&self, records: &[Telemetry]) -> Result<()> {
        let Some(call) = &self.0 else { return Ok(()) };
        let mut call = call.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().try_for_each(&mut *call).map_err(|error| {
            Error::Trainer(format!("cannot hand over a record of the telemetry: {error}"))
        })
    }
}

impl DimerStrategy {
    /// Trains on `device`, where the model is moved, with all its parameters in one group.
    pub fn new(device: &DimerDevice, config: Config) -> Self {
        Self {
            device: device.clone(),
            config,
            groups: Vec::new(),
            seed: None,
            full_rate: None,
            cuts_accumulation: false,
            keeper: StateKeeper::default(),
            latest: Latest::default(),
            records: Records::default(),
        }
    }

    /// Calls `record` with each record of the telemetry, in order, some steps after it: for a file, for instance, with serde
    /// and the crates csv or serde_json. The training waits for it, and ends where it fails.
    #[must_use]
    pub fn with_records(
        self,
        record: impl FnMut(&Telemetry) -> std::result::Result<(), Box<dyn std::error::Error>>
        + Send
        + 'static,
    ) -> Self {
        Self { records: Records(Some(Arc::new(Mutex::new(record)))), ..self }
    }

    /// Puts each parameter into the first of `groups` that matches its name, as
    /// [`DimerOptimizer::with_groups`](crate::DimerOptimizer::with_groups) does.
    #[must_use]
    pub fn with_groups(self, groups: &[(ParamGroup, Group)]) -> Self {
        Self { groups: groups.to_vec(), ..self }
    }

    /// Makes random numbers, such as those of dropout, the same in all evaluations of one step, as
    /// [`DimerOptimizer::repeat_randomness`](crate::DimerOptimizer::repeat_randomness) does.
    #[must_use]
    pub fn repeat_randomness(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Takes all gradients of an event from a part of the minibatches that a step accumulates, so that with enough of them,
    /// such as 4, the event costs no more than another step; see
    /// [`DimerOptimizer::step_with_parts`](crate::DimerOptimizer::step_with_parts), which also names the events that always use
    /// all. The gradient of the part is scaled to the sum over all minibatches; the metrics of such a step are those of the
    /// part, and the others are not trained on. The last step of an epoch may have fewer minibatches, and then costs more if
    /// it is an event.
    ///
    /// A training without `SupervisedTraining::grads_accumulation` is refused.
    #[must_use]
    pub fn with_parts(self) -> Self {
        Self { cuts_accumulation: true, ..self }
    }

    /// The value of the scheduler at which the factor on a rate from curvature is 1: for schedulers that begin lower. Default:
    /// its first value.
    #[must_use]
    pub fn with_full_rate(self, full_rate: f64) -> Self {
        Self { full_rate: Some(full_rate), ..self }
    }

    /// What to make the learner with. It keeps the state of the optimizer for the trainer's checkpoints, and takes no steps: it
    /// panics if it is asked for one, which happens where the strategy was not given to the trainer.
    pub fn optimizer(&self) -> ModuleOptimizer {
        self.keeper.optimizer(&self.device.burn())
    }

    /// [`Telemetry::curvature`] of the last event, with a mark whether it is an eigenvalue ([`Telemetry::resolved`]): of a
    /// dimer that seeks the stiffest direction it is called sharpness. Without a dimer it has no value.
    pub fn curvature(&self) -> DimerMetric {
        let dimer = self.config.dimer.as_ref();
        self.latest
            .metric(Kind::Curvature(dimer.map_or(Mode::default(), |Dimer { seeks, .. }| *seeks)))
    }

    /// The learning rate of the newest step whose record has arrived, from curvature and with the factor.
    pub fn learning_rate(&self) -> DimerMetric {
        self.latest.metric(Kind::LearningRate)
    }

    /// How many steps were skipped; see [`Telemetry::skipped`].
    pub fn skipped_steps(&self) -> DimerMetric {
        self.latest.metric(Kind::SkippedSteps)
    }

    /// How many gradients have been evaluated, in those of a whole step without probes: of all the minibatches that it
    /// accumulates.
    pub fn gradient_evaluations(&self) -> DimerMetric {
        self.latest.metric(Kind::GradientEvaluations)
    }
}
