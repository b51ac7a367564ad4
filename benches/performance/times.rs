//! The measured times of every batch, by what was timed.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    group: &'static str,
    name: &'static str,
    /// Binary logarithm of the number of parameters, where it varies.
    size: u32,
}

impl Key {
    pub fn new(group: &'static str, name: &'static str, size: u32) -> Self {
        Self { group, name, size }
    }
}

/// Nanoseconds of every batch of the run.
#[derive(Default)]
pub struct Times(RefCell<BTreeMap<Key, Vec<f64>>>);

impl Times {
    pub fn note(&self, key: Key, nanoseconds: f64) {
        self.0.borrow_mut().entry(key).or_default().push(nanoseconds);
    }

    /// The median, if it was measured at all: a filter on the command line leaves parts out.
    pub fn median(&self, group: &'static str, name: &str, size: u32) -> Option<f64> {
        let times = self.0.borrow();
        let (_, found) = times
            .iter()
            .find(|(key, _)| key.group == group && key.name == name && key.size == size)?;
        let mut sorted = found.clone();
        sorted.sort_by(f64::total_cmp);
        Some(sorted[sorted.len() / 2])
    }
}
