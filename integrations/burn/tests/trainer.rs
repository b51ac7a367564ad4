//! Burn's trainer with `DimerStrategy`: the steps of `DimerOptimizer`, checkpoints, and what is refused.

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::lr_scheduler::constant::ConstantLr;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::module::{Module, ParamGroup};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{OptimizerRecord, SgdConfig};
use burn::store::ModuleRecord;
use burn::tensor::{Device, ExecutionError, Tensor, TensorReadError, activation};
use burn::train::checkpoint::{Checkpoint, KeepLastNCheckpoints};
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{
    Adaptor, LossInput, LossMetric, Metric, MetricMetadata, MetricName, SerializedEntry,
};
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{
    InferenceStep, ItemLazy, Learner, LearningResult, MetricEarlyStoppingStrategy,
    StoppingCondition, SupervisedTraining, TrainOutput, TrainStep, TrainingStrategy,
};
use common::{Batch, Network, batch, config, elements, flex, scalar, shared};
use dimer::{
    Base, Config, CurvatureRate, Difference, Dimer, LearningRate, OnPlateau, Part, RateProbe,
    Rotation, RotationRate, Schedule, Sgd,
};
use dimer_burn::train::DimerStrategy;
use dimer_burn::{DimerDevice, DimerOptimizer};

/// Steps of an epoch.
const STEPS: u64 = 7;

/// A network with running statistics, which may forget some of its hidden units.
#[derive(Module, Debug)]
struct Model {
    network: Network,
    norm: BatchNorm,
    dropout: Dropout,
}

impl Model {
    fn new(dropout: f64, device: &DimerDevice) -> Self {
        let network = Network::new(32, &device.burn());
        let norm = BatchNormConfig::new(32).init(&device.burn());
        Self { network, norm, dropout: DropoutConfig::new(dropout).init() }
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        let hidden = activation::tanh(self.network.hidden.forward(x.clone()));
        let hidden = self.dropout.forward(self.norm.forward(hidden));
        let output = self.network.output.forward(hidden);
        (output - y.clone()).powi_scalar(2).mean()
    }

    /// The bits of parameters and running statistics.
    fn values(&self) -> Vec<u32> {
        let Network { hidden, output } = &self.network;
        let mut all = elements(hidden.weight.val().inner());
        for param in [
            hidden.bias.as_ref().unwrap(),
            output.bias.as_ref().unwrap(),
            &self.norm.gamma,
            &self.norm.beta,
        ] {
            all.extend(elements(param.val().inner()));
        }
        for statistic in [&self.norm.running_mean, &self.norm.running_var] {
            all.extend(elements(statistic.value_sync()));
        }
        all.extend(elements(output.weight.val().inner()));
        all.iter().map(|value: &f32| value.to_bits()).collect()
    }
}

/// Burn's CPU devices have one generator of random numbers for all, so trainings with dropout follow each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a step gives.
struct Loss(Tensor<1>);

impl ItemLazy for Loss {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for Loss {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.0.clone())
    }
}

/// The input of [`Record`].
struct Value(Tensor<1>);

impl Adaptor<Value> for Loss {
    fn adapt(&self) -> Value {
        Value(self.0.clone())
    }
}

impl TrainStep for Model {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> TrainOutput<Loss> {
        let loss = self.loss(&batch);
        let gradients = loss.backward();
        TrainOutput::new(self, gradients, Loss(loss.inner()))
    }
}

impl InferenceStep for Model {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> Loss {
        assert!(!self.network.hidden.weight.val().is_autodiff());
        Loss(self.loss(&batch))
    }
}

/// The minibatches of these steps, the same in every epoch.
#[derive(Clone)]
struct Loader {
    steps: Range<u64>,
    device: Device,
}

struct Batches {
    loader: Loader,
    next: u64,
}

impl Iterator for Batches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.next;
        self.next += 1;
        self.loader.steps.contains(&step).then(|| Ok(batch(step, &self.loader.device)))
    }
}

impl DataLoaderIterator<Batch> for Batches {
    fn progress(&self) -> Progress {
        let done = (self.next - self.loader.steps.start) as usize;
        Progress::new(done, self.loader.num_items(), None)
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(Batches { loader: self.clone(), next: self.steps.start })
    }

    fn num_items(&self) -> usize {
        (self.steps.end - self.steps.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let first = self.steps.start;
        Arc::new(Self { steps: first + start as u64..first + end as u64, ..self.clone() })
    }
}

/// Keeps every loss.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<f32>>>);

impl Metric for Record {
    type Input = Value;

    fn name(&self) -> MetricName {
        Arc::new("Record".to_owned())
    }

    fn update(
        &mut self,
        value: &Value,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let value = scalar(value.0.clone());
        self.0.lock().unwrap().push(value);
        Ok(SerializedEntry::new(value.to_string(), value.to_string()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

fn training(folder: &Path, epochs: usize) -> SupervisedTraining<Model> {
    let device = Device::flex();
    let train = Loader { steps: 0..STEPS, device: device.clone() };
    let valid = Loader { steps: 100..102, device };
    SupervisedTraining::new(folder, Arc::new(train), Arc::new(valid))
        .num_epochs(epochs)
        .with_application_logger(None)
        .renderer(Box::new(CliMetricsRenderer::new()))
}

/// The last value of a metric in Burn's log of an epoch of training.
fn last_logged(folder: &Path, epoch: usize, name: &str) -> f64 {
    let log = folder.join("train").join(format!("epoch-{epoch}"));
    let names: Vec<_> = std::fs::read_dir(&log).unwrap().collect();
    let text = std::fs::read_to_string(log.join(format!("{name}.log")))
        .unwrap_or_else(|error| panic!("{error}: {names:?}"));
    let line = text.lines().last().unwrap();
    line.split(',').next().unwrap().parse().unwrap_or_else(|_| panic!("{text}"))
}

fn launch(
    training: SupervisedTraining<Model>,
    strategy: DimerStrategy,
    model: Model,
    scheduler: impl Into<ModuleLrScheduler>,
) -> LearningResult<Model> {
    let learner = Learner::new(model, strategy.optimizer(), scheduler);
    training.with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy))).launch(learner)
}

fn rate() -> ConstantLr {
    ConstantLr::new(1e-2)
}

/// With the default rate from curvature, of either kind.
fn from_curvature(probe: RateProbe) -> Config {
    let rate = CurvatureRate { probe, interval: 4, burn_in: 3, ..CurvatureRate::default() };
    Config { learning_rate: LearningRate::Curvature(rate), ..config() }
}

/// The losses and parameters of three epochs are those of the same steps by `DimerOptimizer`, with and without accumulation,
/// and with dropout; on a shared device and through the host. Sums over minibatches are rounded in another order here: of that
/// SGD without a dimer makes least, and with events, in which each probe accumulates as well, 3·10⁻⁶ was seen.
#[test]
fn takes_the_steps_of_dimer_optimizer() {
    let _alone = alone();
    for device in [flex(), shared()] {
        let plain = || Config { base: Base::Sgd(Sgd::default()), dimer: None, ..config() };
        let cases = [
            (1, 0.0, config(), 1e-6),
            (1, 0.3, config(), 1e-6),
            (2, 0.0, plain(), 1e-6),
            (4, 0.0, plain(), 1e-6),
            (2, 0.3, plain(), 1e-6),
            (2, 0.0, config(), 1e-4),
            (3, 0.3, from_curvature(RateProbe::SeparateGradient), 1e-4),
        ];
        for (accumulation, dropout, config, bound) in cases {
            let folder = tempfile::tempdir().unwrap();
            let record = Record::default();
            let strategy = DimerStrategy::new(&device, config.clone()).repeat_randomness(7);
            let mut training = training(folder.path(), 3).metric_train(record.clone());
            if accumulation > 1 {
                training = training.grads_accumulation(accumulation);
            }
            let result = launch(training, strategy, Model::new(dropout, &device), rate());
            assert!(result.error.is_none(), "{:?}", result.error);
            let losses = record.0.lock().unwrap().clone();

            let model = Model::new(dropout, &device);
            let mut optimizer =
                DimerOptimizer::new(model, &device, config).unwrap().repeat_randomness(7);
            let mut expected = Vec::new();
            for _ in 0..3 {
                let steps: Vec<u64> = (0..STEPS).collect();
                // The last step of an epoch may have fewer.
                for steps in steps.chunks(accumulation) {
                    let batches: Vec<Batch> =
                        steps.iter().map(|step| batch(*step, &device.burn())).collect();
                    let mut first = Vec::new();
                    let loss = |model: &Model| {
                        let losses: Vec<_> = batches.iter().map(|it| model.loss(it)).collect();
                        if first.is_empty() {
                            first = losses.iter().map(|loss| loss.clone().inner()).collect();
                        }
                        Tensor::cat(losses, 0).sum()
                    };
                    optimizer.step(loss).unwrap();
                    expected.extend(first.into_iter().map(scalar));
                }
            }
            assert_eq!(losses.len(), 3 * STEPS as usize);
            for (found, expected) in losses.iter().zip(&expected) {
                let bound = bound * expected.abs().max(1.0);
                assert!(
                    (found - expected).abs() <= bound,
                    "{found} for {expected}, {accumulation}"
                );
            }
            let expected = optimizer.into_module().unwrap();
            if accumulation == 1 {
                assert_eq!(result.model.values(), expected.values());
            }
        }
    }
}

/// With `with_parts`, an event uses a part of the minibatches that a step accumulates, as `DimerOptimizer::step_with_parts`
/// does: metrics are of that part, and the cost is that of a step, where there are minibatches enough.
#[test]
fn events_use_a_part_of_the_accumulated_minibatches() {
    let _alone = alone();
    // An event has two gradients with this one, and four with the default.
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    let cases = [
        (flex(), Dimer::default().rotation, [4, 3]),
        (shared(), Dimer::default().rotation, [4, 3]),
        (flex(), by_gradient, [2, 3]),
    ];
    for (device, rotation, of) in cases {
        let dimer = Dimer { schedule: Schedule::Every(3), rotation, ..Dimer::default() };
        let base = Base::Sgd(Sgd::default());
        // A step along N divides by a difference of gradients, which the order of the sums changes most.
        let config = Config { base, dimer: Some(dimer.watching()), ..config() };
        let (folder, record) = (tempfile::tempdir().unwrap(), Record::default());
        let strategy =
            DimerStrategy::new(&device, config.clone()).repeat_randomness(7).with_parts();
        let training = training(folder.path(), 3)
            .metric_train(record.clone())
            .metric_train_numeric(strategy.gradient_evaluations())
            .grads_accumulation(4);
        let result = launch(training, strategy, Model::new(0.3, &device), rate());
        assert!(result.error.is_none(), "{:?}", result.error);
        let losses = record.0.lock().unwrap().clone();

        let model = Model::new(0.3, &device);
        let mut optimizer =
            DimerOptimizer::new(model, &device, config.clone()).unwrap().repeat_randomness(7);
        let (mut expected, mut parts) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for steps in [0..4, 4..STEPS] {
                let batches: Vec<Batch> = steps.map(|step| batch(step, &device.burn())).collect();
                let mut first = Vec::new();
                let loss = |model: &Model, part: Part| {
                    let batches = &batches[part.range(batches.len())];
                    let losses: Vec<_> = batches.iter().map(|it| model.loss(it)).collect();
                    if first.is_empty() {
                        first = losses.iter().map(|loss| loss.clone().inner()).collect();
                        parts.push(part.of);
                    }
                    Tensor::cat(losses, 0).sum() * part.of
                };
                optimizer.step_with_parts(batches.len() as u32, loss).unwrap();
                expected.extend(first.into_iter().map(scalar));
            }
        }
        // The third step accumulates 4 minibatches, the sixth 3.
        assert_eq!(parts, [1, 1, of[0], 1, 1, of[1]]);
        assert_eq!(losses.len(), expected.len());
        for (found, expected) in losses.iter().zip(&expected) {
            let bound = 1e-6 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= bound, "{losses:?} for {expected:?}");
        }
        let last = last_logged(folder.path(), 3, "Gradient_Evaluations");
        assert!((last - optimizer.optimizer().gradient_evaluations()).abs() < 1e-6, "{last}");
        if of == [4, 3] {
            assert!((last - (5.0 + 4.0 / 3.0)).abs() < 1e-6, "{last}");
        }
        let values = |model: &Model| model.values().into_iter().map(f32::from_bits);
        let expected = optimizer.into_module().unwrap();
        for (found, expected) in values(&result.model).zip(values(&expected)) {
            let bound = 1e-6 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= bound, "{found} for {expected}");
        }
    }
}

/// A training that is interrupted after two epochs, in another process as far as it can tell, ends with the bits of one that
/// was not; the model's record of a checkpoint is an ordinary one.
#[test]
fn goes_on_with_the_same_bits() {
    let _alone = alone();
    let cases = [
        (config(), 1),
        (from_curvature(RateProbe::SeparateGradient), 1),
        (from_curvature(RateProbe::RepeatedMinibatch), 1),
        (config(), 2),
    ];
    for device in [flex(), shared()] {
        let cases = if device.is_shared() { &cases[..3] } else { &cases };
        for (config, accumulation) in cases {
            let run = |folder: &Path, epochs, from: Option<usize>| {
                let mut strategy = DimerStrategy::new(&device, config.clone()).repeat_randomness(3);
                let mut training = training(folder, epochs)
                    .with_checkpointing_strategy(KeepLastNCheckpoints::new(9))
                    .with_default_checkpointers();
                if *accumulation > 1 {
                    strategy = strategy.with_parts();
                    training = training.grads_accumulation(*accumulation);
                }
                if let Some(epoch) = from {
                    training = training.checkpoint(epoch);
                }
                let scheduler = LinearLrSchedulerConfig::new(1e-2, 1e-3, 24).init().unwrap();
                let result = launch(training, strategy, Model::new(0.2, &device), scheduler);
                assert!(result.error.is_none(), "{:?}", result.error);
                result.model
            };
            let folder = tempfile::tempdir().unwrap();
            let undisturbed = run(folder.path(), 4, None);
            let folder = tempfile::tempdir().unwrap();
            let half = run(folder.path(), 2, None);
            let resumed = run(folder.path(), 4, Some(2));
            assert_eq!(resumed.values(), undisturbed.values(), "{config:?}");
            assert_ne!(half.values(), undisturbed.values());
            let file = folder.path().join("checkpoint").join("model-2");
            let found = std::fs::read_dir(folder.path().join("checkpoint")).unwrap();
            let names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
            let record = <ModuleRecord as Checkpoint>::load(file)
                .unwrap_or_else(|error| panic!("{error}: {names:?}"));
            let plain = Model::new(0.2, &flex()).load_record(record);
            assert_eq!(plain.values(), half.values());
        }
    }
}

/// A strategy that has trained, and saved, begins anew with the next learner.
#[test]
fn begins_anew_without_a_checkpoint() {
    let _alone = alone();
    let device = flex();
    let strategy = DimerStrategy::new(&device, config());
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let training = training(folder.path(), 2).with_default_checkpointers();
        let result = launch(training, strategy.clone(), Model::new(0.0, &device), rate());
        assert!(result.error.is_none(), "{:?}", result.error);
        result.model.values()
    };
    assert_eq!(run(), run());
}

fn error_of(result: &LearningResult<Model>) -> String {
    result.error.as_ref().expect("an error").to_string()
}

/// What cannot train ends before the first step, with what to do.
#[test]
fn refuses_what_cannot_train() {
    let _alone = alone();
    let device = flex();
    let folder = tempfile::tempdir().unwrap();
    let record = Record::default();
    let run = |strategy: DimerStrategy, dropout| {
        let training = training(folder.path(), 1).metric_train(record.clone());
        launch(training, strategy, Model::new(dropout, &device), rate())
    };
    let strategy = || DimerStrategy::new(&device, config());
    let error = error_of(&run(strategy(), 0.5));
    assert!(error.contains("repeat_randomness"), "{error}");
    assert!(record.0.lock().unwrap().is_empty());

    let wrong = Config { weight_decay: -1.0, ..config() };
    let error = error_of(&run(DimerStrategy::new(&device, wrong), 0.0));
    assert!(error.contains("weight_decay"), "{error}");

    let groups = [(ParamGroup::from_path("nothing"), dimer::Group::default())];
    let error = error_of(&run(strategy().with_groups(&groups), 0.0));
    assert!(error.contains("matches no parameter"), "{error}");

    // A scheduler that has a rate of its own for some parameters.
    let scheduler = ModuleLrScheduler::new(rate())
        .with_group(ParamGroup::from_path("network.hidden.bias"), ConstantLr::new(1.0));
    let result =
        launch(training(folder.path(), 1), strategy(), Model::new(0.0, &device), scheduler);
    assert!(error_of(&result).contains("learning_rate_scale"), "{}", error_of(&result));

    // Another optimizer in the learner.
    let learner = Learner::new(Model::new(0.0, &device), SgdConfig::new().init(), rate());
    let custom = TrainingStrategy::Custom(Arc::new(strategy()));
    let result = training(folder.path(), 1).with_training_strategy(custom).launch(learner);
    assert!(error_of(&result).contains("DimerStrategy::optimizer"), "{}", error_of(&result));

    // Parts without minibatches that could be these.
    let error = error_of(&run(strategy().with_parts(), 0.0));
    assert!(error.contains("grads_accumulation"), "{error}");

    // Layers on two devices.
    let mut model = Model::new(0.0, &device);
    model.network.output = model.network.output.fork(&shared().burn());
    let result = launch(training(folder.path(), 1), strategy(), model, rate());
    assert!(error_of(&result).contains("2 devices"), "{}", error_of(&result));
    assert!(error_of(&result).contains("MultiDevice"), "{}", error_of(&result));

    // A rate that cannot be a factor.
    let curvature = from_curvature(RateProbe::SeparateGradient);
    let strategy = DimerStrategy::new(&device, curvature).with_full_rate(0.0);
    let error = error_of(&run(strategy, 0.0));
    assert!(error.contains("with_full_rate"), "{error}");

    // A warm-up, whose first value is not the whole rate; with it, it trains.
    let curvature = || from_curvature(RateProbe::SeparateGradient);
    let warm_up = || LinearLrSchedulerConfig::new(1e-6, 1e-3, 5).init().unwrap();
    let strategy = DimerStrategy::new(&device, curvature());
    let model = Model::new(0.0, &device);
    let result = launch(training(folder.path(), 1), strategy.clone(), model.clone(), warm_up());
    assert!(error_of(&result).contains("with_full_rate"), "{}", error_of(&result));
    let strategy = strategy.with_full_rate(1e-3);
    let result = launch(training(folder.path(), 1), strategy, model.clone(), warm_up());
    assert!(result.error.is_none(), "{:?}", result.error);

    // What the trainer does not have: products, and losses for a schedule.
    let exact = Dimer { difference: Difference::Exact, ..Dimer::default() };
    let plateau = Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() };
    for (dimer, word) in [(exact, "Difference::Exact"), (plateau, "OnPlateau")] {
        let config = Config { dimer: Some(dimer), ..config() };
        let error = error_of(&run(DimerStrategy::new(&device, config), 0.0));
        assert!(error.contains(word), "{error}");
    }

    // A state that was loaded into the learner, and no checkpoint to go on from.
    let saved = training(folder.path(), 1).with_default_checkpointers();
    let first = DimerStrategy::new(&device, config());
    assert!(launch(saved, first, model.clone(), rate()).error.is_none());
    let record =
        OptimizerRecord::load(folder.path().join("checkpoint").join("optim-1.bpk")).unwrap();
    let strategy = DimerStrategy::new(&device, config());
    let mut learner = Learner::new(model, strategy.optimizer(), rate());
    learner.load_optim(record);
    let custom = TrainingStrategy::Custom(Arc::new(strategy));
    let result = training(folder.path(), 1).with_training_strategy(custom).launch(learner);
    assert!(error_of(&result).contains("SupervisedTraining::checkpoint"), "{}", error_of(&result));

    // Records that cannot be taken.
    let strategy =
        DimerStrategy::new(&device, config()).with_records(|_| Err("the disk is full".into()));
    let error = error_of(&run(strategy, 0.0));
    assert!(error.contains("the disk is full"), "{error}");

    // A model that is evaluated once in each step may have what it likes.
    let plain = Config { dimer: None, ..config() };
    let result = run(DimerStrategy::new(&device, plain), 0.5);
    assert!(result.error.is_none(), "{:?}", result.error);
}

/// An epoch whose last minibatch begins a pair of steps ends after both.
#[test]
fn the_end_of_an_epoch_cuts_no_pair() {
    let _alone = alone();
    let device = flex();
    let config = from_curvature(RateProbe::RepeatedMinibatch);
    let (folder, record) = (tempfile::tempdir().unwrap(), Record::default());
    let training = training(folder.path(), 4).metric_train(record.clone());
    let strategy = DimerStrategy::new(&device, config.clone());
    let result = launch(training, strategy, Model::new(0.0, &device), ConstantLr::new(1.0));
    assert!(result.error.is_none(), "{:?}", result.error);
    let mut optimizer = DimerOptimizer::new(Model::new(0.0, &device), &device, config).unwrap();
    let (mut expected, mut pairs_at_the_end) = (Vec::new(), 0);
    for _ in 0..4 {
        for step in 0..STEPS {
            let batch = batch(step, &device.burn());
            loop {
                expected.push(scalar(optimizer.step(|model| model.loss(&batch)).unwrap()));
                if !optimizer.repeats_minibatch() {
                    break;
                }
                pairs_at_the_end += u32::from(step == STEPS - 1);
            }
        }
    }
    assert!(pairs_at_the_end > 0);
    assert_eq!(*record.0.lock().unwrap(), expected);
    assert_eq!(result.model.values(), optimizer.into_module().unwrap().values());
}

/// Two trainings do not share a strategy at the same time.
#[test]
fn a_strategy_is_used_by_one_training_at_a_time() {
    let _alone = alone();
    let device = flex();
    let strategy = DimerStrategy::new(&device, config());
    let second = strategy.clone();
    let said = Arc::new(Mutex::new(None));
    let strategy = strategy.with_records({
        let said = Arc::clone(&said);
        move |_| {
            said.lock().unwrap().get_or_insert_with(|| {
                let folder = tempfile::tempdir().unwrap();
                let model = Model::new(0.0, &flex());
                error_of(&launch(training(folder.path(), 1), second.clone(), model, rate()))
            });
            Ok(())
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let result = launch(training(folder.path(), 1), strategy, Model::new(0.0, &device), rate());
    assert!(result.error.is_none(), "{:?}", result.error);
    let said = said.lock().unwrap().take().expect("a record");
    assert!(said.contains("another training uses"), "{said}");
}

/// A learner whose strategy the trainer was not given would train nothing.
#[test]
#[should_panic(expected = "takes no steps by itself")]
fn its_optimizer_takes_no_steps() {
    let _alone = alone();
    let device = flex();
    let folder = tempfile::tempdir().unwrap();
    let optimizer = DimerStrategy::new(&device, config()).optimizer();
    let learner = Learner::new(Model::new(0.0, &device), optimizer, rate());
    let _ = training(folder.path(), 1).launch(learner);
}

/// A scheduler that falls sets a fixed rate, and the factor on a rate from curvature: the steps are those of `DimerOptimizer`
/// with the same numbers.
#[test]
fn the_scheduler_sets_the_rate_or_the_factor() {
    let _alone = alone();
    let device = flex();
    let value = |step: u64| 1e-2 + (1e-3 - 1e-2) * step as f64 / 20.0;
    let configs = [
        (config(), None),
        (config(), Some(1.0)),
        (from_curvature(RateProbe::SeparateGradient), None),
        (from_curvature(RateProbe::SeparateGradient), Some(0.5)),
    ];
    for (config, full_rate) in configs {
        let folder = tempfile::tempdir().unwrap();
        let mut strategy = DimerStrategy::new(&device, config.clone());
        if let Some(full_rate) = full_rate {
            strategy = strategy.with_full_rate(full_rate);
        }
        let scheduler = LinearLrSchedulerConfig::new(1e-2, 1e-3, 20).init().unwrap();
        let result =
            launch(training(folder.path(), 2), strategy, Model::new(0.0, &device), scheduler);
        assert!(result.error.is_none(), "{:?}", result.error);
        let is_fixed = matches!(config.learning_rate, LearningRate::Fixed(_));
        let mut optimizer = DimerOptimizer::new(Model::new(0.0, &device), &device, config).unwrap();
        for step in 0..2 * STEPS {
            match is_fixed {
                true => optimizer.set_learning_rate(value(step)).unwrap(),
                false => {
                    optimizer.set_rate_factor(value(step) / full_rate.unwrap_or(value(0))).unwrap();
                }
            }
            let batch = batch(step % STEPS, &device.burn());
            optimizer.step(|model| model.loss(&batch)).unwrap();
        }
        let expected = optimizer.into_module().unwrap();
        for (found, expected) in result.model.values().iter().zip(expected.values()) {
            let [found, expected] = [*found, expected].map(f32::from_bits);
            // The scheduler adds up its steps in another way, which may change the last bit of a rate.
            assert!(
                (found - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                "{found} for {expected}"
            );
        }
    }
}

/// Early stopping, validation without autodiff, and the metrics of the optimizer, in Burn's own logs.
#[test]
fn stops_early_and_logs_what_it_found() {
    let _alone = alone();
    for device in [flex(), shared()] {
        let folder = tempfile::tempdir().unwrap();
        let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
        let config = Config { dimer: Some(dimer), ..from_curvature(RateProbe::SeparateGradient) };
        let records = Arc::new(Mutex::new(Vec::new()));
        let strategy = DimerStrategy::new(&device, config).with_records({
            let records = Arc::clone(&records);
            move |record| {
                records.lock().unwrap().push(*record);
                Ok(())
            }
        });
        // A loss that has to rise for ever.
        let stopping = MetricEarlyStoppingStrategy::new(
            &LossMetric::new(),
            Aggregate::Mean,
            Direction::Highest,
            Split::Valid,
            StoppingCondition::NoImprovementSince { n_epochs: 2 },
        );
        let training = training(folder.path(), 30)
            .metric_train_numeric(strategy.curvature())
            .metric_train_numeric(strategy.learning_rate())
            .metric_train_numeric(strategy.skipped_steps())
            .metric_train_numeric(strategy.gradient_evaluations())
            .metric_valid_numeric(LossMetric::new())
            .early_stopping(stopping);
        let result = launch(training, strategy, Model::new(0.0, &device), rate());
        assert!(result.error.is_none(), "{:?}", result.error);
        let epochs = std::fs::read_dir(folder.path().join("train")).unwrap().count();
        assert!((3..30).contains(&epochs), "{epochs} epochs");
        let last = |name| last_logged(folder.path(), epochs, name);
        assert!(last("Curvature").is_finite());
        assert!(last("Optimizer_Learning_Rate") > 0.0);
        assert_eq!(last("Skipped_Steps"), 0.0);
        assert!(last("Gradient_Evaluations") > (STEPS * epochs as u64) as f64);
        let records = records.lock().unwrap();
        let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
        assert_eq!(steps, (0..STEPS * epochs as u64).collect::<Vec<_>>());
    }
}
