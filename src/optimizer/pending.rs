//! [`PendingSteps`]: the steps that the user has recorded and may yet submit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::gpu::{Gpu, PendingRead, Wait};
use crate::kernels::gpu_types::{Record, STEP_SLOTS};
use crate::state::State;

/// Which steps have been recorded into encoders of the user and have not finished. wgpu does not tell when an
/// encoder is submitted, only when its work has finished, or that it was dropped; and it tells late if another thread
/// polls the device. The records on the GPU tell at once.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingSteps(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By their indices.
    open: BTreeMap<u64, Open>,
    /// How many there have been.
    count: u64,
    /// Whether a step that turns N has finished, or was submitted by the optimizer.
    turned: bool,
    /// Whether the loss of a step that was not taken may lie where the next one writes its own.
    loss_is_stale: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Tells it from a later step of the same index, after a checkpoint was loaded.
    number: u64,
    /// Whether it turns N.
    turns: bool,
}

/// One of them; dropped with its encoder if that is never submitted.
pub(super) struct PendingStep {
    steps: PendingSteps,
    index: u64,
    number: u64,
}

impl PendingStep {
    /// Says that the step has finished.
    pub(super) fn finish(self) {
        let mut inner = self.steps.lock();
        let turns = self.remove(&mut inner).is_some_and(|open| open.turns);
        inner.turned |= turns;
    }

    /// Takes it out, if it is still there.
    fn remove(&self, inner: &mut Inner) -> Option<Open> {
        inner.open.get(&self.index).filter(|open| open.number == self.number)?;
        inner.open.remove(&self.index)
    }
}

impl Drop for PendingStep {
    fn drop(&mut self) {
        let mut inner = self.steps.lock();
        let is_given_up = self.remove(&mut inner).is_some();
        inner.loss_is_stale |= is_given_up;
    }
}

impl PendingSteps {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step that the user is about to get.
    pub(super) fn add(&self, index: u64, turns: bool) -> PendingStep {
        let mut inner = self.lock();
        inner.count += 1;
        let number = inner.count;
        inner.open.insert(index, Open { number, turns });
        PendingStep { steps: self.clone(), index, number }
    }

    /// Waits for those that have been submitted, so that only others are left.
    pub(super) async fn settle(&self, gpu: &Gpu, state: &State, wait: Wait) -> Result<()> {
        if let Some((first, read)) = self.read_records(gpu, state)? {
            self.finish_written(first, &gpu.finish_read(&read, wait).await?);
        }
        Ok(())
    }

    /// Asks for the records from the first of them to the last.
    fn read_records(&self, gpu: &Gpu, state: &State) -> Result<Option<(u64, PendingRead)>> {
        let (first, last) = {
            let inner = self.lock();
            let Some((&first, _)) = inner.open.first_key_value() else { return Ok(None) };
            (first, inner.open.last_key_value().map_or(first, |(&last, _)| last))
        };
        Ok(Some((first, gpu.start_read(&state.records(first, last + 1))?)))
    }

    /// Takes out those whose records are there.
    fn finish_written(&self, first: u64, bytes: &[u8]) {
        let records: Vec<Record> = bytemuck::pod_collect_to_vec(bytes);
        let mut inner = self.lock();
        for (step, record) in (first..).zip(records) {
            if record.belongs_to(step..step + 1)
                && let Some(open) = inner.open.remove(&step)
            {
                inner.turned |= open.turns;
            }
        }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<u64> {
        self.lock().open.first_key_value().map(|(&index, _)| index)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.lock().open.len() as u32
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        self.lock().open.contains_key(&index)
    }

    /// Whether one of them holds the slot of hyperparameters that step `index` needs.
    pub(super) fn hold_slot(&self, index: u64) -> bool {
        index.checked_sub(STEP_SLOTS.into()).is_some_and(|before| self.contains(before))
    }

    /// Whether a step has turned N, or will once its encoder is submitted.
    pub(super) fn turned(&self) -> bool {
        let inner = self.lock();
        inner.turned || inner.open.values().any(|open| open.turns)
    }

    /// Says that the loss of a step that was not taken may lie where the next one writes its own.
    pub(super) fn set_loss_is_stale(&self) {
        self.lock().loss_is_stale = true;
    }

    /// Whether it may, of which the caller takes care.
    pub(super) fn take_loss_is_stale(&self) -> bool {
        std::mem::take(&mut self.lock().loss_is_stale)
    }

    pub(super) fn set_turned(&self, turned: bool) {
        self.lock().turned = turned;
    }
}
