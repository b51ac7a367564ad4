//! [`DimerMetric`]: what the optimizer has found, for the dashboard of Burn's trainer.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use dimer::{Mode, Telemetry};

/// What the optimizer of a [`DimerStrategy`](super::DimerStrategy) has found, for the dashboard and the logs of Burn's trainer:
/// register it with `metric_train_numeric`. It shows the newest record that has arrived, and waits for none.
#[derive(Clone, Debug)]
pub struct DimerMetric {
    kind: Kind,
    latest: Latest,
    /// What was shown last, and whether it was resolved.
    shown: Option<(f64, bool)>,
}

/// What has arrived from the optimizer, for metrics on another thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest(Arc<Mutex<Found>>);

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    curvature: Option<f32>,
    is_resolved: bool,
    learning_rate: Option<f32>,
    skipped_steps: u64,
    gradient_evaluations: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Curvature(Mode),
    LearningRate,
    SkippedSteps,
    GradientEvaluations,
}

impl Latest {
    pub(crate) fn metric(&self, kind: Kind) -> DimerMetric {
        DimerMetric { kind, latest: self.clone(), shown: None }
    }

    /// Takes in what has arrived.
    pub(crate) fn update(&self, records: &[Telemetry], gradient_evaluations: f64) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.gradient_evaluations = gradient_evaluations;
        if let Some(last) = records.last() {
            found.learning_rate = Some(last.learning_rate);
            found.skipped_steps = last.skipped_steps.into();
        }
        if let Some(event) = records.iter().rev().find(|record| record.event) {
            found.curvature = Some(event.curvature);
            found.is_resolved = event.resolved;
        }
    }

    /// Forgets what an earlier training has found.
    pub(crate) fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found::default();
    }

    fn get(&self) -> Found {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metric for DimerMetric {
    type Input = ();

    fn name(&self) -> MetricName {
        let name = match self.kind {
            Kind::Curvature(Mode::Stiffest) => "Sharpness",
            Kind::Curvature(_) => "Curvature",
            Kind::LearningRate => "Optimizer Learning Rate",
            Kind::SkippedSteps => "Skipped Steps",
            Kind::GradientEvaluations => "Gradient Evaluations",
        };
        Arc::new(name.to_owned())
    }

    fn description(&self) -> Option<String> {
        let description = match self.kind {
            Kind::Curvature(Mode::Stiffest) => {
                "The largest curvature, of what the last event has evaluated, and whether it is resolved"
            }
            Kind::Curvature(_) => {
                "The curvature along the dimer, of what the last event has evaluated, and whether it is resolved"
            }
            Kind::LearningRate => {
                "The learning rate of the newest step that is known, from curvature where it comes from there, with its factor"
            }
            Kind::SkippedSteps => {
                "Steps that were skipped, for instance since the gradient was not finite"
            }
            Kind::GradientEvaluations => "Gradients so far, in those of a whole minibatch",
        };
        Some(description.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: false }.into()
    }

    fn update(
        &mut self,
        _item: &(),
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let found = self.latest.get();
        let value = match self.kind {
            Kind::Curvature(_) => found.curvature.map(f64::from),
            Kind::LearningRate => found.learning_rate.map(f64::from),
            Kind::SkippedSteps => Some(found.skipped_steps as f64),
            Kind::GradientEvaluations => Some(found.gradient_evaluations),
        };
        self.shown = value.map(|value| (value, found.is_resolved));
        Ok(self.entry(NumericEntry::Value))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(NumericEntry::Final))
    }

    fn clear(&mut self) {
        self.shown = None;
    }
}

impl DimerMetric {
    /// What is shown, as a number of this kind.
    fn entry(&self, number: fn(f64) -> NumericEntry) -> SerializedEntry {
        let Some((value, is_resolved)) = self.shown else {
            return SerializedEntry::not_available(None);
        };
        let formatted = match self.kind {
            Kind::Curvature(_) if is_resolved => format!("{value:.3e}, resolved"),
            Kind::Curvature(_) => format!("{value:.3e}, not resolved"),
            Kind::LearningRate => format!("{value:.3e}"),
            Kind::SkippedSteps | Kind::GradientEvaluations => format!("{value}"),
        };
        SerializedEntry::new(formatted, number(value).serialize())
    }
}

impl Numeric for DimerMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.shown.map(|(value, _)| NumericEntry::Value(value))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.shown.map_or(f64::NAN, |(value, _)| value))
    }
}
