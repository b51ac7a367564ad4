//! The bytes of a checkpoint: safetensors with a checksum.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::kernels::gpu_types::{self, Record};

/// Version of the format, and the keys of its metadata.
const VERSION: u32 = 3;
const VERSION_KEY: &str = "dimer_format";
const CHECKSUM_KEY: &str = "crc32";

/// The tensors that hold records.
pub(super) const RECORD: &str = "record";
pub(super) const REGIONS: &str = "regions";
pub(super) const RECENT: &str = "recent_records";

/// The tensor that holds the state of a learning rate from curvature.
pub(super) const RATE: &str = "rate";

/// Bytes of a record in versions 1, which ends before the learning rate, and 2, before the curvature that an event
/// began with.
const OLD_RECORDS: [usize; 2] = [4 * 28, 4 * 32];

/// Where in an old record the longest saddle-free step is, which was another number there.
const OLD_TRUST_RADIUS: std::ops::Range<usize> = 4 * 24..4 * 25;

/// Words of the state of a learning rate before it counted lost measurements, the byte where that number is now, and words
/// before it knew the longest update.
const OLDEST_RATE: usize = 22;
const LOST: usize = 84;
const OLD_RATE: usize = 23;

/// Most bytes of the header of a safetensors file.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a file: words, and their shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
    /// Whether the words are f32; if not, they are u32.
    pub float: bool,
}

/// What a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The version of the format that it was in.
    pub version: u32,
    pub tensors: BTreeMap<String, Words>,
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The bytes of a file.
    pub(crate) fn into_bytes(mut self) -> Result<Vec<u8>> {
        self.metadata.insert(VERSION_KEY.to_owned(), VERSION.to_string());
        self.metadata.insert(CHECKSUM_KEY.to_owned(), self.checksum());
        let tensors: Vec<(&str, TensorView<'_>)> = self
            .tensors
            .iter()
            .map(|(name, words)| {
                let dtype = if words.float { Dtype::F32 } else { Dtype::U32 };
                let view = TensorView::new(dtype, words.shape.clone(), &words.bytes);
                view.map(|view| (name.as_str(), view))
            })
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::checkpoint_from("its tensors", error))?;
        let metadata = self.metadata.clone().into_iter().collect();
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| {
            let what = match error {
                SafeTensorError::HeaderTooLarge => self.too_many_names(),
                _ => "its tensors".to_owned(),
            };
            Error::checkpoint_from(what, error)
        })
    }

    fn too_many_names(&self) -> String {
        let bytes: usize = self.tensors.keys().map(String::len).sum();
        let count = self.tensors.len();
        format!(
            "the names of its {count} tensors have {bytes} bytes, and a header of safetensors at most {MAX_HEADER}; \
             join tensors in the layout, or give them shorter names"
        )
    }

    /// Reads the bytes of a file; anything other than what was written is an error.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| Error::checkpoint_from("it is not a safetensors file", error))?;
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::checkpoint_from("its tensors", error))?;
        let mut metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let version = version(metadata.get(VERSION_KEY))?;
        let checksum =
            metadata.remove(CHECKSUM_KEY).ok_or_else(|| Error::checkpoint("it has no checksum"))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let float = match view.dtype() {
                Dtype::F32 => true,
                Dtype::U32 => false,
                other => {
                    let reason = format!("`{name}` has elements of type {other:?}");
                    return Err(Error::checkpoint(reason));
                }
            };
            let words = Words { shape: view.shape().to_vec(), bytes: view.data().to_vec(), float };
            tensors.insert(name, words);
        }
        let mut checkpoint = Self { version, tensors, metadata };
        // A fuzzer would never get past this check.
        if checkpoint.checksum() != checksum && !cfg!(fuzzing) {
            return Err(Error::checkpoint("it is damaged: its checksum does not match"));
        }
        checkpoint.metadata.remove(VERSION_KEY);
        if let Some(&bytes) = OLD_RECORDS.get(version as usize - 1) {
            checkpoint.widen_records(bytes);
        }
        if let Some(rate) = checkpoint.tensors.get_mut(RATE)
            && let [words @ (OLDEST_RATE | OLD_RATE)] = rate.shape[..]
        {
            if words == OLDEST_RATE {
                rate.bytes.splice(LOST..LOST, [0; 4]);
            }
            rate.bytes.resize(gpu_types::RATE as usize, 0);
            rate.shape = vec![gpu_types::RATE as usize / 4];
        }
        Ok(checkpoint)
    }

    /// Adds to records of this size what has come since, as zeros.
    fn widen_records(&mut self, bytes: usize) {
        let widen = |record: &[u8]| {
            let mut record = record.to_vec();
            record.resize(size_of::<Record>(), 0);
            record[OLD_TRUST_RADIUS].fill(0);
            record
        };
        for name in [RECORD, REGIONS, RECENT] {
            let Some(words) = self.tensors.get_mut(name) else { continue };
            words.bytes = words.bytes.chunks(bytes).flat_map(widen).collect();
            words.shape = vec![words.bytes.len() / 4];
        }
    }

    /// The checksum of every name, shape, word and entry of the metadata.
    pub(crate) fn checksum(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        // Lengths go in as well, so that nothing can move from one field to the next.
        let mut update = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (name, words) in &self.tensors {
            update(name.as_bytes());
            let shape: Vec<u64> = words.shape.iter().map(|&extent| extent as u64).collect();
            update(bytemuck::cast_slice(&shape));
            update(&[u8::from(words.float)]);
            update(&words.bytes);
        }
        for (key, value) in self.metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
            update(key.as_bytes());
            update(value.as_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }
}

/// The version of the format, if it is one that can be read.
fn version(found: Option<&String>) -> Result<u32> {
    let found = found.ok_or_else(|| Error::checkpoint("it is not a checkpoint of this crate"))?;
    match found.parse::<u32>() {
        Ok(version @ 1..=VERSION) => Ok(version),
        Ok(newer) if newer > VERSION => Err(Error::checkpoint(format!(
            "its format is version {newer}, but this crate reads up to {VERSION}; update it"
        ))),
        _ => Err(Error::checkpoint(format!("`{found}` is not a format version"))),
    }
}
