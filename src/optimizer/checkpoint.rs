//! Saving an [`Optimizer`] to a file and going on from it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Optimizer;
use super::access::scaled_rate;
use super::checkpoint_file::{Checkpoint, RECENT, RECORD, REGIONS, Words, refuse, refuse_from};
use super::plateau::{self, Plateau};
use super::skips::Skips;
use super::telemetry::Reader;
use crate::config::{Config, Dimer, Storage};
use crate::error::Result;
use crate::gpu::GpuSlice;
use crate::kernels::gpu_types::{self, Record, Region};
use crate::plan::rate_clock;
use crate::state::orientation;

/// Metadata of a checkpoint.
const CONFIG: &str = "config";
const GROUPS: &str = "groups";
const PROGRESS: &str = "progress";

/// The parameters before the first of two steps on one minibatch.
const PREVIOUS: &str = "previous_params";

/// Vectors of the dimer.
const ORIENTATION: &str = "orientation";
const DIRECTION: &str = "direction";

/// Tensors that are not vectors of the layout.
const CALIBRATION: &str = "calibration";
const RATE: &str = "rate";

/// A slice of a buffer, and the elements of a padded vector that it holds.
type Part = (GpuSlice, std::ops::Range<usize>);

/// One vector that outlives a step.
struct Vector {
    name: &'static str,
    storage: Storage,
    parts: Vec<Part>,
}

impl Vector {
    fn is_of_dimer(&self) -> bool {
        matches!(self.name, ORIENTATION | DIRECTION)
    }
}

/// Whether settings may differ from those of the file.
#[derive(Clone, Copy)]
enum Changes {
    Refused,
    Allowed,
}

/// What the host keeps between steps.
#[derive(PartialEq, Serialize, Deserialize)]
struct Progress {
    index: u64,
    gradient_evaluations: f64,
    turned: bool,
    supplies_loss: bool,
    /// As bits, since it may be any f32; none from curvature.
    learning_rate: Option<u32>,
    /// As bits of an f64.
    #[serde(default = "full_rate")]
    rate_factor: u64,
    /// None with a fixed rate.
    #[serde(default)]
    rate_clock: Option<rate_clock::Progress>,
    #[serde(default = "unscaled")]
    loss_scale: f64,
    plateau: Option<plateau::Saved>,
}

/// More steps or evaluations than any run takes: a file with more than this was never saved by a run.
const MOST: u64 = 1 << 62;

impl Progress {
    /// The field that cannot be right, whatever the checksum says.
    fn impossible(&self) -> Option<&'static str> {
        let rate = self.learning_rate.map(f32::from_bits);
        let factor = f64::from_bits(self.rate_factor);
        let plateau = self.plateau.as_ref();
        [
            ("index", self.index <= MOST),
            ("gradient_evaluations", (0.0..=MOST as f64).contains(&self.gradient_evaluations)),
            ("learning_rate", rate.is_none_or(|rate| scaled_rate(Some(rate), 1.0).is_ok())),
            ("rate_factor", scaled_rate(rate, factor).is_ok()),
            ("plateau", plateau.is_none_or(|plateau| plateau.is_possible(self.index))),
            ("rate_clock", self.rate_clock.is_none_or(|clock| clock.is_possible(self.index))),
        ]
        .into_iter()
        .find_map(|(field, possible)| (!possible).then_some(field))
    }
}

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
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.settle(path)?;
        let mut checkpoint = Checkpoint::default();
        for Vector { name, storage, parts } in self.vectors(self.repeats_minibatch()) {
            let mut padded = vec![0_f32; self.layout.padded_len()];
            for (slice, range) in parts {
                padded[range].copy_from_slice(&storage.unpack(&self.gpu.read(&slice)?));
            }
            for tensor in self.layout.tensors() {
                let values = &padded[tensor.offset..tensor.offset + tensor.len];
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let (tensor, value) = (&tensor.name, values[at]);
                    let reason = format!(
                        "`{name}/{tensor}[{at}]` is {value}: a step went too far, or a gradient was not \
                         finite; load an earlier checkpoint"
                    );
                    return Err(refuse(path, reason));
                }
                let bytes = bytemuck::cast_slice(values).to_vec();
                let words = Words { shape: tensor.shape.clone(), bytes, float: true };
                checkpoint.tensors.insert(format!("{name}/{}", tensor.name), words);
            }
        }
        let mut insert = |name: &str, bytes: Vec<u8>, float| {
            let words = Words { shape: vec![bytes.len() / 4], bytes, float };
            checkpoint.tensors.insert(name.to_owned(), words);
        };
        insert(RECORD, self.gpu.read(&self.state.latest())?, false);
        insert(CALIBRATION, self.gpu.read(&self.state.calibration())?, true);
        if self.plan.rate_probe.is_some() {
            insert(RATE, self.gpu.read(&self.state.rate())?, false);
        }
        if let Some(regions) = self.read_region_entries()? {
            let records: Vec<[Record; 2]> = regions.iter().map(|region| region.records).collect();
            insert(REGIONS, bytemuck::cast_slice(&records).to_vec(), false);
        }
        if let Some(slices) = self.recent_records(self.index) {
            let mut bytes = Vec::new();
            for slice in &slices {
                bytes.extend(self.gpu.read(slice)?);
            }
            insert(RECENT, bytes, false);
        }
        let progress = Progress {
            index: self.index,
            gradient_evaluations: self.gradient_evaluations,
            turned: self.pending.turned(),
            supplies_loss: self.supplies_loss,
            learning_rate: self.fixed_rate.map(f32::to_bits),
            rate_factor: self.rate_factor.to_bits(),
            rate_clock: self.rate_clock.map(|clock| clock.save()),
            loss_scale: self.hyperparameters.loss_scale.into(),
            plateau: self.plateau.as_mut().map(|plateau| plateau.save(&self.gpu)).transpose()?,
        };
        let metadata = [
            (CONFIG, text(path, &self.config)?),
            (GROUPS, text(path, &self.layout.group_settings())?),
            (PROGRESS, text(path, &progress)?),
        ];
        for (key, value) in metadata {
            checkpoint.metadata.insert(key.to_owned(), value);
        }
        checkpoint.write(path)
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
    /// [`Error::DeviceLost`](crate::Error::DeviceLost). Nothing has changed then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.restore(path, &Checkpoint::read(path)?, Changes::Refused).map(drop)
    }

    /// Goes on from a checkpoint that was saved with other settings: the next steps are those of this optimizer's
    /// own. Returns what changed, a sentence for each setting.
    ///
    /// The layout, the kind of base optimizer and the scope of the dimer cannot change. A learning rate that
    /// [`Optimizer::set_learning_rate`] has set, or that curvature has found, stays; where [`Config::learning_rate`]
    /// changed, even a setting of it, the rate begins anew. Where the file has
    /// no N, it is random; where the dimer's reach changed, N is cut to it; another
    /// [`Schedule`](crate::Schedule) begins anew. A dimer that seeks another end of the spectrum, or in another metric,
    /// begins anew, with a random N.
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
    pub fn load_with_changes(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = path.as_ref();
        self.restore(path, &Checkpoint::read(path)?, Changes::Allowed)
    }

    /// [`Self::load`] from memory, for the fuzzer.
    ///
    /// # Errors
    /// The same as for [`Self::load`].
    #[cfg(fuzzing)]
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let path = Path::new("memory");
        let checkpoint = Checkpoint::parse(bytes).map_err(|reason| refuse(path, reason))?;
        self.restore(path, &checkpoint, Changes::Refused).map(drop)
    }

    fn restore(
        &mut self,
        path: &Path,
        checkpoint: &Checkpoint,
        allowed: Changes,
    ) -> Result<Vec<String>> {
        let entry = |key: &str| -> Result<Value> {
            let text = checkpoint.metadata.get(key);
            let text = text.ok_or_else(|| refuse(path, format!("it has no `{key}`")))?;
            serde_json::from_str(text).map_err(|error| refuse_from(path, format!("`{key}`"), error))
        };
        // By default there is no dimer, whose own defaults a saved one may lack.
        let defaults = Config { dimer: Some(Dimer::default()), ..Config::default() };
        let saved = with_defaults(entry(CONFIG)?, json(path, &defaults)?);
        // In the names of today; a setting that is not known here is told as a change.
        let saved = match serde_json::from_value::<Config>(saved.clone()) {
            Ok(config) => json(path, &config)?,
            Err(_) => saved,
        };
        let here = json(path, &self.config)?;
        if let Some(reason) = unchangeable(&saved, &here) {
            return Err(refuse(path, reason));
        }
        let (saved_groups, groups) = (entry(GROUPS)?, json(path, &self.layout.group_settings())?);
        if let Some(reason) = other_tensors(&saved_groups, &groups) {
            return Err(refuse(path, reason));
        }
        let mut changes = differences(CONFIG, &saved, &here);
        changes.extend(differences(GROUPS, &saved_groups, &groups));
        if let (Changes::Refused, Some(change)) = (allowed, changes.first()) {
            let reason = format!("{change}; `load_with_changes` goes on with the settings here");
            return Err(refuse(path, reason));
        }
        let is_changed = !changes.is_empty();
        let same = |setting: &str| saved["dimer"][setting] == here["dimer"][setting];
        // What events have found at one end of the spectrum, or in one metric, says nothing of another.
        let same_end = same("seeks") && same("metric");
        let same_schedule = same_end && same("schedule");
        let progress: Progress = serde_json::from_value(entry(PROGRESS)?)
            .map_err(|error| refuse_from(path, format!("`{PROGRESS}`"), error))?;
        if let Some(field) = progress.impossible() {
            return Err(refuse(path, format!("`{PROGRESS}.{field}` has an impossible value")));
        }
        let words = |name: &str, shape: &[usize], float| -> Result<&[u8]> {
            let words = checkpoint.tensors.get(name);
            let words = words.ok_or_else(|| refuse(path, format!("it has no tensor `{name}`")))?;
            if words.shape != shape || words.float != float {
                let found = &words.shape;
                let reason = format!("`{name}` has the shape {found:?}, but {shape:?} is needed");
                return Err(refuse(path, reason));
            }
            Ok(&words.bytes)
        };
        let mut names = 2;
        let mut vectors = Vec::new();
        let mut has_orientation = true;
        let same_rate = saved["learning_rate"] == here["learning_rate"];
        let mut rate_clock = self.plan.rate_clock;
        if let (Some(clock), Some(saved), true) = (&mut rate_clock, progress.rate_clock, same_rate)
        {
            clock.load(saved);
        }
        let in_pair = rate_clock.is_some_and(|clock| clock.in_pair());
        for vector in self.vectors(in_pair) {
            let first = format!("{}/{}", vector.name, self.layout.tensors()[0].name);
            let is_lost = is_changed && !checkpoint.tensors.contains_key(&first);
            if vector.is_of_dimer() && (is_lost || !same_end) {
                has_orientation &= vector.name != ORIENTATION;
                vectors.push((self.first_values(&vector), vector));
                continue;
            }
            let mut padded = vec![0_f32; self.layout.padded_len()];
            for tensor in self.layout.tensors() {
                let bytes =
                    words(&format!("{}/{}", vector.name, tensor.name), &tensor.shape, true)?;
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
                padded[tensor.offset..tensor.offset + tensor.len].copy_from_slice(&values);
                names += 1;
            }
            if vector.name == ORIENTATION && orientation::reaches_beyond(&self.layout, &padded) {
                let unit = orientation::unit(&self.layout, &self.region_tensors(), padded);
                padded = unit.unwrap_or_else(|| self.first_values(&vector));
            }
            vectors.push((padded, vector));
        }
        let records = |name: &str, count: usize| -> Result<&[u8]> {
            words(name, &[count * size_of::<Record>() / 4], false)
        };
        let find_anew = |records: &[u8]| -> Vec<u8> {
            let mut records: Vec<Record> = bytemuck::pod_collect_to_vec(records);
            for record in &mut records {
                if !same_end {
                    *record = record.without_events();
                }
                if !same_rate {
                    *record = record.without_rate();
                }
            }
            bytemuck::cast_slice(&records).to_vec()
        };
        let record = find_anew(records(RECORD, 1)?);
        let calibration = words(CALIBRATION, &[4], true)?;
        let rate = match self.plan.rate_probe {
            Some(_) if same_rate => {
                names += 1;
                let mut rate = words(RATE, &[gpu_types::RATE as usize / 4], false)?.to_vec();
                if is_changed {
                    // What was measured is not of the steps that these settings make.
                    rate[gpu_types::MOVES].fill(0);
                }
                Some(rate)
            }
            _ => None,
        };
        let regions = match &self.plan.regions {
            Some(regions) if is_changed && !checkpoint.tensors.contains_key(REGIONS) => {
                Some(regions.entries.clone())
            }
            Some(regions) => {
                let mut regions = regions.entries.clone();
                let records: Vec<[Record; 2]> =
                    bytemuck::pod_collect_to_vec(&find_anew(records(REGIONS, 2 * regions.len())?));
                regions.iter_mut().zip(records).for_each(|(region, saved)| region.records = saved);
                names += 1;
                Some(regions)
            }
            None => None,
        };
        let mut recent = Vec::new();
        let recent_records = self.recent_records(progress.index).filter(|_| same_schedule);
        if let Some(slices) = recent_records {
            let size = slices.iter().map(|slice| slice.size as usize).sum::<usize>();
            let mut bytes = records(RECENT, size / size_of::<Record>())?;
            for slice in slices {
                let (first, rest) = bytes.split_at(slice.size as usize);
                recent.push((slice, first));
                bytes = rest;
            }
            names += 1;
        }
        if checkpoint.tensors.len() != names && !is_changed {
            let count = checkpoint.tensors.len();
            let reason = format!("it has {count} tensors instead of {names}: another layout");
            return Err(refuse(path, reason));
        }
        self.settle(path)?;
        // A look under way arrives in the old buffer.
        let skips = self.plan.max_consecutive_skips.map(|limit| Skips::new(&self.gpu, limit));
        let skips = skips.transpose()?;
        // Before anything changes, since a file may hold any number.
        self.set_loss_scale(progress.loss_scale)
            .map_err(|error| refuse_from(path, format!("`{PROGRESS}.loss_scale`"), error))?;
        let fixed_rate = match progress.learning_rate {
            Some(rate) if same_rate => Some(f32::from_bits(rate)),
            _ => self.plan.fixed_rate,
        };
        let factor = f64::from_bits(progress.rate_factor);
        let learning_rate = scaled_rate(fixed_rate, factor)
            .map_err(|error| refuse_from(path, format!("`{PROGRESS}.rate_factor`"), error))?;
        self.forget(skips);
        let mut encoder = self.gpu.encoder("a checkpoint");
        encoder.clear_buffer(&self.state.scalars, 0, None);
        self.gpu.submit("a checkpoint", encoder)?;
        for (padded, Vector { storage, parts, .. }) in vectors {
            for (slice, range) in parts {
                let bytes = storage.pack(&padded[range]);
                self.gpu.queue().write_buffer(&slice.buffer, slice.offset, &bytes);
            }
        }
        let queue = self.gpu.queue();
        for (slice, bytes) in recent {
            queue.write_buffer(&slice.buffer, slice.offset, bytes);
        }
        let latest = self.state.latest();
        queue.write_buffer(&latest.buffer, latest.offset, &record);
        let slice = self.state.calibration();
        queue.write_buffer(&slice.buffer, slice.offset, calibration);
        if let Some(rate) = rate {
            let slice = self.state.rate();
            queue.write_buffer(&slice.buffer, slice.offset, &rate);
        }
        if let (Some(entries), Some(buffers)) = (regions, &self.state.regions) {
            queue.write_buffer(&buffers.regions, 0, bytemuck::cast_slice(&entries));
        }
        if let (Some(plateau), Some(saved), true) =
            (&mut self.plateau, progress.plateau, same_schedule)
        {
            plateau.load(saved);
        }
        self.index = progress.index;
        self.gradient_evaluations = progress.gradient_evaluations;
        self.pending.set_turned(progress.turned && has_orientation);
        self.supplies_loss = progress.supplies_loss;
        (self.rate_clock, self.fixed_rate) = (rate_clock, fixed_rate);
        self.rate_factor = factor;
        self.hyperparameters.learning_rate = learning_rate;
        self.telemetry = Reader::from_step(progress.index);
        Ok(changes)
    }

    /// What a vector of the dimer holds before the first step, padded.
    fn first_values(&self, vector: &Vector) -> Vec<f32> {
        match self.plan.dimer {
            Some(dimer) if vector.name == ORIENTATION => {
                orientation::random(&self.layout, &self.region_tensors(), dimer.seed)
            }
            _ => vec![0.0; self.layout.padded_len()],
        }
    }

    /// Forgets what is known of the steps so far, as an optimizer that was just made; but kernels go on being timed.
    fn forget(&mut self, skips: Option<Skips>) {
        self.skips = skips;
        if let Some(timer) = &mut self.timer {
            timer.clear();
        }
        self.plateau = Plateau::new(&self.plan.events);
    }

    /// Waits for the steps so far. Steps that the user has yet to submit would come later, so they are
    /// refused.
    fn settle(&self, path: &Path) -> Result<()> {
        self.gpu.wait()?;
        self.pending.settle(&self.gpu, &self.state)?;
        if self.pending.first().is_some() {
            return Err(refuse(path, "steps are recorded but not submitted; submit them first"));
        }
        Ok(())
    }

    /// The vectors that outlive a step.
    fn vectors(&self, in_pair: bool) -> Vec<Vector> {
        let (state, storage) = (&self.state, self.plan.storage);
        let whole = [
            ("params", Some(&state.params), Storage::F32),
            (ORIENTATION, state.orientation.as_ref(), storage),
            ("first_moment", state.first_moment.as_ref(), storage),
            ("second_moment", state.second_moment.as_ref(), storage),
        ];
        let len = self.layout.padded_len();
        let vector = |(name, slice, storage): (_, Option<&GpuSlice>, _)| {
            Some(Vector { name, storage, parts: vec![(slice?.clone(), 0..len)] })
        };
        let previous = state.previous_params.as_ref().filter(|_| in_pair);
        let whole = whole.into_iter().chain([(PREVIOUS, previous, Storage::F32)]);
        let mut vectors: Vec<_> = whole.filter_map(vector).collect();
        if let Some(slot) = self.plan.kept_direction() {
            let shards = self.plan.shards.iter().zip(&state.workspace);
            let parts = shards.map(|(shard, workspace)| {
                let size = storage.bytes() * shard.len() as u64;
                let offset = workspace.offset + u64::from(slot) * size;
                (GpuSlice { buffer: workspace.buffer.clone(), offset, size }, shard.clone())
            });
            vectors.push(Vector { name: DIRECTION, storage, parts: parts.collect() });
        }
        vectors
    }

    /// The records before step `index` that the next look of the schedule needs, if it needs any.
    fn recent_records(&self, index: u64) -> Option<Vec<GpuSlice>> {
        let window = self.plateau.as_ref()?.window().min(index);
        Some(self.state.records(index - window, index))
    }

    fn read_region_entries(&self) -> Result<Option<Vec<Region>>> {
        let Some(buffers) = &self.state.regions else { return Ok(None) };
        let bytes = self.gpu.read(&GpuSlice::whole(buffers.regions.clone()))?;
        Ok(Some(bytemuck::pod_collect_to_vec(&bytes)))
    }
}

/// The factor on the learning rate for files from before there was one.
fn full_rate() -> u64 {
    1_f64.to_bits()
}

/// The loss scale for files from before there was one.
fn unscaled() -> f64 {
    1.0
}

fn json(path: &Path, value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| refuse_from(path, "the settings", error))
}

/// The same as text, if exactly this can be read from it: JSON has no infinity and no NaN.
fn text<T: Serialize + DeserializeOwned + PartialEq>(path: &Path, value: &T) -> Result<String> {
    let text = json(path, value)?.to_string();
    match serde_json::from_str::<T>(&text) {
        Ok(read) if read == *value => Ok(text),
        _ => Err(refuse(path, format!("a number in its metadata is not finite: {text}"))),
    }
}

/// The saved settings, with defaults for those that are newer than the file.
fn with_defaults(mut saved: Value, mut defaults: Value) -> Value {
    let fill = |saved: &mut Value, defaults: Value| {
        if let (Value::Object(saved), Value::Object(defaults)) = (saved, defaults) {
            for (key, default) in defaults {
                saved.entry(key).or_insert(default);
            }
        }
    };
    if saved["learning_rate"].is_number() {
        saved["learning_rate"] = serde_json::json!({ "Fixed": saved["learning_rate"] });
    }
    let dimer = defaults["dimer"].take();
    fill(&mut saved, defaults);
    if let Some(saved) = saved.get_mut("dimer") {
        fill(saved, dimer);
    }
    saved
}

/// Why a run cannot go on with these settings at all, if it cannot.
fn unchangeable(saved: &Value, here: &Value) -> Option<String> {
    let kind = |config: &Value| config["base"].as_object()?.keys().next().cloned();
    let scope = |config: &Value| config["dimer"].get("scope").cloned();
    let (before, now) = (kind(saved), kind(here));
    if before != now {
        let [before, now] = [before, now].map(Option::unwrap_or_default);
        return Some(format!(
            "`{CONFIG}.base` was {before} when it was saved, but is {now} here; its moments mean something \
             else"
        ));
    }
    match (scope(saved), scope(here)) {
        (Some(before), Some(now)) if before != now => Some(format!(
            "`{CONFIG}.dimer.scope` was {before} when it was saved, but is {now} here; it cannot change"
        )),
        _ => None,
    }
}

/// The first tensor that only one of the two layouts has, in words.
fn other_tensors(saved: &Value, here: &Value) -> Option<String> {
    let lacks = |layout: &Value, name: &str| layout.get(name).is_none();
    let names = |layout: &Value| layout.as_object().cloned().unwrap_or_default();
    let added = names(here).into_iter().find(|(name, _)| lacks(saved, name));
    let removed = names(saved).into_iter().find(|(name, _)| lacks(here, name));
    added
        .map(|(name, _)| format!("it has no tensor `{name}`, which the layout here has"))
        .or(removed.map(|(name, _)| format!("its tensor `{name}` is not in the layout here")))
}

/// All places in which two settings differ, in words.
fn differences(at: &str, saved: &Value, here: &Value) -> Vec<String> {
    match (saved, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = &Value::Null;
            let of = |key: &String| {
                let (a, b) = (a.get(key).unwrap_or(null), b.get(key).unwrap_or(null));
                differences(&format!("{at}.{key}"), a, b)
            };
            keys.into_iter().flat_map(of).collect()
        }
        _ if saved == here => Vec::new(),
        _ => vec![format!("`{at}` was {saved} when it was saved, but is {here} here")],
    }
}
