//! [`Snapshot`]: all that the next steps of an optimizer depend on, on the host.
//!
//! A checkpoint is parsed into one, fitted to the optimizer that loads it, and only then applied: until there nothing
//! has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Optimizer;
use super::access::{check_loss_scale, scaled_rate};
use super::checkpoint_file::{Checkpoint, RATE, RECENT, RECORD, REGIONS, Words};
use super::plateau::{self, Plateau};
use super::saved_settings::{CONFIG, GROUPS, SavedSettings, from_json, to_json};
use super::skips::Skips;
use super::telemetry::Reader;
use crate::config::{Config, Storage};
use crate::error::{Error, Result};
use crate::gpu::{GpuSlice, Wait};
use crate::kernels::bindings::Vector;
use crate::kernels::gpu_types::{self, Record, Region};
use crate::layout::Layout;
#[cfg(not(target_family = "wasm"))]
use crate::parallel::Collective;
use crate::plan::kept_names;
use crate::plan::rate_clock::{self, RateClock};
#[cfg(not(target_family = "wasm"))]
use crate::plan::slices::Slice;
use crate::state::orientation;

/// The name of [`Progress`] in the metadata of a checkpoint.
const PROGRESS: &str = "progress";

/// The vectors, each with a tensor for each tensor of the layout.
const PARAMS: &str = "params";
const ORIENTATION: &str = "orientation";
const FIRST_MOMENT: &str = "first_moment";
const SECOND_MOMENT: &str = "second_moment";
/// The parameters before the first of two steps on one minibatch.
const PREVIOUS: &str = "previous_params";

/// With those that a rotation keeps.
fn vector_names() -> impl Iterator<Item = &'static str> {
    [PARAMS, ORIENTATION, FIRST_MOMENT, SECOND_MOMENT, PREVIOUS].into_iter().chain(kept_names())
}

/// A tensor that is neither a vector of the layout nor records.
const CALIBRATION: &str = "calibration";

/// All that the next steps depend on.
pub(super) struct Snapshot {
    settings: SavedSettings,
    progress: Progress,
    /// By name, padded.
    vectors: BTreeMap<&'static str, Vec<f32>>,
    record: Record,
    calibration: Vec<u8>,
    /// Of a rate from curvature.
    rate: Option<Vec<u8>>,
    /// The two records of each region, if there are several dimers.
    regions: Option<Vec<Record>>,
    /// The records that the next look for a plateau needs.
    recent: Option<Vec<Record>>,
}

/// What the host keeps between steps.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Progress {
    index: u64,
    gradient_evaluations: f64,
    turned: bool,
    /// Whether a record says by itself that it has no loss; in older files this stood for "the objective writes a loss".
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

/// The factor on the learning rate for files from before there was one.
fn full_rate() -> u64 {
    1_f64.to_bits()
}

/// The loss scale for files from before there was one.
fn unscaled() -> f64 {
    1.0
}

/// The first version of the format with records as they are today.
const FIRST_WITH_RECORDS_OF_TODAY: u32 = 3;

/// More steps or evaluations than any run takes: a file with more than this was never saved by a run.
const MOST: u64 = 1 << 62;

impl Progress {
    /// Refuses numbers that no run can have reached, whatever the checksum says.
    fn check(&self) -> Result<()> {
        let rate = self.learning_rate.map(f32::from_bits);
        let factor = f64::from_bits(self.rate_factor);
        let plateau = self.plateau.as_ref();
        let impossible = [
            ("index", self.index <= MOST),
            ("gradient_evaluations", (0.0..=MOST as f64).contains(&self.gradient_evaluations)),
            ("learning_rate", rate.is_none_or(|rate| scaled_rate(Some(rate), 1.0).is_ok())),
            ("rate_factor", scaled_rate(rate, factor).is_ok()),
            ("loss_scale", check_loss_scale(self.loss_scale).is_ok()),
            ("plateau", plateau.is_none_or(|plateau| plateau.is_possible(self.index))),
            ("rate_clock", self.rate_clock.is_none_or(|clock| clock.is_possible(self.index))),
        ]
        .into_iter()
        .find(|(_, is_possible)| !is_possible);
        match impossible {
            Some((field, _)) => {
                Err(Error::checkpoint(format!("`{PROGRESS}.{field}` has an impossible value")))
            }
            None => Ok(()),
        }
    }
}

impl Snapshot {
    /// What `checkpoint` holds of an optimizer with this layout, whatever its settings.
    pub(super) fn parse(checkpoint: Checkpoint, layout: &Layout) -> Result<Self> {
        let Checkpoint { version, tensors, metadata } = checkpoint;
        let entry = |key: &str| {
            let entry = metadata.get(key);
            entry.ok_or_else(|| Error::checkpoint(format!("it has no `{key}`")))
        };
        let settings = SavedSettings::parse(entry(CONFIG)?, entry(GROUPS)?)?;
        settings.check_tensors(layout)?;
        let mut progress: Progress = from_json(PROGRESS, entry(PROGRESS)?)?;
        progress.check()?;
        if version < FIRST_WITH_RECORDS_OF_TODAY {
            // Its records are shorter; the schedule takes in the next window.
            progress.plateau = progress.plateau.map(plateau::Saved::without_window);
        }
        let mut tensors = Tensors(tensors);
        let mut vectors = BTreeMap::new();
        for vector in vector_names() {
            vectors.extend(tensors.take_vector(vector, layout)?.map(|padded| (vector, padded)));
        }
        let record = tensors.take(RECORD, &[size_of::<Record>() / 4], false)?;
        let record = record.ok_or_else(|| lacks(RECORD))?;
        let snapshot = Self {
            settings,
            progress,
            vectors,
            record: bytemuck::pod_read_unaligned(&record),
            calibration: tensors
                .take(CALIBRATION, &[4], true)?
                .ok_or_else(|| lacks(CALIBRATION))?,
            rate: tensors.take_words(RATE)?,
            regions: tensors.take_records(REGIONS)?,
            recent: tensors.take_records(RECENT)?,
        };
        match tensors.0.keys().next() {
            Some(name) => Err(Error::checkpoint(format!(
                "its tensor `{name}` is none that a checkpoint of this layout has"
            ))),
            None if !snapshot.progress.supplies_loss => Ok(snapshot.without_loss()),
            None => Ok(snapshot),
        }
    }

    /// Forgets the loss of the last record.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn forget_last_loss(&mut self) {
        self.record.forget_loss();
    }

    /// Completes what only slices of are here by those of the other ranks, or forgets it where it is of no use.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn gather<C: Collective + ?Sized>(
        &mut self,
        slice: &Slice,
        group: &mut C,
        keeps: bool,
    ) -> Result<()> {
        for (_, padded) in self.vectors.iter_mut().filter(|(name, _)| **name != PARAMS) {
            let own = std::mem::take(padded);
            let whole = slice.gather(&own[slice.range()], group)?;
            if keeps {
                *padded = whole;
            }
        }
        Ok(())
    }

    /// Forgets what only slices of are here.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn forget_slices(&mut self) {
        self.vectors.retain(|name, _| *name == PARAMS);
    }

    /// The same where no objective has written a loss.
    fn without_loss(mut self) -> Self {
        let recent = self.recent.iter_mut().flatten();
        std::iter::once(&mut self.record).chain(recent).for_each(Record::forget_loss);
        let plateau = self.progress.plateau.map(plateau::Saved::without_loss);
        let progress = Progress { supplies_loss: true, plateau, ..self.progress };
        Self { progress, ..self }
    }

    /// The checkpoint that [`Self::parse`] reads.
    pub(super) fn into_checkpoint(self, layout: &Layout) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::default();
        for (name, padded) in self.vectors {
            for tensor in layout.tensors() {
                let values = &padded[tensor.offset..tensor.offset + tensor.len];
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    return Err(Error::checkpoint(format!(
                        "`{name}/{tensor}[{at}]` is {value}: a step went too far, or a gradient was not \
                         finite; load an earlier checkpoint",
                        tensor = tensor.name,
                        value = values[at],
                    )));
                }
                let bytes = bytemuck::cast_slice(values).to_vec();
                let words = Words { shape: tensor.shape.clone(), bytes, float: true };
                checkpoint.tensors.insert(format!("{name}/{}", tensor.name), words);
            }
        }
        let bytes = |records: Vec<Record>| bytemuck::cast_slice(&records).to_vec();
        let others = [
            (RECORD, Some(bytes(vec![self.record]))),
            (CALIBRATION, Some(self.calibration)),
            (RATE, self.rate),
            (REGIONS, self.regions.map(bytes)),
            (RECENT, self.recent.map(bytes)),
        ];
        for (name, bytes) in others {
            let Some(bytes) = bytes else { continue };
            let words = Words { shape: vec![bytes.len() / 4], bytes, float: name == CALIBRATION };
            checkpoint.tensors.insert(name.to_owned(), words);
        }
        checkpoint.metadata = [
            (CONFIG, to_json(&self.settings.config)?),
            (GROUPS, to_json(&self.settings.groups)?),
            (PROGRESS, to_json(&self.progress)?),
        ]
        .map(|(key, text)| (key.to_owned(), text))
        .into();
        Ok(checkpoint)
    }
}

fn lacks(tensor: &str) -> Error {
    Error::checkpoint(format!("it has no tensor `{tensor}`"))
}

/// The tensors of a checkpoint that were not taken yet.
struct Tensors(BTreeMap<String, Words>);

impl Tensors {
    /// The bytes of a tensor, if it is there.
    fn take(&mut self, name: &str, shape: &[usize], float: bool) -> Result<Option<Vec<u8>>> {
        let Some(words) = self.0.remove(name) else { return Ok(None) };
        if words.shape == shape && words.float == float {
            return Ok(Some(words.bytes));
        }
        let found = &words.shape;
        let reason = format!("`{name}` has the shape {found:?}, but {shape:?} is needed");
        Err(Error::checkpoint(reason))
    }

    /// A padded vector, if it is there.
    fn take_vector(&mut self, name: &str, layout: &Layout) -> Result<Option<Vec<f32>>> {
        let of = |tensor: &str| format!("{name}/{tensor}");
        if !layout.tensors().iter().any(|tensor| self.0.contains_key(&of(&tensor.name))) {
            return Ok(None);
        }
        let mut padded = vec![0.0; layout.padded_len()];
        for tensor in layout.tensors() {
            let name = of(&tensor.name);
            let bytes = self.take(&name, &tensor.shape, true)?.ok_or_else(|| lacks(&name))?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            padded[tensor.offset..tensor.offset + tensor.len].copy_from_slice(&values);
        }
        Ok(Some(padded))
    }

    /// As many words as there are, if it is there.
    fn take_words(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let count = self.0.get(name).map_or(0, |words| words.shape.iter().product());
        self.take(name, &[count], false)
    }

    /// Records, if they are there.
    fn take_records(&mut self, name: &str) -> Result<Option<Vec<Record>>> {
        match self.take_words(name)? {
            Some(bytes) if !bytes.len().is_multiple_of(size_of::<Record>()) => {
                Err(Error::checkpoint(format!("`{name}` ends within a record")))
            }
            bytes => Ok(bytes.map(|bytes| bytemuck::pod_collect_to_vec(&bytes))),
        }
    }
}

/// Whether settings may differ from those of the file.
#[derive(Clone, Copy)]
pub(super) enum Changes {
    Refused,
    Allowed,
}

/// A slice of a buffer, and the elements of a padded vector that it holds.
type Part = (GpuSlice, std::ops::Range<usize>);

/// Where a vector that outlives a step lies.
struct Place {
    name: &'static str,
    storage: Storage,
    parts: Vec<Part>,
}

/// Which of the settings that decide what a snapshot is worth are the same here.
#[derive(Clone, Copy)]
struct Same {
    /// What events have found at one end of the spectrum, or in one metric, says nothing of another; nor do alternating
    /// evaluations go on from what others have found.
    end: bool,
    schedule: bool,
    rate: bool,
}

impl Same {
    fn new(saved: &Config, here: &Config) -> Self {
        let dimers = [&saved.dimer, &here.dimer].map(Option::as_ref);
        let [saved_end, end] = dimers.map(|dimer| {
            dimer
                .map(|dimer| (dimer.seeks, dimer.metric, dimer.rotation.as_alternating().is_some()))
        });
        let [saved_schedule, schedule] = dimers.map(|dimer| dimer.map(|dimer| dimer.schedule));
        Self {
            end: saved_end == end,
            schedule: saved_end == end && saved_schedule == schedule,
            rate: saved.learning_rate == here.learning_rate,
        }
    }

    /// What a record still says.
    fn holds(self, record: Record) -> Record {
        let record = if self.end { record } else { record.without_events() };
        if self.rate { record } else { record.without_rate() }
    }
}

impl Optimizer {
    /// Waits for the steps so far, and reads what the next ones depend on.
    pub(super) async fn snapshot(&mut self, wait: Wait) -> Result<Snapshot> {
        self.settle(wait).await?;
        let mut vectors = BTreeMap::new();
        for Place { name, storage, parts } in self.places(self.repeats_minibatch()) {
            let mut padded = vec![0_f32; self.layout.padded_len()];
            for (slice, range) in parts {
                padded[range].copy_from_slice(&storage.unpack(&self.gpu.read(&slice, wait).await?));
            }
            vectors.insert(name, padded);
        }
        let regions = self.read_region_entries(wait).await?;
        let regions = regions.map(|regions| regions.iter().flat_map(|r| r.records).collect());
        let recent = match self.recent_records(self.index) {
            Some(slices) => {
                let mut records: Vec<Record> = Vec::new();
                for slice in &slices {
                    let bytes = self.gpu.read(slice, wait).await?;
                    records.extend(bytemuck::pod_collect_to_vec::<u8, Record>(&bytes));
                }
                Some(records)
            }
            None => None,
        };
        let plateau = match &mut self.plateau {
            Some(plateau) => Some(plateau.save(&self.gpu, wait).await?),
            None => None,
        };
        let rate = match self.plan.rate_probe {
            Some(_) => Some(self.gpu.read(&self.state.rate(), wait).await?),
            None => None,
        };
        let progress = Progress {
            index: self.index,
            gradient_evaluations: self.gradient_evaluations,
            turned: self.pending.turned(),
            supplies_loss: true,
            learning_rate: self.fixed_rate.map(f32::to_bits),
            rate_factor: self.rate_factor.to_bits(),
            rate_clock: self.rate_clock.map(|clock| clock.save()),
            loss_scale: self.hyperparameters.loss_scale.into(),
            plateau,
        };
        let latest = self.gpu.read(&self.state.latest(), wait).await?;
        Ok(Snapshot {
            settings: self.settings(),
            progress,
            vectors,
            record: bytemuck::pod_read_unaligned(&latest),
            calibration: self.gpu.read(&self.state.calibration(), wait).await?,
            rate,
            regions,
            recent,
        })
    }

    /// Makes of `saved` what an optimizer with the settings here would have saved, and says in words what changed.
    pub(super) fn fit(&self, saved: Snapshot, allowed: Changes) -> Result<(Snapshot, Vec<String>)> {
        let here = self.settings();
        let mut changes = saved.settings.changes(&here)?;
        let mut same = Same::new(&saved.settings.config, &here.config);
        let rate_words = gpu_types::RATE as usize;
        if same.rate && saved.rate.as_ref().is_some_and(|rate| rate.len() != rate_words) {
            changes.push(
                "what it holds of the learning rate is of another version, which begins anew"
                    .into(),
            );
            same.rate = false;
        }
        if let (Changes::Refused, Some(change)) = (allowed, changes.first()) {
            return Err(Error::checkpoint(format!(
                "{change}; `load_with_changes` goes on with the settings here"
            )));
        }
        let is_changed = !changes.is_empty();
        let Snapshot { progress, mut vectors, record, calibration, .. } = saved;
        let progress = Progress {
            learning_rate: match progress.learning_rate {
                Some(rate) if same.rate && self.plan.fixed_rate.is_some() => Some(rate),
                _ => self.plan.fixed_rate.map(f32::to_bits),
            },
            rate_clock: progress.rate_clock.filter(|_| same.rate),
            turned: progress.turned && same.end && vectors.contains_key(ORIENTATION),
            plateau: progress.plateau.filter(|_| same.schedule),
            ..progress
        };
        progress.check()?;

        let mut fitted = BTreeMap::new();
        let in_pair = self.resumed_clock(&progress).is_some_and(|clock| clock.in_pair());
        for Place { name, .. } in self.places(in_pair) {
            let is_of_dimer = name == ORIENTATION || kept_names().any(|kept| kept == name);
            let padded = match vectors.remove(name).filter(|_| same.end || !is_of_dimer) {
                Some(padded) if name == ORIENTATION => self.within_reach(padded),
                Some(padded) if is_of_dimer => orientation::cut(&self.layout, padded),
                Some(padded) => padded,
                None if is_changed && !matches!(name, PARAMS | PREVIOUS) => self.first_values(name),
                None => return Err(lacks(&format!("{name}/{}", self.layout.tensors()[0].name))),
            };
            fitted.insert(name, padded);
        }
        if let (false, Some(name)) = (is_changed, vectors.keys().next()) {
            return Err(beyond(name));
        }

        let wanted = (self.plan.rate_probe.is_some() && same.rate).then_some(rate_words);
        let mut rate = fitting(RATE, saved.rate, wanted, is_changed)?;
        if let (Some(rate), true) = (&mut rate, is_changed) {
            // What was measured is not of the steps that these settings make.
            rate[gpu_types::MOVES].fill(0);
            rate[gpu_types::UPDATES_SEEN].fill(0);
        }
        let wanted = self.plan.regions.as_ref().map(|regions| 2 * regions.entries.len());
        let regions = fitting(REGIONS, saved.regions, wanted, is_changed)?;
        let wanted = self.recent_records(progress.index).filter(|_| same.schedule);
        let wanted = wanted.map(|slices| {
            slices.iter().map(|slice| slice.size as usize / size_of::<Record>()).sum()
        });
        let recent = fitting(RECENT, saved.recent, wanted, is_changed)?;
        let snapshot = Snapshot {
            settings: here,
            progress,
            vectors: fitted,
            record: same.holds(record),
            calibration,
            rate,
            regions: regions.map(|records| records.into_iter().map(|r| same.holds(r)).collect()),
            recent,
        };
        Ok((snapshot, changes))
    }

    /// Goes on from a snapshot that fits.
    pub(super) async fn apply(&mut self, snapshot: Snapshot, wait: Wait) -> Result<()> {
        let Snapshot { progress, mut vectors, record, calibration, rate, .. } = snapshot;
        self.settle(wait).await?;
        // A look under way arrives in the old buffer.
        let skips = self.plan.max_consecutive_skips.map(|limit| Skips::new(&self.gpu, limit));
        let skips = skips.transpose()?;
        let fixed_rate = progress.learning_rate.map(f32::from_bits);
        let rate_factor = f64::from_bits(progress.rate_factor);
        let learning_rate = scaled_rate(fixed_rate, rate_factor)?;
        let rate_clock = self.resumed_clock(&progress);
        let places = self.places(rate_clock.is_some_and(|clock| clock.in_pair())).into_iter();
        let placed = places.map(|place| match vectors.remove(place.name) {
            Some(padded) => Ok((place, padded)),
            None => Err(lacks(place.name)),
        });
        let placed = placed.collect::<Result<Vec<_>>>()?;
        let mut encoder = self.gpu.encoder("a checkpoint");
        encoder.clear_buffer(&self.state.scalars, 0, None);
        self.gpu.submit("a checkpoint", encoder)?;

        // From here on nothing fails.
        let queue = self.gpu.queue();
        for (Place { storage, parts, .. }, padded) in placed {
            for (slice, range) in parts {
                let bytes = storage.pack(&padded[range]);
                queue.write_buffer(&slice.buffer, slice.offset, &bytes);
            }
        }
        let write = |slice: &GpuSlice, bytes: &[u8]| {
            queue.write_buffer(&slice.buffer, slice.offset, bytes);
        };
        write(&self.state.latest(), bytemuck::bytes_of(&record));
        write(&self.state.calibration(), &calibration);
        if let Some(rate) = rate {
            write(&self.state.rate(), &rate);
        }
        if let (Some(plan), Some(buffers)) = (&self.plan.regions, &self.state.regions) {
            let mut entries = plan.entries.clone();
            let records = snapshot.regions.unwrap_or_default();
            for (entry, records) in entries.iter_mut().zip(records.chunks_exact(2)) {
                entry.records.copy_from_slice(records);
            }
            queue.write_buffer(&buffers.regions, 0, bytemuck::cast_slice(&entries));
        }
        if let (Some(slices), Some(recent)) = (self.recent_records(progress.index), snapshot.recent)
        {
            let mut rest = &recent[..];
            for slice in slices {
                let (first, others) = rest.split_at(slice.size as usize / size_of::<Record>());
                write(&slice, bytemuck::cast_slice(first));
                rest = others;
            }
        }
        self.skips = skips;
        if let Some(timer) = &mut self.timer {
            timer.clear();
        }
        self.plateau = Plateau::new(&self.plan.events);
        if let (Some(plateau), Some(saved)) = (&mut self.plateau, progress.plateau) {
            plateau.load(saved);
        }
        self.index = progress.index;
        self.gradient_evaluations = progress.gradient_evaluations;
        self.pending.set_turned(progress.turned);
        self.rate_clock = rate_clock;
        (self.fixed_rate, self.rate_factor) = (fixed_rate, rate_factor);
        self.hyperparameters.learning_rate = learning_rate;
        self.use_loss_scale(progress.loss_scale);
        self.telemetry = Reader::from_step(progress.index);
        Ok(())
    }

    fn settings(&self) -> SavedSettings {
        SavedSettings { config: self.config.clone(), groups: self.layout.group_settings() }
    }

    /// Waits for the steps so far. Steps that the user has yet to submit would come later, so they are
    /// refused.
    pub(super) async fn settle(&self, wait: Wait) -> Result<()> {
        self.gpu.read(&self.state.latest(), wait).await?;
        self.pending.settle(&self.gpu, &self.state, wait).await?;
        match self.pending.first() {
            Some(_) => {
                Err(Error::checkpoint("steps are recorded but not submitted; submit them first"))
            }
            None => Ok(()),
        }
    }

    /// The clock of the learning rate as `progress` has it, or a new one.
    fn resumed_clock(&self, progress: &Progress) -> Option<RateClock> {
        let mut clock = self.plan.rate_clock?;
        if let Some(saved) = progress.rate_clock {
            clock.load(saved);
        }
        Some(clock)
    }

    /// What a vector holds before the first step, padded.
    fn first_values(&self, name: &str) -> Vec<f32> {
        match self.plan.dimer {
            Some(dimer) if name == ORIENTATION => {
                orientation::random(&self.layout, &self.region_tensors(), dimer.seed)
            }
            _ => vec![0.0; self.layout.padded_len()],
        }
    }

    /// N, cut to where the dimer reaches.
    fn within_reach(&self, padded: Vec<f32>) -> Vec<f32> {
        if !orientation::reaches_beyond(&self.layout, &padded) {
            return padded;
        }
        let unit = orientation::unit(&self.layout, &self.region_tensors(), padded);
        unit.unwrap_or_else(|| self.first_values(ORIENTATION))
    }

    /// Where the vectors that outlive a step lie.
    fn places(&self, in_pair: bool) -> Vec<Place> {
        let (state, storage) = (&self.state, self.plan.storage);
        let in_one_piece = [
            (PARAMS, Some(Vector::Params), Storage::F32),
            (ORIENTATION, Some(Vector::Orientation), storage),
            (FIRST_MOMENT, Some(Vector::FirstMoment), storage),
            (SECOND_MOMENT, Some(Vector::SecondMoment), storage),
            (PREVIOUS, in_pair.then_some(Vector::PreviousParams), Storage::F32),
        ];
        let place = |(name, vector, storage): (_, Option<Vector>, _)| {
            let slice = state.vector(vector?)?.clone();
            Some(Place { name, storage, parts: vec![(slice, self.plan.kept(vector?))] })
        };
        let mut places: Vec<_> = in_one_piece.into_iter().filter_map(place).collect();
        for &(vector, name) in self.plan.kept_vectors {
            let shards = self.plan.shards.iter().zip(&state.workspace);
            let parts = shards.map(|(shard, workspace)| {
                let size = storage.bytes() * shard.len() as u64;
                let offset = workspace.offset + u64::from(vector) * size;
                (GpuSlice { buffer: workspace.buffer.clone(), offset, size }, shard.clone())
            });
            places.push(Place { name, storage, parts: parts.collect() });
        }
        places
    }

    /// The records before step `index` that the next look of the schedule needs, if it needs any.
    fn recent_records(&self, index: u64) -> Option<Vec<GpuSlice>> {
        let window = self.plateau.as_ref()?.window().min(index);
        Some(self.state.records(index - window, index))
    }

    async fn read_region_entries(&self, wait: Wait) -> Result<Option<Vec<Region>>> {
        let Some(buffers) = &self.state.regions else { return Ok(None) };
        let bytes = self.gpu.read(&GpuSlice::whole(buffers.regions.clone()), wait).await?;
        Ok(Some(bytemuck::pod_collect_to_vec(&bytes)))
    }
}

/// What is found under `name`, where `wanted` says how long it must be, if it is of use here; with changed settings, what
/// is not there begins anew and what is of no use is left.
fn fitting<T>(
    name: &str,
    found: Option<Vec<T>>,
    wanted: Option<usize>,
    is_changed: bool,
) -> Result<Option<Vec<T>>> {
    match (found, wanted) {
        (Some(found), Some(wanted)) if found.len() == wanted => Ok(Some(found)),
        (Some(found), Some(wanted)) => Err(Error::checkpoint(format!(
            "`{name}` has {} entries, but {wanted} are needed",
            found.len()
        ))),
        (Some(_), None) if !is_changed => Err(beyond(name)),
        (None, Some(_)) if !is_changed => Err(lacks(name)),
        _ => Ok(None),
    }
}

fn beyond(name: &str) -> Error {
    Error::checkpoint(format!("it has `{name}`, which an optimizer with these settings has not"))
}
