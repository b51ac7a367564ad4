//! [`DimerOptimizer`]: the public face of the crate.

use std::path::Path;

use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;
use dimer::{Config, Group, Optimizer, Part, Telemetry};

use crate::binding::Binding;
use crate::collect::Source;
use crate::device::DimerDevice;
use crate::error::Result;
use crate::objective::{Evaluated, Losses, ModuleObjective};
use crate::parameters::Parameters;

/// Trains a Burn module with Dimer-Enhanced Optimization.
///
/// It holds the module. On a shared device the module's parameters are views of the optimizer's
/// own memory: a step changes them in place, and nothing is copied back and forth.
///
/// # Every gradient of a step must be of the same function
/// In an event, or where the learning rate is measured, which the first 20 steps do by default, the loss is evaluated
/// more than once: at θ, and at probes close by. The curvature is
/// the difference of the gradients, so the closure must use the same minibatch and the same random
/// numbers each time it is called in one step. For dropout and other randomness of Burn either turn
/// on [`DimerOptimizer::repeat_randomness`], or build the module without. Running statistics, like those of
/// batch normalisation, learn from θ only: probes have their own. [`DimerOptimizer::check`] tells
/// whether a closure keeps to this.
pub struct DimerOptimizer<M: Module> {
    binding: Binding,
    optimizer: Optimizer,
    module: M,
    probe: M,
    /// Whether `module` has the optimizer's parameters.
    current: bool,
    seed: Option<u64>,
}

impl<M: Module> std::fmt::Debug for DimerOptimizer<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { module, optimizer, .. } = self;
        formatter
            .debug_struct("DimerOptimizer")
            .field("module", module)
            .field("optimizer", optimizer)
            .finish()
    }
}

impl<M: Module> DimerOptimizer<M> {
    /// Takes over `module`, which is on [`DimerDevice::burn`], with all its parameters in one group.
    ///
    /// It trains the f32 parameters that require a gradient; frozen ones stay as they are.
    ///
    /// # Errors
    /// [`Error::NothingToTrain`](crate::Error::NothingToTrain);
    /// [`Error::Parameter`](crate::Error::Parameter) for one on another device or of another type;
    /// [`Error::Dimer`](crate::Error::Dimer) for settings out of range, for
    /// [`Rotation::Alternating`](dimer::Rotation::Alternating), since a closure cannot say that it is the same function in every
    /// step, or for too little memory.
    pub fn new(module: M, device: &DimerDevice, config: Config) -> Result<Self> {
        Self::with_groups(module, device, config, &[])
    }

    /// Like [`DimerOptimizer::new`], with each parameter in the first of `groups` that matches its name.
    ///
    /// Names are paths in the module, such as `blocks.0.norm.gamma`. Those that no group matches have the
    /// settings of `config`.
    ///
    /// ```
    /// use burn::module::ParamGroup;
    /// use burn::nn::{Linear, LinearConfig};
    /// use dimer_burn::{DimerDevice, DimerOptimizer, dimer};
    ///
    /// let device = DimerDevice::new()?;
    /// let module = LinearConfig::new(4, 2).init(&device.burn());
    /// let no_decay = dimer::Group { weight_decay: Some(0.0), ..dimer::Group::default() };
    /// let groups = [(ParamGroup::from_path("bias"), no_decay)];
    /// let config = dimer::Config::default();
    /// let optimizer = DimerOptimizer::<Linear>::with_groups(module, &device, config, &groups)?;
    /// assert_eq!(optimizer.optimizer().layout().tensors()[1].name, "bias");
    /// # Ok::<(), dimer_burn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`DimerOptimizer::new`], and [`Error::EmptyGroup`](crate::Error::EmptyGroup) for a group
    /// that gets no parameter.
    pub fn with_groups(
        module: M,
        device: &DimerDevice,
        config: Config,
        groups: &[(ParamGroup, Group)],
    ) -> Result<Self> {
        let (binding, optimizer) = Binding::new(&module, device, config, groups)?;
        let module = binding.at_centre(module, &optimizer)?;
        let probe = binding.probe_of(&module);
        Ok(Self { binding, optimizer, module, probe, current: true, seed: None })
    }

    /// Makes the random numbers of Burn's device, such as those of dropout, the same in all evaluations
    /// of one step, and different in the next, unless that repeats the minibatch: it seeds the device before each evaluation.
    ///
    /// Burn's generator may be one for all devices of a kind, so draw nothing else from it that
    /// should be independent of the step, such as the order of the data.
    #[must_use]
    pub fn repeat_randomness(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Takes one step on `loss`, which is called with the module at θ, and in an event or a measurement of the learning
    /// rate also with the module at each probe. Returns L(θ), without waiting for the device.
    ///
    /// In those events of [`Difference::Central`](dimer::Difference::Central) that do not evaluate θ, since they measure
    /// no learning rate, the mean of the losses at the probes is returned.
    ///
    /// Other threads must not use the module meanwhile: only what this thread has queued in Burn is
    /// sure to run before the parameters change.
    ///
    /// # Errors
    /// [`Error::Loss`](crate::Error::Loss) for a loss that cannot be differentiated;
    /// [`Error::Device`](crate::Error::Device); [`Error::Dimer`](crate::Error::Dimer) as for
    /// [`dimer::Optimizer::step`]. Nothing has changed then.
    pub fn step(&mut self, mut loss: impl FnMut(&M) -> Tensor<1>) -> Result<Tensor<1>> {
        self.step_with_parts(1, |module, _| loss(module))
    }

    /// Takes one step as [`DimerOptimizer::step`] does, on a minibatch that can be cut into `parts` equal parts, such as
    /// micro-batches; 0 counts as 1. With enough of them an event costs no more than another step: with 4 for
    /// [`Rotation::LocallyOptimal`](dimer::Rotation::LocallyOptimal) and forward differences, with others where
    /// [`dimer::Objective::parts`] says so. That also names the events that always use the whole.
    ///
    /// `loss` is called with the part that it has to be the mean over: [`Part::WHOLE`], or in an event one that is chosen at
    /// random, the same at every point. It may be larger than one of `parts`, so take the samples, or micro-batches, that
    /// [`Part::range`] says. A minibatch with fewer than `parts` of them needs a smaller `parts`: a part of it may be empty.
    ///
    /// The step of such an event is taken by the gradient of the part, and returns its loss; what is not in the part is not
    /// trained on. [`dimer::Optimizer::gradient_evaluations`] counts in gradients of the whole.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Distribution, Tensor};
    /// use dimer_burn::dimer::{Config, Dimer, LearningRate, Schedule};
    /// use dimer_burn::{DimerDevice, DimerOptimizer};
    ///
    /// let device = DimerDevice::new()?;
    /// let module = LinearConfig::new(4, 1).init(&device.burn());
    /// let dimer = Dimer { schedule: Schedule::Every(5), ..Dimer::default() };
    /// let learning_rate = LearningRate::Fixed(1e-3);
    /// let config = Config { learning_rate, dimer: Some(dimer), ..Config::default() };
    /// let mut optimizer = DimerOptimizer::new(module, &device, config)?;
    /// for _ in 0..10 {
    ///     let x = Tensor::<2>::random([64, 4], Distribution::Default, &device.burn());
    ///     optimizer.step_with_parts(4, |module, part| {
    ///         let x = x.clone().slice([part.range(64)]);
    ///         module.forward(x).powi_scalar(2).mean()
    ///     })?;
    /// }
    /// assert_eq!(optimizer.optimizer().gradient_evaluations(), 10.0);
    /// # Ok::<(), dimer_burn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`DimerOptimizer::step`].
    pub fn step_with_parts(
        &mut self,
        parts: u32,
        mut loss: impl FnMut(&M, Part) -> Tensor<1>,
    ) -> Result<Tensor<1>> {
        let evaluate = |module: &M, part| Evaluated::of(loss(module, part));
        self.step_by(true, parts, evaluate)?.into_loss()
    }

    /// The same by what gives gradients, and perhaps a loss.
    pub(crate) fn step_by<G: Source>(
        &mut self,
        gives_loss: bool,
        parts: u32,
        evaluate: impl FnMut(&M, Part) -> Result<Evaluated<G>>,
    ) -> Result<Losses> {
        self.refresh()?;
        let minibatch = self.optimizer.steps() - u64::from(self.optimizer.repeats_minibatch());
        let (centre, probe) = (&self.module, &mut self.probe);
        let mut objective =
            ModuleObjective::new(&self.binding, centre, probe, gives_loss, evaluate);
        objective.seed = self.seed.map(|seed| seed.wrapping_add(minibatch));
        objective.parts = parts;
        self.optimizer.step(&mut objective)?;
        let losses = objective.losses;
        self.current = self.binding.device.is_shared();
        Ok(losses)
    }

    /// Evaluates `loss` at θ and at a probe as in one step and compares the gradients, as
    /// [`dimer::Optimizer::check_objective`] does; changes no parameter, and no running statistics. Of a loss with parts, check
    /// the whole.
    ///
    /// # Errors
    /// [`dimer::Error::InconsistentObjective`], which says what was found: the minibatch moved, or dropout
    /// is live; see [`DimerOptimizer::repeat_randomness`]. Otherwise as [`DimerOptimizer::step`].
    pub fn check(&mut self, mut loss: impl FnMut(&M) -> Tensor<1>) -> Result<()> {
        self.check_by(true, |module| Evaluated::of(loss(module)))
    }

    /// The same by what gives gradients, and perhaps a loss.
    pub(crate) fn check_by<G: Source>(
        &mut self,
        gives_loss: bool,
        mut evaluate: impl FnMut(&M) -> Result<Evaluated<G>>,
    ) -> Result<()> {
        self.refresh()?;
        // With running statistics of its own.
        let centre = self.binding.at_centre(self.module.valid().train(), &self.optimizer)?;
        let evaluate = |module: &M, _| evaluate(module);
        let mut objective =
            ModuleObjective::new(&self.binding, &centre, &mut self.probe, gives_loss, evaluate);
        objective.seed = self.seed;
        Ok(self.optimizer.check_objective(&mut objective)?)
    }

    /// The module with the parameters as the last step left them.
    ///
    /// On a shared device its tensors, and those of its clones, keep changing with every step; take
    /// [`Module::into_record`] or the tensors' data to keep them.
    ///
    /// # Errors
    /// On another device the parameters are read, which can fail as [`DimerOptimizer::step`] can.
    pub fn module(&mut self) -> Result<&M> {
        self.refresh()?;
        Ok(&self.module)
    }

    /// Ends the training and gives the module back.
    ///
    /// # Errors
    /// As [`DimerOptimizer::module`].
    pub fn into_module(mut self) -> Result<M> {
        self.refresh()?;
        Ok(self.module)
    }

    /// Replaces the values of the parameters by those of `module`, for instance one that a record was
    /// loaded into. Moments, orientation and counters stay.
    ///
    /// # Errors
    /// [`Error::ModuleChanged`](crate::Error::ModuleChanged) if its parameters have other names or
    /// shapes; [`Error::Parameter`](crate::Error::Parameter) as in [`DimerOptimizer::new`].
    pub fn set_module(&mut self, module: M) -> Result<()> {
        let parameters = Parameters::of(&module, &self.binding.device.burn())?;
        self.binding.parameters.check_same(&parameters)?;
        // The new module's parameters have identities of their own.
        let old = std::mem::replace(&mut self.binding.parameters, parameters);
        let written = self.binding.write(&module, &self.optimizer);
        let bound = written.and_then(|()| self.binding.at_centre(module, &self.optimizer));
        match bound {
            Ok(module) => {
                self.probe = self.binding.probe_of(&module);
                self.module = module;
                self.current = true;
                Ok(())
            }
            Err(error) => {
                self.binding.parameters = old;
                Err(error)
            }
        }
    }

    /// Sets the learning rate of the next steps.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::set_learning_rate`].
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        Ok(self.optimizer.set_learning_rate(learning_rate)?)
    }

    /// Sets the factor on the learning rate of the next steps.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::set_rate_factor`].
    pub fn set_rate_factor(&mut self, factor: f64) -> Result<()> {
        Ok(self.optimizer.set_rate_factor(factor)?)
    }

    /// Whether the next step has to use the minibatch of the last step again; see
    /// [`dimer::RateProbe::RepeatedMinibatch`], and [`RepeatableBatches`](crate::RepeatableBatches), which keeps that
    /// minibatch.
    pub fn repeats_minibatch(&self) -> bool {
        self.optimizer.repeats_minibatch()
    }

    /// Saves everything that the next steps depend on, the parameters included; see
    /// [`dimer::Optimizer::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.optimizer.save(path)?)
    }

    /// The bytes of that file; see [`dimer::Optimizer::save_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn save_bytes(&mut self) -> Result<Vec<u8>> {
        Ok(self.optimizer.save_bytes()?)
    }

    /// Goes on from a file of [`DimerOptimizer::save`]; the module's parameters are those saved.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::load`]. Nothing has changed then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.binding.flush()?;
        self.optimizer.load(path)?;
        self.current = self.binding.device.is_shared();
        Ok(())
    }

    /// The same from the bytes of a file.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::load_bytes`]. Nothing has changed then.
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.binding.flush()?;
        self.optimizer.load_bytes(bytes)?;
        self.current = self.binding.device.is_shared();
        Ok(())
    }

    /// The same from a file that was saved with other settings; those here go on. Returns what changed.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::load_with_changes`]. Nothing has changed then.
    pub fn load_with_changes(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        self.binding.flush()?;
        let changes = self.optimizer.load_with_changes(path)?;
        self.current = self.binding.device.is_shared();
        Ok(changes)
    }

    /// What the steps so far found, as far as it has arrived; see
    /// [`dimer::Optimizer::poll_telemetry`].
    ///
    /// # Errors
    /// As there.
    pub fn poll_telemetry(&mut self) -> Result<Vec<Telemetry>> {
        Ok(self.optimizer.poll_telemetry()?)
    }

    /// What all steps so far found, waiting for it.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::telemetry`].
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        Ok(self.optimizer.telemetry()?)
    }

    /// The optimizer of the core, for everything that reads it.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The first parameter to which `rate` gives another learning rate than its base.
    #[cfg(feature = "train")]
    pub(crate) fn other_rate(
        &self,
        rate: &burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    ) -> Option<&str> {
        let mut parameters = self.binding.parameters.iter();
        let other =
            parameters.find(|(id, name)| rate.lr_from_param(*id, Some(name)) != rate.base());
        other.map(|(_, name)| name)
    }

    /// Brings the module up to date, where its memory is not the optimizer's.
    fn refresh(&mut self) -> Result<()> {
        if !self.current {
            self.module = self.binding.at_centre(self.module.clone(), &self.optimizer)?;
            self.current = true;
        }
        Ok(())
    }
}
