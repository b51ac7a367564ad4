//! [`PendingSteps`]: the steps that the user has recorded and may yet submit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kernels::gpu_types::STEP_SLOTS;

/// Which steps have been recorded into encoders of the user and have not finished. wgpu does not tell when an
/// encoder is submitted, only when its work has finished, or that it was dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingSteps(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Their indices, each with whether the step turns N.
    open: BTreeMap<u64, bool>,
    /// Whether a step that turns N has finished, or was submitted by the optimizer.
    turned: bool,
}

/// One of them; dropped with its encoder if that is never submitted.
pub(super) struct PendingStep {
    steps: PendingSteps,
    index: u64,
}

impl PendingStep {
    /// Says that the step has finished.
    pub(super) fn finish(self) {
        let mut inner = self.steps.lock();
        let turns = inner.open.remove(&self.index).unwrap_or(false);
        inner.turned |= turns;
    }
}

impl Drop for PendingStep {
    fn drop(&mut self) {
        self.steps.lock().open.remove(&self.index);
    }
}

impl PendingSteps {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step that the user is about to get.
    pub(super) fn add(&self, index: u64, turns: bool) -> PendingStep {
        self.lock().open.insert(index, turns);
        PendingStep { steps: self.clone(), index }
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
        inner.turned || inner.open.values().any(|&turns| turns)
    }

    /// Says whether a step that is submitted has turned N.
    pub(super) fn set_turned(&self, turned: bool) {
        self.lock().turned = turned;
    }
}
