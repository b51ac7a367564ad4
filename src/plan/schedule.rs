//! [`Events`]: which steps are events, and what kind of step each is; and the looks of
//! [`Schedule::OnPlateau`](crate::Schedule::OnPlateau) at what earlier steps have found.

use serde::{Deserialize, Serialize};

use super::{RateMeasurement, StepForm, StepKind};
use crate::config::{
    Config, Correction, CurvatureRate, Mode, OnPlateau, RateProbe, Schedule, Translation,
};
use crate::kernels::gpu_types::{Record, SKIPPED};

/// Which steps are events, and which are corrected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    /// `None` without a dimer.
    schedule: Option<Schedule>,
    correction: Correction,
    pub(crate) seeks: Mode,
    /// `None` with a fixed learning rate.
    rate: Option<CurvatureRate>,
}

impl Events {
    pub(crate) fn new(config: &Config) -> Self {
        let dimer = config.dimer.as_ref();
        Self {
            schedule: dimer.map(|dimer| dimer.schedule),
            correction: dimer
                .filter(|dimer| dimer.translation != Translation::None)
                .map_or(Correction::EventsOnly, |dimer| dimer.correction),
            seeks: dimer.map_or(Mode::Softest, |dimer| dimer.seeks),
            rate: config.learning_rate.curvature(),
        }
    }

    /// Whether step `index` is an event, if its number alone decides that.
    pub(crate) fn is_event(&self, index: u64) -> Option<bool> {
        match self.schedule {
            None => Some(false),
            Some(Schedule::Every(interval)) => {
                Some((index + 1).is_multiple_of(u64::from(interval)))
            }
            Some(Schedule::OnPlateau(_)) => None,
        }
    }

    /// What a step does with the dimer; `turned` says whether an event has turned N before.
    pub(crate) fn kind(&self, event: bool, turned: bool) -> StepKind {
        match (self.schedule, self.correction) {
            (Some(_), _) if event => StepKind::Event,
            (Some(_), Correction::EveryStep) if turned => StepKind::Corrected,
            _ => StepKind::Base,
        }
    }

    /// Whether there is a step of this form.
    pub(super) fn has(&self, form: StepForm) -> bool {
        let measured = match (self.rate, form.rate) {
            (None, rate) => rate == RateMeasurement::None,
            (Some(settings), RateMeasurement::None) => {
                settings.interval
                    > if settings.probe == RateProbe::RepeatedMinibatch { 2 } else { 1 }
            }
            (Some(settings), RateMeasurement::FirstHalf) => {
                settings.probe == RateProbe::RepeatedMinibatch
            }
            (Some(_), RateMeasurement::Complete) => true,
        };
        measured && self.reach_kind(form.kind)
    }

    fn reach_kind(&self, kind: StepKind) -> bool {
        let always = matches!(self.schedule, Some(Schedule::Every(1)));
        match kind {
            StepKind::Base => !always,
            StepKind::Corrected => {
                self.schedule.is_some() && !always && self.correction == Correction::EveryStep
            }
            StepKind::Event => self.schedule.is_some(),
            StepKind::Rotation => false,
        }
    }

    /// The settings of the schedule that looks for plateaus, if it is that one.
    pub(crate) fn on_plateau(&self) -> Option<OnPlateau> {
        match self.schedule {
            Some(Schedule::OnPlateau(settings)) => Some(settings),
            _ => None,
        }
    }
}

/// What a running scale keeps from one look to the next.
const MEMORY: f64 = 0.99;

/// Tells from what the looks so far have found whether the loss is flat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlateauDetector {
    gradient_scale: f64,
    progress_scale: f64,
    loss: Option<f64>,
    /// Events seen by the last look.
    events: u32,
    /// Halvings and doublings of the wait.
    pub doublings: u32,
    flat: bool,
}

impl PlateauDetector {
    /// `ratio` is the longest wait divided by the shortest.
    pub(crate) fn take_in(&mut self, records: &[Record], share: f64, seeks: Mode, ratio: u64) {
        let applied = || records.iter().filter(|record| record.status & SKIPPED == 0);
        let Some(last) = applied().next_back() else { return };
        // What is not finite says nothing of a slope, and a running scale would keep it for good; nor is a loss that
        // no objective has written.
        let mean = |value: fn(&Record) -> f32| {
            let values = applied().map(value).filter(|value| value.is_finite());
            let (sum, count) = values
                .fold((0.0, 0_u32), |(sum, count), value| (sum + f64::from(value), count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        self.flat = false;
        if let Some(gradient) = mean(|record| record.gradient_norm) {
            self.gradient_scale = (MEMORY * self.gradient_scale).max(gradient);
            self.flat = gradient <= share * self.gradient_scale;
        }
        if let Some(loss) = mean(|record| record.loss) {
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
            let curvature = seeks.sign() * f64::from(last.curvature_mean);
            let found = curvature + 2.0 * f64::from(last.curvature_error) < 0.0;
            self.doublings = if found { 0 } else { self.doublings + 1 };
            self.doublings = self.doublings.min(ratio.ilog2() + 1);
        }
        self.events = last.events;
    }

    pub(crate) fn wait(&self, shortest: u64, longest: u64) -> u64 {
        if self.flat { (shortest << self.doublings).min(longest) } else { longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gpu_types::UNWRITTEN;
    use bytemuck::Zeroable;

    fn records(loss: f32, gradient_norm: f32, curvature_mean: f32, events: u32) -> [Record; 2] {
        [Record { loss, gradient_norm, curvature_mean, events, ..Record::zeroed() }; 2]
    }

    /// A slope, then a plateau on which events find nothing, then one that curves down.
    #[test]
    fn waits_longer_where_events_find_nothing() {
        let mut detector = PlateauDetector::default();
        let mut look = |loss, norm, curvature, events| {
            detector.take_in(&records(loss, norm, curvature, events), 0.1, Mode::Softest, 20);
            detector.wait(10, 200)
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

    /// Without a loss the gradient norm alone decides, and skipped steps do not count.
    #[test]
    fn looks_at_gradients_where_there_is_no_loss() {
        let mut detector = PlateauDetector::default();
        let mut look = |norm| {
            let [record, mut skipped] = records(f32::from_bits(UNWRITTEN), norm, 0.5, 1);
            skipped.status = SKIPPED;
            skipped.gradient_norm = f32::NAN;
            detector.take_in(&[record, skipped], 0.1, Mode::Softest, 20);
            detector.flat
        };
        assert!(!look(1.0));
        assert!(!look(0.2));
        assert!(look(0.05));
    }
}
