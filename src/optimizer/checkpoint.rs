//! Saving an [`Optimizer`] and going on from what was saved, in files and in memory.

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

use super::Optimizer;
use super::checkpoint_file::Checkpoint;
#[cfg(not(target_family = "wasm"))]
use super::file;
use super::snapshot::{Changes, Snapshot};
#[cfg(not(target_family = "wasm"))]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::Wait;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;

impl Optimizer {
    /// Writes everything that the next steps depend on to `path`: parameters, moments, N, search
    /// direction, counters, curvatures and settings, as a safetensors file with a tensor for each
    /// vector and tensor of the layout (`params/NAME`, `orientation/NAME` …).
    ///
    /// Waits for the steps before. The file is written under another name, flushed to the disk and renamed:
    /// after a crash there is either the old checkpoint or the new one. Links are followed, the mode and owner of
    /// an old file stay, and a new one gets what the umask leaves.
    ///
    /// ```
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// # let (gpu, layout, config) = (Gpu::new()?, Layout::flat(3)?, Config::default());
    /// # let path = std::env::temp_dir().join(format!("dimer-doc-{}.safetensors", std::process::id()));
    /// let mut optimizer = Optimizer::new(&gpu, layout.clone(), config.clone(), &[1.0; 3])?;
    /// optimizer.step(&mut objective)?;
    /// optimizer.save(&path)?;
    /// // Later, perhaps in another process:
    /// let mut resumed = Optimizer::new(&gpu, layout, config, &[0.0; 3])?;
    /// resumed.load(&path)?;
    /// optimizer.step(&mut objective)?;
    /// resumed.step(&mut objective)?;
    /// assert_eq!(resumed.read_params()?, optimizer.read_params()?);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) if the file cannot be written or is not a regular one, if a
    /// number to save is not finite, or while steps are recorded in an encoder that has not been submitted;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory)
    /// or [`Error::DeviceLost`](crate::Error::DeviceLost).
    #[cfg(not(target_family = "wasm"))]
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        in_file(path, || write(path, &self.save_bytes()?))
    }

    /// The bytes of the file that [`Optimizer::save`] writes: for where there are no files, and for what keeps or sends
    /// them in its own way.
    ///
    /// ```
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// # let (gpu, layout, config) = (Gpu::new()?, Layout::flat(3)?, Config::default());
    /// let mut optimizer = Optimizer::new(&gpu, layout.clone(), config.clone(), &[1.0; 3])?;
    /// optimizer.step(&mut objective)?;
    /// let mut copy = Optimizer::new(&gpu, layout, config, &[0.0; 3])?;
    /// copy.load_bytes(&optimizer.save_bytes()?)?;
    /// assert_eq!(copy.read_params()?, optimizer.read_params()?);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Optimizer::save`] that have nothing to do with files.
    #[cfg(not(target_family = "wasm"))]
    pub fn save_bytes(&mut self) -> Result<Vec<u8>> {
        block_on(self.save_bytes_with(Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::save_bytes`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::save_bytes`].
    pub async fn save_bytes_async(&mut self) -> Result<Vec<u8>> {
        self.save_bytes_with(Wait::Yield).await
    }

    async fn save_bytes_with(&mut self, wait: Wait) -> Result<Vec<u8>> {
        self.snapshot(wait).await?.into_checkpoint(&self.layout)?.into_bytes()
    }

    /// Goes on from a checkpoint that an optimizer of the same layout and settings has saved: the next steps
    /// are those that would have followed there, bit for bit on the same device with the same
    /// [`Tuning`](crate::Tuning). Telemetry that was not read before the save is not in it, and what this
    /// optimizer did before is forgotten: its telemetry, kernel times and skipped steps. Kernels that were timed
    /// go on being timed.
    ///
    /// A checkpoint between two steps on one minibatch
    /// ([`RateProbe::RepeatedMinibatch`](crate::RateProbe::RepeatedMinibatch)) goes on with that minibatch: see
    /// [`StepInfo::repeats_minibatch`](crate::StepInfo::repeats_minibatch).
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint), which names the tensor or setting, for a file that
    /// cannot be read, is damaged, has a newer version, or belongs to another layout or other settings, and
    /// while steps are recorded in an encoder that has not been submitted;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) or [`Error::DeviceLost`](crate::Error::DeviceLost). Nothing has
    /// changed then.
    #[cfg(not(target_family = "wasm"))]
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        in_file(path, || self.load_bytes(&read(path)?))
    }

    /// [`Optimizer::load`] from the bytes of a file.
    ///
    /// # Errors
    /// The same as for [`Optimizer::load`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        block_on(self.go_on_from(bytes, Changes::Refused, Wait::Block)).map(drop)
    }

    /// The asynchronous twin of [`Optimizer::load_bytes`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::load_bytes`].
    pub async fn load_bytes_async(&mut self, bytes: &[u8]) -> Result<()> {
        self.go_on_from(bytes, Changes::Refused, Wait::Yield).await.map(drop)
    }

    /// Goes on from a checkpoint that was saved with other settings: the next steps are those of this optimizer's
    /// own. Returns what changed, a sentence for each setting.
    ///
    /// The layout, the kind of base optimizer and the scope of the dimer cannot change. A learning rate that
    /// [`Optimizer::set_learning_rate`] has set, or that curvature has found, stays; where
    /// [`Config::learning_rate`](crate::Config::learning_rate) changed, even a setting of it, the rate begins anew. Where
    /// the file has no N, it is random, and a moment that it lacks is zero; where the dimer's reach changed, N is cut to
    /// it; another [`Schedule`](crate::Schedule) begins anew. A dimer that seeks another end of the spectrum, in another
    /// metric, or by alternating evaluations where the file's did not, begins anew, with a random N.
    ///
    /// ```
    /// # use dimer::{Config, Gpu, HostObjective, Layout, Optimizer};
    /// # let mut objective = HostObjective::new(|x: &[f32], g: &mut [f32]| { g.copy_from_slice(x); 0.0 });
    /// # let (gpu, layout) = (Gpu::new()?, Layout::flat(3)?);
    /// # let path = std::env::temp_dir().join(format!("dimer-doc-changes-{}", std::process::id()));
    /// let mut optimizer = Optimizer::new(&gpu, layout.clone(), Config::default(), &[1.0; 3])?;
    /// optimizer.step(&mut objective)?;
    /// optimizer.save(&path)?;
    /// let config = Config { weight_decay: 0.1, ..Config::default() };
    /// let mut resumed = Optimizer::new(&gpu, layout, config, &[0.0; 3])?;
    /// let changes = resumed.load_with_changes(&path)?;
    /// assert_eq!(changes, ["`config.weight_decay` was 0.01 when it was saved, but is 0.1 here"]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as for [`Optimizer::load`], except for settings that may change.
    #[cfg(not(target_family = "wasm"))]
    pub fn load_with_changes(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = path.as_ref();
        in_file(path, || self.load_bytes_with_changes(&read(path)?))
    }

    /// [`Optimizer::load_with_changes`] from the bytes of a file.
    ///
    /// # Errors
    /// The same as for [`Optimizer::load_with_changes`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load_bytes_with_changes(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        block_on(self.go_on_from(bytes, Changes::Allowed, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::load_bytes_with_changes`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::load_bytes_with_changes`].
    pub async fn load_bytes_with_changes_async(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        self.go_on_from(bytes, Changes::Allowed, Wait::Yield).await
    }

    async fn go_on_from(
        &mut self,
        bytes: &[u8],
        allowed: Changes,
        wait: Wait,
    ) -> Result<Vec<String>> {
        let saved = Snapshot::parse(Checkpoint::parse(bytes)?, &self.layout)?;
        let (snapshot, changes) = self.fit(saved, allowed)?;
        self.apply(snapshot, wait).await?;
        Ok(changes)
    }
}

#[cfg(not(target_family = "wasm"))]
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    file::read(path).map_err(|error| Error::checkpoint_from("it cannot be read", error))
}

#[cfg(not(target_family = "wasm"))]
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    file::replace(path, bytes)
        .map_err(|error| Error::checkpoint_from("it cannot be written", error))
}

/// Names the file in an error of `action`.
#[cfg(not(target_family = "wasm"))]
pub(super) fn in_file<T>(path: &Path, action: impl FnOnce() -> Result<T>) -> Result<T> {
    action().map_err(|error| error.in_file(path))
}
