//! Training in Burn's own trainer, [`SupervisedTraining`](burn::train::SupervisedTraining): [`DimerStrategy`].

mod epoch;
mod fit;
mod metric;
mod record;
mod strategy;

pub use metric::DimerMetric;
pub use strategy::DimerStrategy;
