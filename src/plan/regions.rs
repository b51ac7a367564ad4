//! The regions of a scope: the tensors that share one dimer, and the pieces that kernels walk.

use std::ops::Range;

use bytemuck::Zeroable;

use crate::config::Scope;
use crate::error::Result;
use crate::gpu::{DeviceLimits, Tuning};
use crate::kernels::gpu_types::{PIECE_WIDTH, Piece, Region};
use crate::layout::Layout;

/// Elements of the smallest piece that is cut from a larger one.
const MIN_PIECE: usize = 1024;

/// Most pieces of one tensor, except those that tiles cut: what one reduction has to add.
const MAX_PIECES: usize = 2048;

/// The regions of one layout.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    /// For each region, its tensors.
    pub tensors: Vec<Vec<usize>>,
    pub entries: Vec<Region>,
    /// In the order of the vector.
    pub pieces: Vec<Piece>,
    /// Which pieces belong to each shard.
    pub of_shard: Vec<Range<usize>>,
    /// Regions of several pieces.
    pub several: usize,
}

impl Regions {
    /// `None` for a global dimer.
    pub(super) fn new(layout: &Layout, scope: Scope, shards: &[Range<usize>]) -> Option<Self> {
        let tensors = layout.tensors();
        let of_tensor: Vec<usize> = match scope {
            Scope::Global => return None,
            Scope::PerTensor => (0..tensors.len()).collect(),
            Scope::PerGroup => tensors.iter().map(|tensor| layout.group_index(tensor)).collect(),
        };
        // Groups without tensors have no region.
        let mut used = of_tensor.clone();
        used.sort_unstable();
        used.dedup();
        let mut regions = Self {
            tensors: vec![Vec::new(); used.len()],
            entries: vec![Region::zeroed(); used.len()],
            pieces: Vec::new(),
            of_shard: Vec::new(),
            several: 0,
        };
        for (index, (tensor, key)) in tensors.iter().zip(&of_tensor).enumerate() {
            let region = used.partition_point(|other| other < key);
            regions.tensors[region].push(index);
            if layout.group(tensor).is_reached() {
                regions.entries[region].elements += tensor.len as u32;
            }
        }
        regions.cut(layout, shards);
        Some(regions)
    }

    /// How many regions the dimer reaches.
    pub(super) fn reached(&self) -> usize {
        self.entries.iter().filter(|region| region.elements > 0).count()
    }

    /// Cuts the regions into pieces, in the order of the vector, and says which belong to each
    /// shard. Fills in where the partials of each region lie.
    fn cut(&mut self, layout: &Layout, shards: &[Range<usize>]) {
        let mut region_of = vec![0; layout.tensors().len()];
        for (region, tensors) in self.tensors.iter().enumerate() {
            tensors.iter().for_each(|&tensor| region_of[tensor] = region);
        }
        let ends = layout.tensors().iter().skip(1).map(|tensor| tensor.offset);
        let ends: Vec<usize> = ends.chain([layout.padded_len()]).collect();
        let mut pieces = Vec::new();
        let mut of_shard = Vec::new();
        for shard in shards {
            let begin = pieces.len();
            let first = ends.partition_point(|&end| end <= shard.start);
            for tensor in first..ends.len() {
                let start = layout.tensors()[tensor].offset;
                if start >= shard.end {
                    break;
                }
                let length = (ends[tensor] - start).div_ceil(MAX_PIECES);
                let length = length.next_multiple_of(MIN_PIECE);
                let (mut at, to) = (start.max(shard.start), ends[tensor].min(shard.end));
                while at < to {
                    // Shards end with tiles: where pieces do, too, a sum has the same order, and the
                    // same bits, however the vector is sharded.
                    let tile_end = (at / layout.tile() + 1) * layout.tile();
                    let end = (at + length).min(tile_end).min(to);
                    pieces.push(Piece {
                        first: ((at - shard.start) / 4) as u32,
                        end: ((end - shard.start) / 4) as u32,
                        region: region_of[tensor] as u32,
                        partial: 0,
                        group: layout.group_index(&layout.tensors()[tensor]) as u32,
                        valid_end: (start + layout.tensors()[tensor].len)
                            .saturating_sub(shard.start)
                            .min(shard.len()) as u32,
                        padding: [0; 2],
                    });
                    at = end;
                }
            }
            of_shard.push(begin..pieces.len());
        }
        let mut partials: Vec<usize> = (0..pieces.len()).collect();
        partials.sort_by_key(|&piece| pieces[piece].region);
        for (partial, &piece) in partials.iter().enumerate() {
            pieces[piece].partial = partial as u32;
            let entry = &mut self.entries[pieces[piece].region as usize];
            if entry.end_partial == 0 {
                entry.first_partial = partial as u32;
            }
            entry.end_partial = partial as u32 + 1;
        }
        let several = self.entries.iter().enumerate().filter(|(_, region)| region.has_several());
        let several: Vec<u32> = several.map(|(region, _)| region as u32).collect();
        self.several = several.len();
        self.entries.iter_mut().zip(several).for_each(|(entry, region)| entry.several = region);
        (self.pieces, self.of_shard) = (pieces, of_shard);
    }

    /// Workgroups with a thread for each region.
    pub(crate) fn threads(&self, workgroup_size: u32) -> u32 {
        (self.entries.len() as u32).div_ceil(workgroup_size)
    }

    /// Workgroups with a stream of threads for each region of several pieces.
    pub(crate) fn streams(&self, workgroup_size: u32) -> u32 {
        workgroups(self.several, workgroup_size)
    }

    /// Whether any region has one piece only.
    pub(crate) fn has_single(&self) -> bool {
        self.several < self.entries.len()
    }
}

/// Whether the device can dispatch the regions: those of several pieces each take a stream, and all of them a
/// thread. Everything else gets by with few workgroups.
pub(crate) fn check_workgroups(
    several: usize,
    regions: usize,
    tuning: &Tuning,
    limits: &DeviceLimits,
) -> Result<()> {
    let size = tuning.workgroup_size;
    limits.check_workgroups(workgroups(several, size).max((regions as u32).div_ceil(size)))
}

/// Workgroups for `count` pieces or regions, a stream of threads for each.
pub(crate) fn workgroups(count: usize, workgroup_size: u32) -> u32 {
    (count as u32).div_ceil(workgroup_size / PIECE_WIDTH as u32)
}
