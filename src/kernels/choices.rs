//! [`Choices`]: which of several files stands for a name that shaders build on.

use crate::config::Storage;

/// What a device or a configuration chooses between: which file stands for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Choices {
    /// Whether sums use subgroups.
    pub subgroups: bool,
    pub storage: Storage,
    /// Whether the step has the vectors of a dimer.
    pub dimer: bool,
    /// How many moments the base optimizer has.
    pub moments: u32,
}

impl Choices {
    /// The file of `shaders/shared` that stands for `name`.
    pub(super) fn file(self, name: &'static str) -> &'static str {
        match name {
            "threads" if self.subgroups => "threads_subgroup",
            "entry" if self.subgroups => "entry_subgroup",
            "stored" => match self.storage {
                Storage::F32 => "stored_f32",
                Storage::Bf16 => "stored_bf16",
            },
            "dimer_vectors" if !self.dimer => "dimer_vectors_none",
            "moments" => ["moments_none", "moments_one", "moments_two"][self.moments as usize],
            name => name,
        }
    }
}
