//! [`DataParallel`]: the mean of the objectives of all ranks.

use super::Collective;
use super::mean::{Asked, GradientMean};
use crate::error::{Error, Result};
use crate::objective::{Evaluation, HessianProduct, Objective, Part, Point, StepInfo, UNWRITTEN};

/// The mean of an objective over the ranks of a group, each of which evaluates it on its share of the batch.
///
/// Every rank has an optimizer of its own, made alike: the same initial parameters, layout, settings, seeds and
/// [`Tuning`](crate::Tuning), on a device of the same kind with the same driver.
/// [`Optimizer::data_parallel`](crate::Optimizer::data_parallel), which makes this, compares them. All ranks call the same
/// methods in the same order.
/// Gradients, products and losses are then the same bits on every rank, and so are the parameters. They travel through the
/// host: an evaluation waits for the device, for a read-back of a vector, for the slowest rank and for the sum, and it blocks
/// its thread even in an `_async` call, so each rank needs a thread of its own.
///
/// A rank whose objective fails still takes part, so that no other waits for it. Then every rank's step ends with an error:
/// that rank's with its own, the others' with [`Error::Objective`] and its words, or with [`Error::Collective`] if it was no
/// error of an objective, such as a lost device. After an error of an objective all ranks may try the step again; objectives
/// must choose their minibatch by [`StepInfo::index`] alone then. Other errors of a step, such as
/// [`Error::TooManySkips`], are told to nobody: a rank that gets one has to give up its group, by dropping it.
///
/// A gradient that is not finite on one rank is not finite on all. A loss that one rank does not write is missing on all.
///
/// Ranks that are at different evaluations, whose steps are of different kinds or have different hyperparameters, or whose
/// objectives differ in [`Objective::supplies_loss`], get [`Error::Collective`]. Other ways to part, such as a rank that
/// writes parameters of its own, show in [`Optimizer::check_ranks`](crate::Optimizer::check_ranks): call it now and then.
/// What a program decides by what the optimizer has found, such as another learning rate, it has to decide alike on all
/// ranks: by [`Optimizer::telemetry`](crate::Optimizer::telemetry), or by the word of one rank that is broadcast, but not by
/// `poll_telemetry`, whose records arrive on each rank when they do.
///
/// [`Accumulated`](crate::Accumulated) belongs inside of this; around it, there is a meeting for every minibatch. A check of
/// the mean sees less than one of each rank's own objective
/// ([`Optimizer::check_objective`](crate::Optimizer::check_objective)): check that first.
///
/// ```
/// use dimer::{Collective, Config, Gpu, HostObjective, Layout, LearningRate, Optimizer, Threads};
///
/// let gpu = Gpu::new()?;
/// let train = |group: Threads| {
///     // Each rank has a target of its own; together they look for the mean.
///     let target = group.rank() as f32;
///     let objective = HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
///         gradient[0] = params[0] - target;
///         0.5 * gradient[0] * gradient[0]
///     });
///     let config = Config { learning_rate: LearningRate::Fixed(0.1), ..Config::default() };
///     let mut optimizer = Optimizer::new(&gpu, Layout::flat(1)?, config, &[5.0])?;
///     let mut objective = optimizer.data_parallel(objective, group)?;
///     for _ in 0..300 {
///         optimizer.step(&mut objective)?;
///     }
///     optimizer.read_params()
/// };
/// let group = Threads::group(2)?;
/// let ranks: Vec<Vec<f32>> = std::thread::scope(|scope| {
///     let train = &train;
///     let ranks: Vec<_> = group.into_iter().map(|rank| scope.spawn(move || train(rank))).collect();
///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
/// })?;
/// assert!((ranks[0][0] - 0.5).abs() < 0.1);
/// assert_eq!(ranks[0], ranks[1]);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct DataParallel<O, C> {
    objective: O,
    mean: GradientMean<C>,
    step: StepInfo,
    /// Of `begin_step`, until the ranks meet.
    error: Option<Error>,
}

impl<O, C: Collective> DataParallel<O, C> {
    /// The mean over ranks that count alike.
    pub(crate) fn new(objective: O, group: C) -> Self {
        let step = StepInfo { index: 0, repeats_minibatch: false, part: Part::WHOLE, checksum: 0 };
        Self { objective, mean: GradientMean::new(group), step, error: None }
    }

    /// Makes this rank count as much as `weight` says, as [`GradientMean::set_weight`] does.
    ///
    /// # Errors
    /// Those of [`GradientMean::set_weight`].
    pub fn set_weight(&mut self, weight: f64) -> Result<()> {
        self.mean.set_weight(weight)
    }

    /// The objective of this rank's share.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// The objective of this rank's share.
    pub fn objective_mut(&mut self) -> &mut O {
        &mut self.objective
    }

    /// The group.
    pub fn group(&self) -> &C {
        self.mean.group()
    }

    /// The group, for what ranks do together besides.
    pub fn group_mut(&mut self) -> &mut C {
        self.mean.group_mut()
    }

    /// The objective and the group.
    pub fn into_inner(self) -> (O, C) {
        (self.objective, self.mean.into_group())
    }
}

impl<O: Objective, C: Collective> Objective for DataParallel<O, C> {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        self.step = step;
        // The other ranks must not wait for this one: they hear of it in the first evaluation.
        self.error = self.objective.begin_step(step).err();
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        let supplies_loss = self.objective.supplies_loss();
        let asked = Asked {
            is_product: false,
            is_probe: at.point != Point::Centre,
            is_checked: at.is_checked,
            supplies_loss,
        };
        let wants_loss = at.wants_loss() && supplies_loss;
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self.objective.gradient(at.reborrow()),
        };
        let found = match found {
            Ok(()) => at.read_written(wants_loss),
            // What was recorded before it runs on all ranks, so that they stay alike.
            Err(error) => Err(at.submit().err().unwrap_or(error)),
        };
        let unwritten = unwritten(at.is_checked, &found);
        let has_loss = matches!(found, Ok((_, Some(_))));
        let (mut gradient, loss) = self.mean.of(at.layout.len(), &self.step, asked, found)?;
        // What a check finds unwritten stays so, on the rank whose objective has left it.
        if at.is_checked {
            gradient.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = f32::NAN);
        }
        unwritten.into_iter().for_each(|i| gradient[i] = f32::from_bits(UNWRITTEN));
        if at.is_checked && has_loss && loss.is_none() {
            return Err(Error::InconsistentObjective {
                reason: "that of another rank did not write its loss at θ, although `supplies_loss` is true".into(),
            });
        }
        if wants_loss {
            at.write_loss(loss.unwrap_or(f32::from_bits(UNWRITTEN)));
        }
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> Result<()> {
        let supplies_loss = self.objective.supplies_loss();
        let asked = Asked { is_product: true, is_probe: false, is_checked: false, supplies_loss };
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self.objective.hessian_product(at.reborrow()),
        };
        let found = match found {
            Ok(()) => at.read_product().map(|product| (product, None)),
            Err(error) => Err(at.submit().err().unwrap_or(error)),
        };
        let (product, _) = self.mean.of(at.layout.len(), &self.step, asked, found)?;
        at.write(&product)
    }

    fn parts(&self) -> u32 {
        self.objective.parts()
    }

    fn supplies_loss(&self) -> bool {
        self.objective.supplies_loss()
    }

    fn is_deterministic(&self) -> bool {
        self.objective.is_deterministic()
    }
}

/// Elements that the objective has not written.
fn unwritten(is_checked: bool, found: &Result<(Vec<f32>, Option<f32>)>) -> Vec<usize> {
    match found {
        Ok((gradient, _)) if is_checked => {
            let elements = gradient.iter().enumerate();
            elements.filter(|(_, value)| value.to_bits() == UNWRITTEN).map(|(i, _)| i).collect()
        }
        _ => Vec::new(),
    }
}
