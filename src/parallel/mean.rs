//! [`GradientMean`]: the mean of what the ranks have found, or the error of one of them.

use super::Collective;
use super::agreement::{error_of_all, failure};
use crate::error::{Error, Result};
use crate::objective::{StepInfo, shares};

/// The mean of gradients over the ranks of a group, for steps by hand: see
/// [`ManualStep::write_mean`](crate::ManualStep::write_mean). For objectives there is
/// [`DataParallel`](crate::DataParallel), whose page says how ranks work together.
#[derive(Debug)]
pub struct GradientMean<C> {
    group: C,
    /// What this rank counts; those of all add up to 1.
    share: f32,
    /// How often the ranks have met.
    meetings: u64,
    /// Why the group is of no more use.
    broken: Option<String>,
}

/// What is asked of the objectives of all ranks.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub is_product: bool,
    pub is_probe: bool,
    pub is_checked: bool,
    pub supplies_loss: bool,
}

/// What each rank tells of itself, in numbers from 0 to 65 535, which any sum with zeros leaves as they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
struct Slot {
    /// How it has failed; see [`failure`].
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
    /// Of its kind and hyperparameters.
    checksum: [f32; 2],
    part: [f32; 4],
    asked: f32,
}

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
            checksum: halves(step.checksum.into()),
            part: [index[0], index[1], of[0], of[1]],
            asked: asked.iter().fold(0.0, |sum, &bit| 2.0 * sum + f32::from(u8::from(bit))),
        }
    }

    /// All that is compared.
    fn words(&self) -> String {
        let whole = |halves: &[f32]| halves[0] as u64 + ((halves[1] as u64) << 16);
        let bits = self.asked as u32;
        let [is_product, is_probe, is_checked, supplies_loss, repeats_minibatch] =
            [16, 8, 4, 2, 1].map(|bit| bits & bit != 0);
        let what = match (is_product, is_probe) {
            (true, _) => "product",
            (false, true) => "gradient at a probe",
            (false, false) => "gradient at θ",
        };
        let check = if is_checked { ", in a check" } else { "" };
        let loss = if supplies_loss { "with" } else { "without" };
        let repeats = if repeats_minibatch { ", which repeats its minibatch" } else { "" };
        let (meetings, step) = (whole(&self.meetings), whole(&self.step));
        let (part, of) = (whole(&self.part[..2]), whole(&self.part[2..]));
        let checksum = whole(&self.checksum);
        format!(
            "a {what} of step {step}{repeats}{check}, part {part} of {of}, {loss} losses, evaluation {meetings} in all, kind \
             of step and hyperparameters of checksum {checksum:08x}"
        )
    }
}

impl<C: Collective> GradientMean<C> {
    /// Over ranks that count alike.
    pub(crate) fn new(group: C) -> Self {
        let share = 1.0 / group.size() as f32;
        Self { group, share, meetings: 0, broken: None }
    }

    /// Makes this rank count as much as `weight` says, such as its number of samples: positive and finite. Only the ratios of
    /// all ranks' weights count; all ranks call this, and exchange them. Without it all count alike.
    ///
    /// # Errors
    /// [`Error::Collective`]; on all ranks [`Error::InvalidArgument`] if the weight of one is out of range. The ranks count
    /// as before then.
    pub fn set_weight(&mut self, weight: f64) -> Result<()> {
        let weights = self.group.gather(&weight.to_le_bytes())?;
        let weights: Vec<f64> =
            weights.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect();
        let shares = shares(&weights).map_err(|rank| Error::InvalidArgument {
            argument: "weight",
            value: format!("{:e} on rank {rank}", weights[rank]),
            expected: "positive and finite, and not vanishing beside the others",
        })?;
        self.share = shares[self.group.rank() as usize];
        Ok(())
    }

    /// The group.
    pub fn group(&self) -> &C {
        &self.group
    }

    /// The group, for what ranks do together besides.
    pub fn group_mut(&mut self) -> &mut C {
        &mut self.group
    }

    /// The group.
    pub fn into_group(self) -> C {
        self.group
    }

    /// The mean of what the ranks have found, a vector of `len` elements and perhaps a loss, or the error of one of them.
    pub(crate) fn of(
        &mut self,
        len: usize,
        step: &StepInfo,
        asked: Asked,
        found: Result<(Vec<f32>, Option<f32>)>,
    ) -> Result<(Vec<f32>, Option<f32>)> {
        let (found, own) = match found {
            Ok(found) => (found, None),
            Err(error) => ((vec![0.0; len], None), Some(error)),
        };
        let met = match &self.broken {
            Some(reason) => Err(Error::collective(reason)),
            None => self.meet(step, asked, found, own.as_ref()),
        };
        if let Err(Error::Collective { reason, .. }) = &met {
            self.broken.get_or_insert_with(|| reason.clone());
        }
        match (own, met) {
            (None, met) => met,
            // It must not be tried again.
            (Some(Error::Objective(source)), Err(Error::Collective { reason, .. })) => Err(
                Error::collective_from(format!("{reason}; and the objective of this rank"), source),
            ),
            // A rank's own error says more than what comes of it.
            (Some(own), _) => Err(own),
        }
    }

    /// One sum over all ranks, and if one has failed a gathering of its words.
    fn meet(
        &mut self,
        step: &StepInfo,
        asked: Asked,
        (mut values, loss): (Vec<f32>, Option<f32>),
        own: Option<&Error>,
    ) -> Result<(Vec<f32>, Option<f32>)> {
        let (size, rank) = (self.group.size() as usize, self.group.rank() as usize);
        let len = values.len();
        let place = Place::new(self.meetings, step, asked);
        self.meetings += 1;
        values.iter_mut().for_each(|value| *value *= self.share);
        let mut slots = vec![Slot::default(); size];
        slots[rank] = Slot {
            failed: failure(own).into(),
            lacks_loss: f32::from(u8::from(loss.is_none())),
            place,
        };
        values.reserve_exact(1 + size_of::<Slot>() / size_of::<f32>() * size);
        values.push(loss.unwrap_or(0.0) * self.share);
        values.extend_from_slice(bytemuck::cast_slice(&slots));
        self.group.sum(&mut values)?;
        let trailer = values.split_off(len);
        let (loss, slots): (f32, Vec<Slot>) =
            (trailer[0], bytemuck::cast_slice(&trailer[1..]).to_vec());
        if let Some(other) = slots.iter().position(|slot| slot.place != place) {
            return Err(Error::collective(format!(
                "rank {rank} is at {}, but rank {other} at {}; all ranks must make the same calls from the same state; \
                 `check_ranks` tells what differs",
                place.words(),
                slots[other].place.words()
            )));
        }
        let failures: Vec<u8> = slots.iter().map(|slot| slot.failed as u8).collect();
        if let Some(error) = error_of_all(&mut self.group, &failures, own)? {
            return Err(error);
        }
        let has_loss = slots.iter().all(|slot| slot.lacks_loss == 0.0);
        Ok((values, has_loss.then_some(loss)))
    }
}
