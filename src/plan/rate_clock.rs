//! [`RateClock`]: which steps measure a learning rate from curvature.

use serde::{Deserialize, Serialize};

use super::RateMeasurement;
use crate::config::{CurvatureRate, RateProbe};

/// Most steps of a burn-in whose measurements are lost again and again, as a multiple of its length.
const LONGEST_BURN_IN: u64 = 10;

/// Counts the steps that train; rotations do not count. In the burn-in every step measures that can, until as many
/// measurements are made as an undisturbed burn-in has. Only the GPU knows how many were, so it is asked where the burn-in
/// should end. One that is lost at its probe, outside the domain of the loss, counts: the next would be lost as well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateClock {
    settings: CurvatureRate,
    progress: Progress,
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    steps: u64,
    /// The first step after the burn-in, as far as is known.
    burn_in_end: u64,
    /// Whether it is known for good.
    is_known: bool,
    /// The record of the step before, if that was the first of two on one minibatch.
    pair: Option<u64>,
}

impl RateClock {
    pub(crate) fn new(settings: CurvatureRate) -> Self {
        let burn_in_end = settings.burn_in.into();
        let is_known = settings.burn_in_measurements() == 0;
        Self { settings, progress: Progress { steps: 0, burn_in_end, is_known, pair: None } }
    }

    /// What the next step does.
    pub(crate) fn measurement(&self) -> RateMeasurement {
        let Progress { steps, burn_in_end, pair, .. } = self.progress;
        match self.settings.probe {
            RateProbe::SeparateGradient if self.is_due() || steps < burn_in_end => {
                RateMeasurement::Complete
            }
            RateProbe::RepeatedMinibatch if pair.is_some() => RateMeasurement::Complete,
            RateProbe::RepeatedMinibatch if self.is_due() || steps + 1 < burn_in_end => {
                RateMeasurement::FirstHalf
            }
            _ => RateMeasurement::None,
        }
    }

    fn is_due(&self) -> bool {
        self.progress.steps.is_multiple_of(self.settings.interval.into())
    }

    /// The record of the first of two steps on one minibatch, if the next one is the second.
    pub(crate) fn pair(&self) -> Option<u64> {
        self.progress.pair
    }

    /// Whether the next step is the second of two on one minibatch.
    pub(crate) fn in_pair(&self) -> bool {
        self.progress.pair.is_some()
    }

    /// Whether the next step hangs on how many measurements were made. Where that cannot be asked, the next step that
    /// is due asks again.
    pub(crate) fn asks(&self) -> bool {
        let Progress { steps, burn_in_end, is_known, pair } = self.progress;
        let is_end = steps == burn_in_end || (steps > burn_in_end && self.is_due());
        !is_known && pair.is_none() && is_end
    }

    /// Ends the burn-in, or goes on with it for what was lost.
    pub(crate) fn take_in(&mut self, made: u32) {
        let missing = self.settings.burn_in_measurements().saturating_sub(made);
        let progress = &mut self.progress;
        let longest = LONGEST_BURN_IN * u64::from(self.settings.burn_in);
        let end = progress.steps + u64::from(missing) * self.settings.probe.steps();
        progress.burn_in_end = end.min(longest).max(progress.steps);
        progress.is_known = progress.burn_in_end == progress.steps;
    }

    /// Counts a step that did `measurement` and left record `index`.
    pub(crate) fn advance(&mut self, measurement: RateMeasurement, index: u64) {
        self.progress.steps += 1;
        self.progress.pair = (measurement == RateMeasurement::FirstHalf).then_some(index);
    }

    pub(crate) fn save(&self) -> Progress {
        self.progress
    }

    pub(crate) fn load(&mut self, progress: Progress) {
        self.progress = progress;
    }
}

impl Progress {
    /// Whether a clock can have been in this state before step `index`.
    pub(crate) fn is_possible(&self, index: u64) -> bool {
        self.steps <= index && self.pair.is_none_or(|pair| pair < index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBES: [RateProbe; 2] = [RateProbe::SeparateGradient, RateProbe::RepeatedMinibatch];

    /// The steps of the first `steps` at which a measurement is complete, where those for which `is_lost` are lost.
    fn measured(settings: CurvatureRate, steps: u64, is_lost: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut clock = RateClock::new(settings);
        let (mut all, mut valid) = (Vec::new(), 0);
        for index in 0..steps {
            if clock.asks() {
                clock.take_in(valid);
            }
            let measurement = clock.measurement();
            if measurement == RateMeasurement::Complete {
                all.push(index);
                valid += u32::from(!is_lost(index));
            }
            clock.advance(measurement, index);
        }
        all
    }

    #[test]
    fn an_undisturbed_burn_in_is_as_long_as_it_says() {
        for (burn_in, interval) in [(20, 50), (0, 50), (100, 50), (101, 50), (7, 2), (1, 3)] {
            for probe in PROBES {
                let settings = CurvatureRate { probe, burn_in, interval, ..Default::default() };
                let burn_in = u64::from(burn_in);
                let is_due = |step: u64| step.is_multiple_of(interval.into());
                let mut expected = Vec::new();
                let mut is_second = false;
                for step in 0..400 {
                    let measures = match probe {
                        RateProbe::SeparateGradient => is_due(step) || step < burn_in,
                        RateProbe::RepeatedMinibatch => is_second,
                    };
                    expected.extend(measures.then_some(step));
                    is_second = !is_second && (is_due(step) || step + 1 < burn_in);
                }
                assert_eq!(measured(settings, 400, |_| false), expected, "{settings:?}");
            }
        }
    }

    /// Whichever measurements are lost, as many are made up for.
    #[test]
    fn lost_measurements_are_made_up_for() {
        for probe in PROBES {
            let settings = CurvatureRate { probe, ..CurvatureRate::default() };
            let wanted = settings.burn_in_measurements() as usize;
            for lost in [1, 2, 7, 20, 33] {
                let all = measured(settings, 150, |step| step < lost);
                let valid = all.iter().filter(|&&step| step >= lost).count();
                let end = 20 + lost + lost % 2;
                let early = all.iter().filter(|&&step| (lost..end).contains(&step)).count();
                assert!(early >= wanted, "{probe:?}: {lost} lost, {early} by {end} of {all:?}");
                assert!(valid <= wanted + 4, "{probe:?}: {lost} lost, {valid}");
            }
        }
    }

    /// Where the steps before are not submitted yet, the next step that is due asks again.
    #[test]
    fn a_question_can_be_put_off() {
        let mut clock = RateClock::new(CurvatureRate::default());
        for index in 0..90 {
            assert_eq!(clock.asks(), [20, 50, 58].contains(&index), "{index}");
            if index == 50 {
                clock.take_in(12);
            }
            clock.advance(clock.measurement(), index);
        }
        let mut clock = RateClock::new(CurvatureRate::default());
        for index in 0..50 {
            clock.advance(clock.measurement(), index);
        }
        clock.take_in(12);
        for index in 50..150 {
            let measures = clock.measurement() == RateMeasurement::Complete;
            assert_eq!(measures, index < 58 || index == 100, "{index}");
            clock.advance(clock.measurement(), index);
        }
    }

    /// A burn-in in which nothing can be measured ends, and then every interval tries.
    #[test]
    fn a_burn_in_ends() {
        for probe in PROBES {
            let settings = CurvatureRate { probe, ..CurvatureRate::default() };
            let all = measured(settings, 1000, |_| true);
            let late = all.iter().filter(|&&step| step >= 200).count();
            assert_eq!(late, 16, "{probe:?}: {all:?}");
        }
    }
}
