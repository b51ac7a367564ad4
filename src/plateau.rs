//! The schedule that probes where the loss is flat; see
//! [`Schedule::OnPlateau`](crate::Schedule::OnPlateau).

use serde::{Deserialize, Serialize};

use crate::config::{Config, Schedule};
use crate::error::Result;
use crate::gpu::{Gpu, PendingRead};
use crate::state::{Record, SKIPPED, State};

/// What a running scale keeps from one look to the next.
const MEMORY: f64 = 0.99;

/// Decides step by step, from records that were asked for one look before.
#[derive(Debug)]
pub(crate) struct Plateau {
    shortest: u64,
    longest: u64,
    share: f64,
    /// The step that was decided last, so that a step taken again gets the same answer.
    decided: Option<(u64, bool)>,
    /// The records of the steps before the last look.
    pending: Option<Window>,
    looks: Looks,
    last_event: u64,
}

/// Records that a look has asked for.
#[derive(Debug)]
enum Window {
    Asked(PendingRead),
    Arrived(Vec<u8>),
}

/// What a checkpoint holds of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    looks: Looks,
    last_event: u64,
    window: Option<Vec<u8>>,
}

impl Saved {
    /// Whether a schedule before step `index` can have been so.
    pub(crate) fn is_possible(&self, index: u64) -> bool {
        self.last_event <= index && self.looks.doublings <= u32::BITS
    }
}

/// What the looks so far have found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Looks {
    gradient_scale: f64,
    progress_scale: f64,
    loss: Option<f64>,
    /// Events seen by the last look.
    events: u32,
    /// Halvings and doublings of the wait.
    doublings: u32,
    flat: bool,
}

impl Plateau {
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let Schedule::OnPlateau { shortest, longest, share } = config.dimer.as_ref()?.schedule
        else {
            return None;
        };
        Some(Self {
            shortest: shortest.into(),
            longest: longest.into(),
            share,
            decided: None,
            pending: None,
            looks: Looks::default(),
            last_event: 0,
        })
    }

    /// Whether step `index` is an event.
    pub(crate) fn is_event(
        &mut self,
        gpu: &Gpu,
        state: &State,
        index: u64,
        supplies_loss: bool,
    ) -> Result<bool> {
        if let Some((step, event)) = self.decided
            && step == index
        {
            return Ok(event);
        }
        let event = index > 0
            && index.is_multiple_of(self.shortest)
            && self.look(gpu, state, index, supplies_loss)?;
        if event {
            self.last_event = index;
        }
        self.decided = Some((index, event));
        Ok(event)
    }

    /// Takes in the records of the last look, asks for the next ones, and decides.
    fn look(&mut self, gpu: &Gpu, state: &State, index: u64, supplies_loss: bool) -> Result<bool> {
        self.arrive(gpu)?;
        let next = gpu.start_read(&state.records(index - self.shortest, index))?;
        if let Some(Window::Arrived(bytes)) = &self.pending {
            let records: Vec<Record> = bytemuck::pod_collect_to_vec(bytes);
            self.looks.take_in(&records, self.share, supplies_loss, self.longest / self.shortest);
        }
        self.pending = Some(Window::Asked(next));
        let wait = self.looks.wait(self.shortest, self.longest);
        Ok(index - self.last_event >= wait)
    }

    /// Waits for the records that were asked for, which stay until the next look has begun: one that
    /// fails is repeated.
    fn arrive(&mut self, gpu: &Gpu) -> Result<()> {
        if let Some(Window::Asked(read)) = &self.pending {
            self.pending = Some(Window::Arrived(gpu.finish_read(read)?));
        }
        Ok(())
    }

    /// Steps of which a look needs the records.
    pub(crate) fn window(&self) -> u64 {
        self.shortest
    }

    pub(crate) fn save(&mut self, gpu: &Gpu) -> Result<Saved> {
        self.arrive(gpu)?;
        let window = match &self.pending {
            Some(Window::Arrived(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        Ok(Saved { looks: self.looks, last_event: self.last_event, window })
    }

    pub(crate) fn load(&mut self, saved: Saved) {
        self.looks = saved.looks;
        self.last_event = saved.last_event;
        self.pending = saved.window.map(Window::Arrived);
        self.decided = None;
    }
}

impl Looks {
    /// `ratio` is how many times the longest wait is the shortest.
    fn take_in(&mut self, records: &[Record], share: f64, supplies_loss: bool, ratio: u64) {
        let applied = || records.iter().filter(|record| record.status & SKIPPED == 0);
        let count = applied().count() as f64;
        let Some(last) = applied().next_back() else { return };
        let mean = |value: fn(&Record) -> f32| {
            applied().map(|record| f64::from(value(record))).sum::<f64>() / count
        };
        let gradient = mean(|record| record.gradient_norm);
        self.gradient_scale = (MEMORY * self.gradient_scale).max(gradient);
        self.flat = gradient <= share * self.gradient_scale;
        if supplies_loss {
            let loss = mean(|record| record.loss);
            if let Some(before) = self.loss {
                let progress = before - loss;
                self.progress_scale = (MEMORY * self.progress_scale).max(progress.abs());
                self.flat |= progress <= share * self.progress_scale;
            }
            self.loss = Some(loss);
        }
        if !self.flat {
            self.doublings = self.doublings.saturating_sub(1);
        } else if last.events != self.events {
            let negative = last.curvature_mean + 2.0 * last.curvature_error < 0.0;
            self.doublings = if negative { 0 } else { self.doublings + 1 };
            self.doublings = self.doublings.min(ratio.ilog2() + 1);
        }
        self.events = last.events;
    }

    fn wait(&self, shortest: u64, longest: u64) -> u64 {
        if self.flat { (shortest << self.doublings).min(longest) } else { longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn records(loss: f32, gradient_norm: f32, curvature_mean: f32, events: u32) -> [Record; 2] {
        [Record { loss, gradient_norm, curvature_mean, events, ..Record::zeroed() }; 2]
    }

    /// A slope, then a plateau on which events find nothing, then one that curves down.
    #[test]
    fn waits_longer_where_events_find_nothing() {
        let mut looks = Looks::default();
        let mut look = |loss, norm, curvature, events| {
            looks.take_in(&records(loss, norm, curvature, events), 0.1, true, 20);
            looks.wait(10, 200)
        };
        assert_eq!(look(5.0, 1.0, 0.0, 1), 200);
        assert_eq!(look(4.0, 1.0, 0.0, 1), 200);
        assert_eq!(look(3.0, 1.0, 0.0, 1), 200);
        assert_eq!(look(2.95, 0.5, 0.5, 1), 10, "progress fell below a tenth");
        assert_eq!(look(2.94, 0.5, 0.5, 2), 20, "an event that found a valley");
        assert_eq!(look(2.94, 0.5, 0.5, 2), 20, "no event since");
        assert_eq!(look(2.94, 0.5, 0.5, 3), 40);
        assert_eq!(look(2.0, 0.5, 0.5, 3), 200, "a slope again, and a doubling forgotten");
        assert_eq!(look(1.99, 0.5, 0.5, 3), 20);
        assert_eq!(look(1.99, 0.5, -0.5, 4), 10, "a way down");
        for events in 5..20 {
            assert!(look(1.99, 0.5, 0.5, events) <= 200);
        }
    }

    /// Without a loss the gradient norm alone tells, and skipped steps do not count.
    #[test]
    fn looks_at_gradients_where_there_is_no_loss() {
        let mut looks = Looks::default();
        let mut look = |norm| {
            let [record, mut skipped] = records(0.0, norm, 0.5, 1);
            skipped.status = SKIPPED;
            skipped.gradient_norm = f32::NAN;
            looks.take_in(&[record, skipped], 0.1, false, 20);
            looks.flat
        };
        assert!(!look(1.0));
        assert!(!look(0.2));
        assert!(look(0.05));
    }
}
