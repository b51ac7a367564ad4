//! [`Layout`]: named tensors packed into one flat vector, their groups, tiles and shards.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::gpu::{DeviceLimits, Tuning, WORKGROUPS};
use crate::kernels::gpu_types::{BLOCK, MAX_GROUPS, MAX_WORKGROUPS};

/// Elements of the smallest tile; a tile is what one workgroup reduces to one partial.
pub(crate) const MIN_TILE: usize = 4096;

/// Most vec4 of one thread: Mesa's software driver silently ends a thread's loops after 65 536 iterations in
/// all, and loops are nested.
pub(crate) const MAX_ITERATIONS: usize = 1 << 15;

/// Most elements of a layout: indices of vec4 are u32 in the kernels, and the bytes of an f32 for each are counted in
/// usize.
const MAX_LEN: usize = if usize::BITS > 34 { 1 << 34 } else { 1 << 28 };

/// Settings shared by some of the tensors.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// Factor on the learning rate of the step and on the step along N, dimensionless, finite and ≥ 0; default
    /// 1. With 0 the tensors are frozen: they keep their bits, and N is zero there.
    pub learning_rate_scale: f64,
    /// Weight decay of these tensors in place of [`Config::weight_decay`], finite and ≥ 0; default `None`, for that.
    ///
    /// [`Config::weight_decay`]: crate::Config::weight_decay
    pub weight_decay: Option<f64>,
    /// Whether the dimer reaches into these tensors, if they are not frozen; if not, N is zero there. Default
    /// true.
    pub dimer: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self { learning_rate_scale: 1.0, weight_decay: None, dimer: true }
    }
}

/// Names a group of one [`LayoutBuilder`]. The default value names the group that has all defaults, in any
/// builder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupId {
    index: usize,
    /// The number of its builder.
    builder: u64,
}

/// One tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Unique name.
    pub name: String,
    /// Extents, slowest first; an empty shape is a scalar.
    pub shape: Vec<usize>,
    /// Index of its first element in the padded vector, a multiple of 64.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
    group: GroupId,
}

/// Builds a [`Layout`], which has an example.
#[derive(Clone, Debug)]
pub struct LayoutBuilder {
    /// Tells the groups of one builder from those of another.
    number: u64,
    groups: Vec<Group>,
    tensors: Vec<(String, Vec<usize>, GroupId)>,
}

impl LayoutBuilder {
    /// Adds a group and returns its name.
    pub fn group(&mut self, group: Group) -> GroupId {
        self.groups.push(group);
        GroupId { index: self.groups.len() - 1, builder: self.number }
    }

    /// Appends a tensor of the default group.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) -> &mut Self {
        self.tensor_in(GroupId::default(), name, shape)
    }

    /// Appends a tensor of `group`.
    pub fn tensor_in(
        &mut self,
        group: GroupId,
        name: impl Into<String>,
        shape: &[usize],
    ) -> &mut Self {
        self.tensors.push((name.into(), shape.to_vec(), group));
        self
    }

    /// Packs the tensors in the order in which they were added.
    ///
    /// # Errors
    /// [`Error::InvalidLayout`] if there is no tensor, if a tensor has no elements or the name of another
    /// one, if there are more than 256 groups (the default one counts), or if the vector has more than 2³⁴ elements (2²⁸ in
    /// a browser);
    /// [`Error::Foreign`] for a group of another builder; [`Error::InvalidConfig`] if a group's number is out
    /// of range.
    pub fn build(&self) -> Result<Layout> {
        let invalid = |reason: String| Err(Error::InvalidLayout { reason });
        if self.tensors.is_empty() {
            return invalid("it has no tensors".into());
        }
        if self.groups.len() > MAX_GROUPS {
            return invalid(format!("{} groups; the limit is {MAX_GROUPS}", self.groups.len()));
        }
        for group in &self.groups {
            group.validate()?;
        }
        let mut names = std::collections::HashSet::new();
        let mut tensors = Vec::with_capacity(self.tensors.len());
        let (mut offset, mut len) = (0_usize, 0_usize);
        for (name, shape, group) in &self.tensors {
            if !names.insert(name) {
                return invalid(format!("two tensors are named \"{name}\""));
            }
            let is_default = *group == GroupId::default();
            if !is_default && (group.builder != self.number || group.index >= self.groups.len()) {
                let what = format!("the group of \"{name}\"");
                return Err(Error::Foreign { what, owner: "layout builder" });
            }
            let elements = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
            let elements = match elements {
                Some(0) => {
                    return invalid(format!("\"{name}\" of shape {shape:?} has no elements"));
                }
                Some(n) if n <= MAX_LEN.saturating_sub(offset) => n,
                _ => {
                    let most = MAX_LEN.ilog2();
                    return invalid(format!("with \"{name}\" it has more than 2^{most} elements"));
                }
            };
            tensors.push(Tensor {
                name: name.clone(),
                shape: shape.clone(),
                offset,
                len: elements,
                group: *group,
            });
            offset += elements.next_multiple_of(BLOCK);
            len += elements;
        }
        let (groups, most_tiles) = (self.groups.clone(), WORKGROUPS as usize);
        Ok(Layout { groups, tensors, len, padded_len: offset, most_tiles })
    }
}

/// Named tensors packed into one flat vector of f32.
///
/// Each tensor starts on a multiple of 64 elements (256 bytes, so that it can be bound by itself); the
/// gap after it is zero and counts in no norm.
///
/// ```
/// use dimer::{Group, Layout};
///
/// let mut builder = Layout::builder();
/// let biases = builder.group(Group { weight_decay: Some(0.0), ..Group::default() });
/// builder.tensor("weight", &[10, 20]).tensor_in(biases, "bias", &[20]);
/// let layout = builder.build()?;
/// assert_eq!(layout.len(), 220);
/// assert_eq!(layout.tensors()[1].offset, 256);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    groups: Vec<Group>,
    tensors: Vec<Tensor>,
    len: usize,
    padded_len: usize,
    /// Most tiles: what a later kernel has to re-reduce.
    most_tiles: usize,
}

impl Layout {
    /// Starts an empty layout.
    pub fn builder() -> LayoutBuilder {
        // 0 is the number that the default group has.
        static BUILDERS: AtomicU64 = AtomicU64::new(1);
        let number = BUILDERS.fetch_add(1, Ordering::Relaxed);
        LayoutBuilder { number, groups: vec![Group::default()], tensors: Vec::new() }
    }

    /// One tensor named `params`, of `len` elements.
    ///
    /// # Errors
    /// The same as for [`LayoutBuilder::build`].
    pub fn flat(len: usize) -> Result<Self> {
        Self::builder().tensor("params", &[len]).build()
    }

    /// The tensors, in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The groups, in order; the first is the default one.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of `tensor`.
    pub fn group(&self, tensor: &Tensor) -> &Group {
        &self.groups[tensor.group.index]
    }

    /// Number of elements without padding: the length of every vector on the host.
    #[expect(clippy::len_without_is_empty, reason = "a layout is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of elements with padding: a vector on the GPU has 4 times as many bytes.
    pub fn padded_len(&self) -> usize {
        self.padded_len
    }

    /// Number of elements on which the dimer acts.
    pub(crate) fn dimer_len(&self) -> usize {
        self.tensors
            .iter()
            .filter(|tensor| self.group(tensor).is_reached())
            .map(|tensor| tensor.len)
            .sum()
    }

    /// Bytes of one vector on the GPU.
    pub fn bytes(&self) -> u64 {
        4 * self.padded_len as u64
    }

    /// Refuses a vector that is not as long as all tensors together.
    pub(crate) fn check_len(&self, what: &'static str, packed: &[f32]) -> Result<()> {
        match packed.len() {
            found if found != self.len => {
                Err(Error::LengthMismatch { what, expected: self.len, found })
            }
            _ => Ok(()),
        }
    }

    /// Spreads a packed host vector over the ranges of its tensors, the padding zero.
    pub(crate) fn pad(&self, what: &'static str, packed: &[f32]) -> Result<Vec<f32>> {
        self.check_len(what, packed)?;
        let mut padded = vec![0.0; self.padded_len];
        let mut rest = packed;
        for tensor in &self.tensors {
            let (values, after) = rest.split_at(tensor.len);
            padded[tensor.offset..tensor.offset + tensor.len].copy_from_slice(values);
            rest = after;
        }
        Ok(padded)
    }

    /// Gathers the tensors of a padded vector into a packed one.
    pub(crate) fn unpad(&self, padded: &[f32]) -> Vec<f32> {
        let ranges = self.tensors.iter().map(|t| &padded[t.offset..t.offset + t.len]);
        let mut packed = Vec::with_capacity(self.len);
        ranges.for_each(|range| packed.extend_from_slice(range));
        packed
    }

    /// The settings of each tensor's group, by its name.
    pub(crate) fn group_settings(&self) -> std::collections::BTreeMap<String, Group> {
        let groups = self.tensors.iter();
        groups.map(|tensor| (tensor.name.clone(), self.group(tensor).clone())).collect()
    }

    /// Index of the tensor's group in [`Self::groups`].
    pub(crate) fn group_index(&self, tensor: &Tensor) -> usize {
        tensor.group.index
    }

    /// One word per block: the group in the upper 24 bits, the number of valid elements below.
    pub(crate) fn blocks(&self) -> Vec<u32> {
        let mut blocks = Vec::with_capacity(self.padded_len / BLOCK);
        for tensor in &self.tensors {
            for first in (0..tensor.len).step_by(BLOCK) {
                let valid = (tensor.len - first).min(BLOCK);
                blocks.push((tensor.group.index as u32) << 8 | valid as u32);
            }
        }
        blocks
    }

    /// The same layout, cut into tiles for a device with this tuning.
    pub(crate) fn tiled(self, tuning: &Tuning) -> Self {
        let longest = 4 * MAX_ITERATIONS * tuning.workgroup_size as usize;
        let least = self.padded_len.div_ceil(longest).min(MAX_WORKGROUPS as usize);
        Self { most_tiles: least.max(tuning.workgroups as usize), ..self }
    }

    /// Most workgroups of one dispatch.
    pub(crate) fn workgroups(&self) -> u32 {
        self.most_tiles as u32
    }

    /// Elements per tile. The number depends on the length and the tuning, never on the limits of the device,
    /// so that a reduction has the same order, and the same bits, however the vector is sharded.
    pub(crate) fn tile(&self) -> usize {
        self.padded_len.div_ceil(self.most_tiles).next_multiple_of(MIN_TILE)
    }

    /// Number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.padded_len.div_ceil(self.tile())
    }

    /// Cuts `slice`, which begins with a tile, into ranges of whole tiles, sized so that one binding can hold `vectors` of them.
    pub(crate) fn shards(
        &self,
        limits: &DeviceLimits,
        vectors: usize,
        slice: std::ops::Range<usize>,
    ) -> Result<Vec<std::ops::Range<usize>>> {
        let needed = 4 * (vectors * self.tile()) as u64;
        let (limit, found) = limits.largest_binding();
        let tiles = (found / needed) as usize;
        if tiles == 0 {
            return Err(Error::LimitTooSmall { limit, needed, found });
        }
        let shard = tiles * self.tile();
        let starts = slice.clone().step_by(shard);
        Ok(starts.map(|start| start..(start + shard).min(slice.end)).collect())
    }
}

impl Group {
    /// Whether N has elements in these tensors.
    pub(crate) fn is_reached(&self) -> bool {
        self.dimer && self.learning_rate_scale as f32 > 0.0
    }

    fn validate(&self) -> Result<()> {
        let in_range = |value: f64| (value as f32).is_finite() && value >= 0.0;
        let fields = [
            ("group.learning_rate_scale", self.learning_rate_scale),
            ("group.weight_decay", self.weight_decay.unwrap_or(0.0)),
        ];
        for (field, value) in fields {
            if !in_range(value) {
                return Err(Error::InvalidConfig {
                    field,
                    value: value.to_string(),
                    expected: "not negative and finite in f32",
                });
            }
        }
        Ok(())
    }
}
