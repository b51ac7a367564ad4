//! [`RepeatableBatches`]: minibatches, the last of which can be had again.

/// The minibatches of an iterator, such as that of a data loader of Burn, for a training in which some steps use the
/// minibatch of the step before again ([`dimer::RateProbe::RepeatedMinibatch`]).
///
/// ```
/// use dimer_burn::RepeatableBatches;
///
/// let mut batches = RepeatableBatches::new(["first", "second"].into_iter());
/// assert_eq!(batches.next(false), Some("first"));
/// assert_eq!(batches.next(true), Some("first"));
/// assert_eq!(batches.next(false), Some("second"));
/// assert_eq!(batches.next(false), None);
/// ```
#[derive(Clone, Debug)]
pub struct RepeatableBatches<I: Iterator> {
    batches: I,
    last: Option<I::Item>,
}

impl<I: Iterator<Item: Clone>> RepeatableBatches<I> {
    /// The minibatches of `batches`, in order.
    pub fn new(batches: I) -> Self {
        Self { batches, last: None }
    }

    /// The last minibatch again if `repeats`, which is
    /// [`DimerOptimizer::repeats_minibatch`](crate::DimerOptimizer::repeats_minibatch), else the next one; `None`
    /// after the last.
    pub fn next(&mut self, repeats: bool) -> Option<I::Item> {
        if !repeats || self.last.is_none() {
            self.last = self.batches.next();
        }
        self.last.clone()
    }

    /// Goes on with other minibatches, such as those of the next epoch; the last one can still be had again.
    pub fn go_on_with(&mut self, batches: I) {
        self.batches = batches;
    }
}
