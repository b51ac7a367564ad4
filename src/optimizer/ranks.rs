//! Optimizers of several ranks that must stay alike.

use std::path::Path;

use serde_json::Value;

use super::Optimizer;
use super::checkpoint::{in_file, read};
use super::checkpoint_file::Checkpoint;
use super::snapshot::{Changes, Snapshot};
use crate::error::{Error, Result};
use crate::gpu::{Wait, block_on};
use crate::objective::Objective;
use crate::parallel::agreement::{Fact, agree, all_succeed};
use crate::parallel::{Collective, DataParallel, GradientMean};

impl Optimizer {
    /// The mean of `objective` over the ranks of `group`, each on its share of the batch, after
    /// [`Optimizer::check_ranks`]. All ranks call this. Lend what shall outlive an error: `&mut objective`, `&mut group`.
    ///
    /// # Errors
    /// Those of [`Optimizer::check_ranks`].
    pub fn data_parallel<O: Objective, C: Collective>(
        &mut self,
        objective: O,
        mut group: C,
    ) -> Result<DataParallel<O, C>> {
        self.check_ranks(&mut group)?;
        Ok(DataParallel::new(objective, group))
    }

    /// The mean of gradients over the ranks of `group`, for steps by hand
    /// ([`ManualStep::write_mean`](crate::ManualStep::write_mean)), after [`Optimizer::check_ranks`]. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::check_ranks`].
    pub fn gradient_mean<C: Collective>(&mut self, mut group: C) -> Result<GradientMean<C>> {
        self.check_ranks(&mut group)?;
        Ok(GradientMean::new(group))
    }

    /// Compares the optimizers of all ranks: version of this crate, device and driver, tuning, layout, settings, counters,
    /// and by checksums parameters, N, moments and all else that a checkpoint holds. All ranks call this at the same time;
    /// each waits for its steps so far, and reads as much as [`Optimizer::save_bytes`] does.
    ///
    /// Ranks on devices of different kinds are refused, since these round differently and their parameters drift apart. Metal
    /// names no driver, so two releases of macOS pass as one. The loss of the last step is not compared.
    ///
    /// # Errors
    /// [`Error::Collective`] on every rank, with the first thing in which a rank differs from rank 0; where one cannot tell,
    /// its own error of [`Optimizer::save_bytes`], and [`Error::Collective`] with its words on the others.
    pub fn check_ranks<C: Collective + ?Sized>(&mut self, group: &mut C) -> Result<()> {
        agree(group, self.facts())
    }

    /// Rank 0 saves a checkpoint as [`Optimizer::save`] does; the others wait until it has, and return its error if not. All
    /// ranks call this after the same step.
    ///
    /// # Errors
    /// On rank 0 those of [`Optimizer::save`], on the others [`Error::Collective`] with its words; on all
    /// [`Error::Collective`] if they are at different steps, and nothing is written.
    pub fn save_ranks<C: Collective + ?Sized>(
        &mut self,
        group: &mut C,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        agree(group, Ok(vec![("the number of steps".into(), self.index.to_string())]))?;
        let own = if group.rank() == 0 { self.save(path) } else { Ok(()) };
        all_succeed(group, own)
    }

    /// Every rank goes on from a checkpoint as with [`Optimizer::load`]: from the same file, or each from a copy of it. All
    /// ranks call this. To go on with other settings, call [`Optimizer::load_with_changes`] on every rank, and then
    /// [`Optimizer::check_ranks`].
    ///
    /// # Errors
    /// The rank's own of [`Optimizer::load`]; [`Error::Collective`] with its words on the others, and on all where the files
    /// differ. Nothing has changed on any rank then, unless a device was lost, memory ran out or a rank left meanwhile.
    pub fn load_ranks<C: Collective + ?Sized>(
        &mut self,
        group: &mut C,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        let own = in_file(path, || {
            let checkpoint = Checkpoint::parse(&read(path)?)?;
            let checksum = checkpoint.checksum();
            let saved = Snapshot::parse(checkpoint, &self.layout)?;
            // What is refused while steps are pending is refused before any rank has loaded.
            self.wait_for_steps()?;
            Ok((self.fit(saved, Changes::Refused)?.0, checksum))
        });
        let (snapshot, checksum) = all_succeed(group, own)?;
        agree(group, Ok(vec![("the checkpoint".into(), checksum)]))?;
        let own = self.take_up(snapshot);
        all_succeed(group, own)
    }

    fn wait_for_steps(&self) -> Result<()> {
        block_on(self.settle(Wait::Block))
    }

    fn take_up(&mut self, snapshot: Snapshot) -> Result<()> {
        block_on(self.apply(snapshot, Wait::Block))
    }

    /// What must be the same on all ranks.
    fn facts(&mut self) -> Result<Vec<Fact>> {
        let snapshot = block_on(self.snapshot(Wait::Block))?;
        self.facts_of(snapshot)
    }

    /// The same of an optimizer in this state.
    pub(super) fn facts_of(&self, mut snapshot: Snapshot) -> Result<Vec<Fact>> {
        // A step by hand may be given each rank's own.
        snapshot.forget_last_loss();
        let checkpoint = snapshot.into_checkpoint(&self.layout)?;
        let info = self.gpu.device().adapter_info();
        let device = format!("{}, driver {} {}", self.gpu.name(), info.driver, info.driver_info);
        let mut facts: Vec<Fact> = vec![
            ("version of dimer".into(), env!("CARGO_PKG_VERSION").into()),
            ("device".into(), device),
            ("tuning".into(), format!("{:?}", self.gpu.tuning())),
        ];
        for (index, tensor) in self.layout.tensors().iter().enumerate() {
            let value = format!("{:?} of shape {:?}", tensor.name, tensor.shape);
            facts.push((format!("tensor {index}"), value));
        }
        for (name, text) in &checkpoint.metadata {
            let value: Value = serde_json::from_str(text)
                .map_err(|error| Error::checkpoint_from(format!("`{name}`"), error))?;
            flatten(name, &value, &mut facts);
        }
        for (name, words) in &checkpoint.tensors {
            let checksum = crc32fast::hash(&words.bytes);
            facts.push((name.clone(), format!("of checksum {checksum:08x}")));
        }
        Ok(facts)
    }
}

/// Each number and word of `value`, by the names that lead to it.
fn flatten(at: &str, value: &Value, facts: &mut Vec<Fact>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| flatten(&format!("{at}.{name}"), field, facts));
        }
        Value::Array(_) => {
            let checksum = crc32fast::hash(value.to_string().as_bytes());
            facts.push((at.into(), format!("of checksum {checksum:08x}")));
        }
        other => facts.push((at.into(), other.to_string())),
    }
}
