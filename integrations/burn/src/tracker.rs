//! [`CurvatureTracker`]: the dimer as a measuring instrument next to an optimizer of Burn.

use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;
use dimer::{Base, Config, Dimer, Group, LearningRate, Optimizer, Schedule, Sgd, Telemetry};

use crate::binding::Binding;
use crate::device::DimerDevice;
use crate::error::Result;
use crate::objective::ModuleObjective;
use crate::parameters::Parameters;

/// Follows the softest mode of the loss while another optimizer trains.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Distribution, Tensor};
/// use dimer_burn::{CurvatureTracker, DimerDevice, dimer};
///
/// let device = DimerDevice::new()?;
/// let module = LinearConfig::new(4, 1).init(&device.burn());
/// let dimer = dimer::Dimer { schedule: dimer::Schedule::Every(2), ..dimer::Dimer::default() };
/// let mut tracker = CurvatureTracker::new(&module, &device, dimer)?;
/// let batch = Tensor::<2>::random([8, 4], Distribution::Default, &device.burn());
/// for _ in 0..4 {
///     // Here an optimizer of Burn would take its step.
///     tracker.after_step(&module, |module| {
///         module.forward(batch.clone()).powi_scalar(2).mean()
///     })?;
/// }
/// assert_eq!(tracker.telemetry()?.len(), 2);
/// # Ok::<(), dimer_burn::Error>(())
/// ```
pub struct CurvatureTracker<M: Module> {
    binding: Binding,
    optimizer: Optimizer,
    probe: M,
    schedule: Schedule,
    steps: u64,
}

impl<M: Module> std::fmt::Debug for CurvatureTracker<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CurvatureTracker").field("optimizer", &self.optimizer).finish()
    }
}

impl<M: Module> CurvatureTracker<M> {
    /// Prepares to follow modules like `module`, which is not changed. Of `dimer`, only the rotation,
    /// the schedule, the differences and the displacement count.
    ///
    /// # Errors
    /// As [`DimerOptimizer::new`](crate::DimerOptimizer::new); [`dimer::Error::Unsupported`] if
    /// the schedule is not [`Schedule::Every`].
    pub fn new(module: &M, device: &DimerDevice, dimer: Dimer) -> Result<Self> {
        Self::with_groups(module, device, dimer, &[])
    }

    /// Like [`CurvatureTracker::new`], with groups; the dimer may be kept out of some of them.
    ///
    /// # Errors
    /// As there and in [`DimerOptimizer::with_groups`](crate::DimerOptimizer::with_groups).
    pub fn with_groups(
        module: &M,
        device: &DimerDevice,
        dimer: Dimer,
        groups: &[(ParamGroup, Group)],
    ) -> Result<Self> {
        let schedule = dimer.schedule;
        if !matches!(schedule, Schedule::Every(_)) {
            return Err(dimer::Error::Unsupported {
                what: "Schedule::OnPlateau",
                with: "a tracker, which has no losses to tell a plateau by",
                instead: "set `dimer.schedule` to Every",
            }
            .into());
        }
        let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let learning_rate = LearningRate::Fixed(0.0);
        let config = Config { base, learning_rate, dimer: Some(dimer), ..Config::default() };
        let (binding, optimizer) = Binding::new(module, device, config, groups)?;
        let probe = binding.probe_of(module);
        Ok(Self { binding, optimizer, probe, schedule, steps: 0 })
    }

    /// Call this after each step of the training; every K-th call turns the dimer at the
    /// parameters of `module` and returns true. Such a call evaluates `loss` as often as an event of
    /// [`DimerOptimizer`](crate::DimerOptimizer) does, all of it on one minibatch.
    ///
    /// # Errors
    /// [`Error::ModuleChanged`](crate::Error::ModuleChanged) if the parameters of `module` have other
    /// names or shapes than those of the first; otherwise as
    /// [`DimerOptimizer::step`](crate::DimerOptimizer::step).
    pub fn after_step(&mut self, module: &M, loss: impl FnMut(&M) -> Tensor<1>) -> Result<bool> {
        let Schedule::Every(interval) = self.schedule else { return Ok(false) };
        let event = (self.steps + 1).is_multiple_of(u64::from(interval));
        if event {
            let parameters = Parameters::of(module, &self.binding.device.burn())?;
            self.binding.parameters.check_same(&parameters)?;
            self.binding.write(module, &self.optimizer)?;
            let mut objective = ModuleObjective::new(&self.binding, module, &mut self.probe, loss);
            self.optimizer.rotate(&mut objective)?;
        }
        self.steps += 1;
        Ok(event)
    }

    /// What the dimer found, one record per event, as far as it has arrived: the curvature, its
    /// smoothed mean and error, the residual.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::telemetry`].
    pub fn poll_telemetry(&mut self) -> Result<Vec<Telemetry>> {
        Ok(self.optimizer.poll_telemetry()?)
    }

    /// What the dimer found in all events so far, waiting for it.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::telemetry`].
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        Ok(self.optimizer.telemetry()?)
    }

    /// The optimizer of the core, for everything that reads it: the softest mode is its
    /// [orientation](dimer::Optimizer::read_orientation).
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }
}
