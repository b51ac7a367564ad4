//! [`DataParallel`]: the mean of the objectives of all ranks.

use super::Collective;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::objective::{Evaluation, HessianProduct, Objective, Part, Point, StepInfo, UNWRITTEN};

/// Bytes of what a rank can tell the others of its error.
const MESSAGE: usize = 512;

/// The mean of an objective over the ranks of a group, each of which evaluates it on its share of the batch.
///
/// Every rank has an optimizer of its own, made alike: the same initial parameters, layout, settings, seeds and
/// [`Tuning`](crate::Tuning), on a device of the same kind with the same driver. It calls the same methods in the same order.
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
/// Ranks that are at different evaluations, or whose objectives differ in [`Objective::supplies_loss`], get
/// [`Error::Collective`]. A check of the mean sees less than one of each rank's own objective
/// ([`Optimizer::check_objective`](crate::Optimizer::check_objective)): check that first.
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
pub struct DataParallel<O, C> {
    objective: O,
    group: C,
    /// What this rank counts; those of all add up to 1.
    share: f32,
    step: StepInfo,
    /// How often the ranks have met.
    meetings: u64,
    /// Of `begin_step`, until the ranks meet.
    error: Option<Error>,
    /// Why the group is of no more use.
    broken: Option<String>,
}

impl<O: std::fmt::Debug, C> std::fmt::Debug for DataParallel<O, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataParallel")
            .field("objective", &self.objective)
            .field("share", &self.share)
            .field("meetings", &self.meetings)
            .finish_non_exhaustive()
    }
}

/// What is asked of the objectives of all ranks.
#[derive(Clone, Copy)]
struct Asked {
    is_product: bool,
    is_probe: bool,
    is_checked: bool,
    supplies_loss: bool,
}

/// What each rank tells of itself, in numbers from 0 to 65 535, which any sum with zeros leaves as they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
struct Slot {
    /// How its objective failed: [`FAILED`], [`LOST`], or 0.
    failed: f32,
    /// 1 if it brings no loss.
    lacks_loss: f32,
    place: Place,
}

/// Where a rank is, which all have to agree on: the low and the high bits of numbers, and what is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
struct Place {
    meetings: [f32; 2],
    step: [f32; 2],
    part: [f32; 4],
    asked: f32,
}

/// By an error of its own, after which the step may be tried again; or by one that leaves the rank unable to go on.
const FAILED: f32 = 1.0;
const LOST: f32 = 2.0;

/// The low and the high bits of a number below 2³².
fn halves(number: u64) -> [f32; 2] {
    [f32::from(number as u16), f32::from((number >> 16) as u16)]
}

impl Place {
    fn new(meetings: u64, step: &StepInfo, asked: Asked) -> Self {
        let [index, of] = [step.part.index, step.part.of].map(|number| halves(number.into()));
        let Asked { is_product, is_probe, is_checked, supplies_loss } = asked;
        let asked = [is_product, is_probe, is_checked, supplies_loss, step.repeats_minibatch];
        Self {
            meetings: halves(meetings),
            step: halves(step.index),
            part: [index[0], index[1], of[0], of[1]],
            asked: asked.iter().fold(0.0, |sum, &bit| 2.0 * sum + f32::from(u8::from(bit))),
        }
    }

    fn words(&self) -> String {
        let whole = |halves: [f32; 2]| halves[0] + 65_536.0 * halves[1];
        let bits = self.asked as u32;
        let what = match (bits & 16 != 0, bits & 8 != 0) {
            (true, _) => "product",
            (false, true) => "gradient at a probe",
            (false, false) => "gradient at θ",
        };
        let loss = if bits & 2 != 0 { "with" } else { "without" };
        let (meetings, step) = (whole(self.meetings), whole(self.step));
        format!("a {what} of step {step}, evaluation {meetings} in all, {loss} losses")
    }
}

impl<O, C: Collective> DataParallel<O, C> {
    /// The mean over all ranks, which count alike.
    pub fn new(objective: O, group: C) -> Self {
        let share = 1.0 / group.size() as f32;
        let step = StepInfo { index: 0, repeats_minibatch: false, part: Part::WHOLE };
        Self { objective, group, share, step, meetings: 0, error: None, broken: None }
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

    /// The mean of what the ranks have found, or the error of one of them. The loss may be missing.
    fn mean(
        &mut self,
        layout: &Layout,
        asked: Asked,
        found: Result<(Vec<f32>, Option<f32>)>,
    ) -> Result<(Vec<f32>, Option<f32>)> {
        let (found, own) = match found {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(error)),
        };
        let met = match &self.broken {
            Some(reason) => Err(Error::collective(reason)),
            None => self.meet(layout, asked, found, own.as_ref()),
        };
        if let Err(Error::Collective { reason, .. }) = &met {
            self.broken.get_or_insert_with(|| reason.clone());
        }
        // A rank's own error says more than what comes of it.
        own.map_or(met, Err)
    }

    /// One sum over all ranks, and if one has failed a gathering of its words.
    fn meet(
        &mut self,
        layout: &Layout,
        asked: Asked,
        found: Option<(Vec<f32>, Option<f32>)>,
        own: Option<&Error>,
    ) -> Result<(Vec<f32>, Option<f32>)> {
        let (size, rank) = (self.group.size() as usize, self.group.rank() as usize);
        if self.meetings == 0 {
            // Where lengths differ, a group may hang or mix up elements.
            let lengths = self.group.gather(&(layout.len() as u64).to_le_bytes())?;
            if let Some(other) = lengths.iter().position(|length| *length != lengths[rank]) {
                return Err(Error::collective(format!(
                    "the layout of rank {other} is not that of rank {rank}"
                )));
            }
        }
        let place = Place::new(self.meetings, &self.step, asked);
        self.meetings += 1;
        let (mut values, loss) = found.unwrap_or_else(|| (vec![0.0; layout.len()], None));
        values.iter_mut().for_each(|value| *value *= self.share);
        let mut slots = vec![Slot::default(); size];
        slots[rank] = Slot {
            failed: own.map_or(0.0, |error| {
                if matches!(error, Error::Objective(_)) { FAILED } else { LOST }
            }),
            lacks_loss: f32::from(u8::from(loss.is_none())),
            place,
        };
        values.push(loss.unwrap_or(0.0) * self.share);
        values.extend_from_slice(bytemuck::cast_slice(&slots));
        self.group.sum(&mut values)?;
        let trailer = values.split_off(layout.len());
        let (loss, slots): (f32, Vec<Slot>) =
            (trailer[0], bytemuck::cast_slice(&trailer[1..]).to_vec());
        if let Some(other) = slots.iter().position(|slot| slot.place != place) {
            return Err(Error::collective(format!(
                "rank {rank} is at {}, but rank {other} at {}; all ranks must make the same calls from the same state",
                place.words(),
                slots[other].place.words()
            )));
        }
        if let Some(other) = slots.iter().position(|slot| slot.failed != 0.0) {
            return Err(self.error_of(other, slots[other].failed, own)?);
        }
        let has_loss = slots.iter().all(|slot| slot.lacks_loss == 0.0);
        Ok((values, has_loss.then_some(loss)))
    }

    /// What the first rank that has failed says of it.
    fn error_of(&mut self, rank: usize, failed: f32, own: Option<&Error>) -> Result<Error> {
        let mut message = [0; MESSAGE];
        if let Some(error) = own {
            let words = match error {
                Error::Objective(source) => source.to_string(),
                error => error.to_string(),
            };
            // What does not fit is cut off, in the middle of a letter if need be.
            let len = words.len().min(MESSAGE);
            message[..len].copy_from_slice(&words.as_bytes()[..len]);
        }
        let messages = self.group.gather(&message)?;
        let words = String::from_utf8_lossy(&messages[rank]);
        let words = words.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER]);
        let words = format!("on rank {rank}: {words}");
        Ok(if failed == LOST { Error::collective(words) } else { Error::objective(words) })
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
        let wants_loss = !asked.is_probe && supplies_loss;
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self.objective.gradient(at.reborrow()),
        };
        let found = match found {
            Ok(()) => at.read_written(wants_loss),
            // What was recorded before it runs on all ranks, so that they stay alike.
            Err(error) => Err(at.submit().err().unwrap_or(error)),
        };
        // What a check finds unwritten stays so.
        let unwritten = unwritten(at.is_checked, &found);
        let (mut gradient, loss) = self.mean(at.layout, asked, found)?;
        unwritten.into_iter().for_each(|i| gradient[i] = f32::from_bits(UNWRITTEN));
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
        let (product, _) = self.mean(at.layout, asked, found)?;
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
