//! [`DataParallel`]: the mean of the objectives of all ranks.

use super::Collective;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::objective::{Evaluation, HessianProduct, Objective, Point, StepInfo, UNWRITTEN};

/// Bytes of what a rank can tell the others of its error.
const MESSAGE: usize = 512;

/// The mean of an objective over the ranks of a group, each of which evaluates it on its share of the batch.
///
/// Every rank has an optimizer of its own, made alike on a device of the same kind, and takes its steps with this
/// objective. Gradients, products and losses are the same bits on every rank, and so are the parameters. They travel
/// through the host: an evaluation waits for the device, for a read-back of a vector, for the slowest rank and for the sum.
///
/// A rank whose objective fails still takes part, so that no other waits for it; then every rank's step ends with an error,
/// and may be tried again. A gradient that is not finite on one rank skips the step on all.
///
/// ```
/// use dimer::{Collective, Config, DataParallel, Gpu, HostObjective, Layout, LearningRate, Optimizer, Threads};
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
///     let mut objective = DataParallel::new(objective, group);
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
    group: C,
    /// What this rank counts; those of all add up to 1.
    share: f32,
    /// The index of the step, and how many vectors of it were asked for: what all ranks agree on.
    step: u64,
    evaluations: u32,
    /// Of `begin_step`, until the ranks meet.
    error: Option<Error>,
}

/// What a rank adds to a sum after its vector: its loss, then for each rank what only that one sets, so that a sum
/// leaves it as it was.
struct Trailer {
    loss: f32,
    slots: Vec<Slot>,
}

/// What each rank tells of itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
struct Slot {
    /// 1 if its objective failed, or has written no loss where it should.
    failed: f32,
    lacks_loss: f32,
    /// Where it is: each 0 to 65 535, which any sum of f32 keeps.
    step: [f32; 2],
    evaluation: f32,
    is_product: f32,
}

/// f32s of a slot.
const SLOT: usize = size_of::<Slot>() / 4;

impl Trailer {
    fn len(size: u32) -> usize {
        1 + size as usize * SLOT
    }

    fn push_to(&self, values: &mut Vec<f32>) {
        values.push(self.loss);
        values.extend_from_slice(bytemuck::cast_slice(&self.slots));
    }

    fn take_from(values: &mut Vec<f32>, size: u32) -> Self {
        let trailer = values.split_off(values.len() - Self::len(size));
        Self { loss: trailer[0], slots: bytemuck::cast_slice(&trailer[1..]).to_vec() }
    }
}

impl<O, C: Collective> DataParallel<O, C> {
    /// The mean over all ranks, which count alike.
    pub fn new(objective: O, group: C) -> Self {
        let share = 1.0 / group.size() as f32;
        Self { objective, group, share, step: 0, evaluations: 0, error: None }
    }

    /// The mean in which this rank counts as much as `weight` says, such as its number of samples: positive and finite. Only
    /// the ratios of all ranks' weights count; the ranks exchange them here.
    ///
    /// # Errors
    /// [`Error::Collective`]; on all ranks [`Error::InvalidConfig`] if the weight of one is out of range.
    pub fn weighted(objective: O, mut group: C, weight: f64) -> Result<Self> {
        let weights = group.gather(&weight.to_le_bytes())?;
        let weights: Vec<f64> =
            weights.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect();
        let check =
            |is_good: &dyn Fn(f64) -> bool| match weights.iter().position(|&it| !is_good(it)) {
                None => Ok(()),
                Some(rank) => Err(Error::InvalidConfig {
                    field: "weight",
                    value: format!("{:e} on rank {rank}", weights[rank]),
                    expected: "positive and finite, and not vanishing beside the others",
                }),
            };
        check(&|weight| weight.is_finite() && weight > 0.0)?;
        let largest = weights.iter().fold(0.0, |largest: f64, &weight| largest.max(weight));
        let total: f64 = weights.iter().map(|weight| weight / largest).sum();
        let share = |weight: f64| (weight / largest / total) as f32;
        check(&|weight| share(weight) >= f32::MIN_POSITIVE)?;
        Ok(Self { share: share(weight), ..Self::new(objective, group) })
    }

    /// The objective of this rank's share.
    pub fn objective(&mut self) -> &mut O {
        &mut self.objective
    }

    /// The group, for what ranks do together besides.
    pub fn group(&mut self) -> &mut C {
        &mut self.group
    }

    /// The objective and the group.
    pub fn into_inner(self) -> (O, C) {
        (self.objective, self.group)
    }

    /// Of what the ranks have found the mean, or the error of one of them, on every rank. A vector comes with a loss,
    /// which may lack.
    fn mean(
        &mut self,
        layout: &Layout,
        is_product: bool,
        found: Result<(Vec<f32>, Option<f32>)>,
    ) -> Result<(Vec<f32>, Option<f32>)> {
        let size = self.group.size();
        let (rank, low) = (self.group.rank() as usize, |bits: u64| f32::from(bits as u16));
        let mut own = Slot {
            step: [low(self.step), low(self.step >> 16)],
            evaluation: low(self.evaluations.into()),
            is_product: f32::from(u8::from(is_product)),
            ..Slot::default()
        };
        self.evaluations += 1;
        let (found, error) = match found {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(error)),
        };
        let (mut values, loss) = found.unwrap_or_else(|| (vec![0.0; layout.len()], None));
        values.iter_mut().for_each(|value| *value *= self.share);
        own.failed = f32::from(u8::from(error.is_some()));
        own.lacks_loss = f32::from(u8::from(loss.is_none()));
        let mut slots = vec![Slot::default(); size as usize];
        slots[rank] = own;
        Trailer { loss: loss.unwrap_or(0.0) * self.share, slots }.push_to(&mut values);
        self.group.sum(&mut values)?;
        let Trailer { loss, slots } = Trailer::take_from(&mut values, size);
        check_places(rank, &slots)?;
        if slots.iter().any(|slot| slot.failed != 0.0) {
            return Err(self.error_of_all(error, &slots)?);
        }
        let has_loss = slots.iter().all(|slot| slot.lacks_loss == 0.0);
        Ok((values, has_loss.then_some(loss)))
    }

    /// This rank's own error, or what the first rank that has one says of it.
    fn error_of_all(&mut self, own: Option<Error>, slots: &[Slot]) -> Result<Error> {
        let mut message = [0; MESSAGE];
        if let Some(error) = &own {
            let words = match error {
                Error::Objective(source) => source.to_string(),
                error => error.to_string(),
            };
            // The end of a long one, and of its last letter, is cut off.
            let len = words.len().min(MESSAGE);
            message[..len].copy_from_slice(&words.as_bytes()[..len]);
        }
        let messages = self.group.gather(&message)?;
        Ok(own.unwrap_or_else(|| {
            let rank = slots.iter().position(|slot| slot.failed != 0.0).unwrap_or_default();
            let words = String::from_utf8_lossy(&messages[rank]);
            Error::objective(format!(
                "on rank {rank}: {}",
                words.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER])
            ))
        }))
    }
}

/// Whether all ranks have come to the same evaluation of the same step.
fn check_places(rank: usize, slots: &[Slot]) -> Result<()> {
    let place = |slot: &Slot| (slot.step, slot.evaluation, slot.is_product);
    let Some(other) = slots.iter().position(|slot| place(slot) != place(&slots[rank])) else {
        return Ok(());
    };
    let words = |slot: &Slot| {
        let step = slot.step[0] + 65_536.0 * slot.step[1];
        let what = if slot.is_product == 0.0 { "gradient" } else { "product" };
        format!("{what} {} of step {step}", slot.evaluation)
    };
    Err(Error::collective(format!(
        "rank {rank} is at {}, but rank {other} at {}; all ranks must take the same steps from the same state",
        words(&slots[rank]),
        words(&slots[other])
    )))
}

impl<O: Objective, C: Collective> Objective for DataParallel<O, C> {
    fn begin_step(&mut self, step: StepInfo) -> Result<()> {
        (self.step, self.evaluations) = (step.index, 0);
        // The other ranks must not wait for this one: they hear of it in the first evaluation.
        self.error = self.objective.begin_step(step).err();
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> Result<()> {
        let wants_loss = at.point == Point::Centre && self.objective.supplies_loss();
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => {
                self.objective.gradient(at.reborrow()).and_then(|()| at.read_written(wants_loss))
            }
        };
        // What a check finds unwritten stays so.
        let unwritten = unwritten(at.is_checked, &found);
        let (mut gradient, loss) = self.mean(at.layout, false, found)?;
        unwritten.into_iter().for_each(|i| gradient[i] = f32::from_bits(UNWRITTEN));
        if wants_loss {
            at.write_loss(loss.unwrap_or(f32::from_bits(UNWRITTEN)));
        }
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> Result<()> {
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self
                .objective
                .hessian_product(at.reborrow())
                .and_then(|()| Ok((at.read_product()?, None))),
        };
        let (product, _) = self.mean(at.layout, true, found)?;
        at.write(&product)
    }

    fn parts(&self) -> u32 {
        self.objective.parts()
    }

    fn supplies_loss(&self) -> bool {
        self.objective.supplies_loss()
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
