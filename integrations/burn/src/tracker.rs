//! [`CurvatureTracker`]: the dimer as a measuring instrument next to an optimizer of Burn.

use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;
use dimer::{
    Base, Config, Dimer, Group, LearningRate, Metric, Mode, Optimizer, Part, Schedule, Sgd,
    Telemetry,
};

use crate::binding::Binding;
use crate::device::DimerDevice;
use crate::error::Result;
use crate::objective::{Evaluated, ModuleObjective};
use crate::parameters::Parameters;

/// Follows an end of the spectrum of the Hessian while another optimizer trains, or both: the stiffest direction, whose
/// curvature is the *sharpness*, and the softest.
///
/// An event costs 4 gradients with [`Rotation::LocallyOptimal`](dimer::Rotation::LocallyOptimal), and 7 for both ends.
/// Minibatches tell the stiffest direction far better than the softest; [`Telemetry::resolved`] says whether a curvature
/// is an eigenvalue.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Distribution, Tensor};
/// use dimer_burn::{CurvatureTracker, DimerDevice};
/// use dimer_burn::dimer::{Dimer, Mode, Schedule};
///
/// let device = DimerDevice::new()?;
/// let module = LinearConfig::new(4, 1).init(&device.burn());
/// let dimer = Dimer { seeks: Mode::Stiffest, schedule: Schedule::Every(2), ..Dimer::default() };
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
    /// The dimer at the other end, if it is followed too.
    other: Option<Optimizer>,
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
    /// Prepares to follow modules like `module`, which is not changed. The translation of `dimer` does not count.
    ///
    /// # Errors
    /// As [`DimerOptimizer::new`](crate::DimerOptimizer::new); [`dimer::Error::Unsupported`] if
    /// the schedule is not [`Schedule::Every`], or the metric not [`Metric::Euclidean`].
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
            return Err(dimer::Error::unsupported(
                "Schedule::OnPlateau",
                "a tracker, which has no losses to tell a plateau by",
                "set `dimer.schedule` to Every",
            )
            .into());
        }
        if dimer.metric != Metric::Euclidean {
            return Err(dimer::Error::unsupported(
                "Metric::Preconditioner",
                "a tracker, which has no moments",
                "set `dimer.metric` to Euclidean",
            )
            .into());
        }
        let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let learning_rate = LearningRate::Fixed(0.0);
        let dimer = Some(dimer.watching());
        let config = Config { base, learning_rate, dimer, ..Config::default() };
        let (binding, optimizer) = Binding::new(module, device, config, groups)?;
        let probe = binding.probe_of(module);
        Ok(Self { binding, optimizer, other: None, probe, schedule, steps: 0 })
    }

    /// Follows the other end of the spectrum too, on the same minibatches. With forward differences, both ends use one
    /// gradient at θ.
    ///
    /// # Errors
    /// [`dimer::Error::Unsupported`] after a step; otherwise as [`dimer::Optimizer::second_dimer`].
    pub fn with_other_end(mut self) -> Result<Self> {
        if self.steps > 0 {
            return Err(dimer::Error::unsupported(
                "a second end",
                "a tracker that has followed steps already",
                "call `with_other_end` before the first `after_step`",
            )
            .into());
        }
        if let Some(dimer) = &self.optimizer.config().dimer {
            let other = Dimer { seeks: dimer.seeks.other(), ..dimer.clone() };
            self.other = Some(self.optimizer.second_dimer(other)?);
        }
        Ok(self)
    }

    /// Call this after each step of the training; every K-th call turns the dimer at the
    /// parameters of `module` and returns true. Such a call evaluates `loss` as often as an event of
    /// [`DimerOptimizer`](crate::DimerOptimizer) does, for both ends twice less one, all of it on one minibatch.
    ///
    /// # Errors
    /// [`Error::ModuleChanged`](crate::Error::ModuleChanged) if the parameters of `module` have other
    /// names or shapes than those of the first; otherwise as
    /// [`DimerOptimizer::step`](crate::DimerOptimizer::step).
    pub fn after_step(
        &mut self,
        module: &M,
        mut loss: impl FnMut(&M) -> Tensor<1>,
    ) -> Result<bool> {
        self.after_step_with_parts(module, 1, |module, _| loss(module))
    }

    /// The same on a minibatch that can be cut into `parts` equal parts, as
    /// [`DimerOptimizer::step_with_parts`](crate::DimerOptimizer::step_with_parts) says: all evaluations of an event are of one
    /// part, and with 4, or 8 for both ends, they cost at most one gradient of the whole. The fewer samples, the less stands
    /// out of their noise.
    ///
    /// # Errors
    /// As [`CurvatureTracker::after_step`].
    pub fn after_step_with_parts(
        &mut self,
        module: &M,
        parts: u32,
        mut loss: impl FnMut(&M, Part) -> Tensor<1>,
    ) -> Result<bool> {
        let Schedule::Every(interval) = self.schedule else { return Ok(false) };
        let event = (self.steps + 1).is_multiple_of(u64::from(interval));
        if event {
            let parameters = Parameters::of(module, &self.binding.device.burn())?;
            self.binding.parameters.check_same(&parameters)?;
            self.binding.write(module, &self.optimizer)?;
            let evaluate = |module: &M, part| Evaluated::of(loss(module, part));
            let probe = &mut self.probe;
            let mut objective = ModuleObjective::new(&self.binding, module, probe, true, evaluate);
            objective.parts = parts;
            match &mut self.other {
                Some(other) => self.optimizer.rotate_both(other, &mut objective)?,
                None => self.optimizer.rotate(&mut objective)?,
            }
        }
        self.steps += 1;
        Ok(event)
    }

    /// What each dimer found, one record per event and end, as far as it has arrived: the curvature before and after
    /// the rotation, whether it is an eigenvalue, its smoothed mean and error, the residual. The earliest event comes
    /// first; [`Telemetry::seeks`] says which end it is. [`Telemetry::step`] is the number of the event, from 0.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::telemetry`].
    pub fn poll_telemetry(&mut self) -> Result<Vec<Telemetry>> {
        self.records(Optimizer::poll_telemetry)
    }

    /// What each dimer found in all events so far, waiting for it.
    ///
    /// # Errors
    /// As [`dimer::Optimizer::telemetry`].
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        self.records(Optimizer::telemetry)
    }

    fn records(
        &mut self,
        read: impl Fn(&mut Optimizer) -> dimer::Result<Vec<Telemetry>>,
    ) -> Result<Vec<Telemetry>> {
        let mut records = read(&mut self.optimizer)?;
        if let Some(other) = &mut self.other {
            records.extend(read(other)?);
            records.sort_by_key(|record| record.step);
        }
        Ok(records)
    }

    /// The optimizer of the core whose dimer follows this end, for everything that reads it, such as the direction
    /// ([`dimer::Optimizer::read_orientation`]); `None` for an end that is not followed.
    pub fn end(&self, mode: Mode) -> Option<&Optimizer> {
        let seeks = |optimizer: &&Optimizer| {
            optimizer.config().dimer.as_ref().is_some_and(|dimer| dimer.seeks == mode)
        };
        [Some(&self.optimizer), self.other.as_ref()].into_iter().flatten().find(seeks)
    }
}
