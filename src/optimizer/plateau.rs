//! [`Plateau`]: the schedule that probes where the loss is flat, based on what earlier steps have found; see
//! [`Schedule::OnPlateau`](crate::Schedule::OnPlateau).

use serde::{Deserialize, Serialize};

use crate::config::{Mode, OnPlateau};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, PendingRead, Wait};
use crate::kernels::gpu_types::Record;
use crate::plan::Events;
use crate::plan::schedule::PlateauDetector;
use crate::state::State;

use super::pending::PendingSteps;

/// Decides step by step, from records that were asked for one look earlier.
#[derive(Debug)]
pub(super) struct Plateau {
    seeks: Mode,
    shortest: u64,
    longest: u64,
    share: f64,
    /// The step that was decided last, so that a step taken again gets the same answer.
    decided: Option<(u64, bool)>,
    /// The records of the steps before the last look.
    pending: Option<Window>,
    detector: PlateauDetector,
    last_event: u64,
}

/// What a look has to know of the steps before step `index`.
#[derive(Clone, Copy)]
pub(super) struct StepsBefore<'a> {
    pub index: u64,
    pub pending: &'a PendingSteps,
}

impl StepsBefore<'_> {
    /// Makes sure that all of them are submitted, so that their records are there to be read.
    async fn settle(self, gpu: &Gpu, state: &State, wait: Wait) -> Result<()> {
        self.pending.settle(gpu, state, wait).await?;
        match self.pending.first() {
            Some(_) => Err(Error::Unsupported {
                what: "a look of Schedule::OnPlateau",
                with: "steps before it that are recorded but not submitted",
                instead: "submit them at least every `shortest` steps, before the step whose number is a \
                          multiple of that, or set `dimer.schedule` to Every",
            }),
            None => Ok(()),
        }
    }
}

/// Records that a look has asked for.
#[derive(Debug)]
enum Window {
    Asked(PendingRead),
    Arrived(Vec<u8>),
}

/// What a checkpoint holds of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    #[serde(rename = "looks")]
    detector: PlateauDetector,
    last_event: u64,
    window: Option<Vec<u8>>,
}

impl Saved {
    /// The same without the records of the last look.
    pub(crate) fn without_window(self) -> Self {
        Self { window: None, ..self }
    }

    /// The same where no objective has written a loss.
    pub(crate) fn without_loss(self) -> Self {
        let window = self.window.map(|bytes| {
            let mut records: Vec<Record> = bytemuck::pod_collect_to_vec(&bytes);
            records.iter_mut().for_each(Record::forget_loss);
            bytemuck::cast_slice(&records)[..bytes.len()].to_vec()
        });
        Self { window, ..self }
    }

    /// Whether a schedule can have been in this state before step `index`.
    pub(crate) fn is_possible(&self, index: u64) -> bool {
        self.last_event <= index && self.detector.doublings <= u32::BITS
    }
}

impl Plateau {
    /// None unless the schedule is one that looks for plateaus.
    pub(super) fn new(events: &Events) -> Option<Self> {
        let OnPlateau { shortest, longest, share } = events.on_plateau()?;
        Some(Self {
            seeks: events.seeks,
            shortest: shortest.into(),
            longest: longest.into(),
            share,
            decided: None,
            pending: None,
            detector: PlateauDetector::default(),
            last_event: 0,
        })
    }

    /// Whether step `index` is an event.
    pub(crate) async fn is_event(
        &mut self,
        gpu: &Gpu,
        state: &State,
        steps: StepsBefore<'_>,
        wait: Wait,
    ) -> Result<bool> {
        let index = steps.index;
        if let Some((step, event)) = self.decided
            && step == index
        {
            return Ok(event);
        }
        let looks = index > 0 && index.is_multiple_of(self.shortest);
        let event = looks && self.look(gpu, state, steps, wait).await?;
        if event {
            self.last_event = index;
        }
        self.decided = Some((index, event));
        Ok(event)
    }

    /// Takes in the records of the last look, asks for the next ones, and decides.
    async fn look(
        &mut self,
        gpu: &Gpu,
        state: &State,
        steps: StepsBefore<'_>,
        wait: Wait,
    ) -> Result<bool> {
        let index = steps.index;
        steps.settle(gpu, state, wait).await?;
        self.arrive(gpu, wait).await?;
        let next = gpu.start_read(&state.records(index - self.shortest, index))?;
        if let Some(Window::Arrived(bytes)) = &self.pending {
            let mut records: Vec<Record> = bytemuck::pod_collect_to_vec(bytes);
            // Steps whose encoder was dropped have left older records there.
            let first = index.saturating_sub(2 * self.shortest);
            records.retain(|record| record.belongs_to(first..first + self.shortest));
            let ratio = self.longest / self.shortest;
            self.detector.take_in(&records, self.share, self.seeks, ratio);
        }
        self.pending = Some(Window::Asked(next));
        let wait = self.detector.wait(self.shortest, self.longest);
        Ok(index - self.last_event >= wait)
    }

    /// Waits for the records that were asked for, which stay until the next look has begun: a look that fails
    /// is repeated.
    async fn arrive(&mut self, gpu: &Gpu, wait: Wait) -> Result<()> {
        if let Some(Window::Asked(read)) = &self.pending {
            let read = gpu.finish_read(read, wait).await;
            // What was abandoned never arrives, should the device be well after all.
            if matches!(read, Err(Error::DeviceLost { .. })) {
                self.pending = None;
            }
            self.pending = Some(Window::Arrived(read?));
        }
        Ok(())
    }

    /// The steps whose records a look needs.
    pub(crate) fn window(&self) -> u64 {
        self.shortest
    }

    pub(crate) async fn save(&mut self, gpu: &Gpu, wait: Wait) -> Result<Saved> {
        self.arrive(gpu, wait).await?;
        let window = match &self.pending {
            Some(Window::Arrived(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        Ok(Saved { detector: self.detector, last_event: self.last_event, window })
    }

    pub(crate) fn load(&mut self, saved: Saved) {
        self.detector = saved.detector;
        self.last_event = saved.last_event;
        self.pending = saved.window.map(Window::Arrived);
        self.decided = None;
    }
}
