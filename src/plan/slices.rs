//! [`Slice`]: the part of all vectors that one rank updates, and where its programs gather those of the others.

use std::ops::Range;

use super::program::{Cursor, Evaluate, Gathered, Program, Section, Stage};
#[cfg(not(target_family = "wasm"))]
use crate::error::Result;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::layout::Layout;
use crate::objective::Point;
#[cfg(not(target_family = "wasm"))]
use crate::parallel::Collective;

/// Whole tiles of the padded vector, one after the other, that a rank updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    rank: u32,
    ranks: u32,
    tile: usize,
    padded_len: usize,
}

impl Slice {
    /// All of the vector, for an optimizer that is alone.
    pub(crate) fn whole(layout: &Layout) -> Self {
        Self::of(layout, 0, 1)
    }

    /// That of `rank` among so many.
    pub(crate) fn of(layout: &Layout, rank: u32, ranks: u32) -> Self {
        Self { rank, ranks, tile: layout.tile(), padded_len: layout.padded_len() }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.ranks == 1
    }

    pub(crate) fn rank(&self) -> u32 {
        self.rank
    }

    /// Its tiles.
    pub(crate) fn tiles(&self) -> Range<usize> {
        self.tiles_of(self.rank)
    }

    /// Its elements.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range_of(self.rank)
    }

    /// The elements of all ranks.
    pub(crate) fn of_all(&self) -> Range<usize> {
        0..self.padded_len
    }

    /// The tiles of any rank. Where there are fewer tiles than ranks, those without one of their own take the last as well,
    /// so that each finds out all that a step finds.
    pub(crate) fn tiles_of(&self, rank: u32) -> Range<usize> {
        let (ranks, rank) = (self.ranks as usize, rank as usize);
        let tiles = self.padded_len.div_ceil(self.tile);
        // The first ranks have one more.
        let (each, more) = (tiles / ranks, tiles % ranks);
        let first = (rank * each + rank.min(more)).min(tiles - 1);
        first..(first + each + usize::from(rank < more)).max(first + 1)
    }

    /// The elements of any rank.
    pub(crate) fn range_of(&self, rank: u32) -> Range<usize> {
        let Range { start, end } = self.tiles_of(rank);
        self.tile * start..(self.tile * end).min(self.padded_len)
    }

    /// The padded vector of which `own` is this rank's slice.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn gather<C: Collective + ?Sized>(
        &self,
        own: &[f32],
        group: &mut C,
    ) -> Result<Vec<f32>> {
        // All bring as many elements as the first, whose slice is the longest.
        let mut own = own.to_vec();
        own.resize(self.range_of(0).len(), 0.0);
        let mut padded = vec![0.0; self.padded_len];
        for (rank, bytes) in (0..).zip(group.gather(bytemuck::cast_slice(&own))?) {
            let range = self.range_of(rank);
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            padded[range.clone()].copy_from_slice(&values[..range.len()]);
        }
        Ok(padded)
    }

    /// `program` with a gathering wherever a rank needs what only others have found. If it moves the parameters, it ends
    /// with theirs.
    pub(super) fn gathering(&self, program: Program, moves: bool) -> Program {
        if self.is_whole() {
            return program;
        }
        let after_stop = program.after_stop;
        let mut at = after_stop;
        let mut sections = Vec::new();
        for (index, section) in program.sections.into_iter().enumerate() {
            let mut stages = Vec::new();
            for (number, stage) in section.stages.into_iter().enumerate() {
                if (index, number) == (after_stop.section, after_stop.stage) {
                    at = Cursor { stage: stages.len(), ..after_stop };
                }
                if let Stage::Evaluate(Evaluate { point: Point::Probe, .. }) = stage {
                    stages.push(Stage::Gather(Gathered::Vector(Vector::Probe)));
                }
                stages.push(stage);
                if let Stage::Dispatch(dispatch) = stage {
                    stages.extend(partials_of(dispatch.kernel).map(Stage::Gather));
                }
            }
            sections.push(Section { stages, ..section });
        }
        if moves {
            let stages = vec![Stage::Gather(Gathered::Vector(Vector::Params))];
            sections.push(Section { stages, times: 1 });
        }
        Program { sections, after_stop: at }
    }
}

/// The sums over tiles that a kernel leaves.
pub(crate) fn partials_of(kernel: Kernel) -> Option<Gathered> {
    let sets = match kernel {
        Kernel::Gram
        | Kernel::Norm
        | Kernel::MetricNorm
        | Kernel::ProbeProducts
        | Kernel::StepProducts => 0..1,
        Kernel::UpdateProducts => 1..2,
        Kernel::BasisGram | Kernel::AlternatingGram => 0..2,
        _ => return None,
    };
    Some(Gathered::Partials { first: sets.start, end: sets.end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Tuning;

    /// Every element belongs to a rank, and to one only, unless there are fewer tiles than ranks.
    #[test]
    fn slices_cover_the_vector() {
        for len in [1, 23, 257, 4099, 100_003, 1_000_003] {
            let layout = Layout::flat(len).unwrap().tiled(&Tuning::default());
            for ranks in [1, 2, 3, 4, 7, 300] {
                let ranges = (0..ranks).map(|rank| Slice::of(&layout, rank, ranks).range());
                let mut end = 0;
                for range in ranges {
                    let tiles = layout.tiles();
                    let is_last = end == layout.padded_len() && tiles < ranks as usize;
                    assert!(range.start == end || is_last, "{len}, {ranks}: {range:?} after {end}");
                    assert!(!range.is_empty(), "{len}, {ranks}: {range:?}");
                    end = range.end;
                }
                assert_eq!(end, layout.padded_len());
            }
        }
    }

    /// Every kernel that leaves sums over tiles is known to.
    #[test]
    fn kernels_leave_partials() {
        use crate::kernels::catalogue::Source;
        use crate::kernels::choices::Choices;
        let mut known = 0;
        for &kernel in Kernel::ALL {
            let choices = Choices {
                subgroups: false,
                storage: crate::config::Storage::F32,
                dimer: true,
                moments: 2,
            };
            let source = Source::new(kernel, choices).wgsl();
            let writes = |line: &&str| line.trim_start().starts_with("scalars.partials[");
            let of_regions = kernel.name().starts_with("regions/");
            let second = |line: &str| u32::from(line.contains("partials[step.tiles + "));
            let sets: std::collections::BTreeSet<u32> =
                source.lines().filter(|_| !of_regions).filter(writes).map(second).collect();
            let found: std::collections::BTreeSet<u32> = match partials_of(kernel) {
                Some(Gathered::Partials { first, end }) => (first..end).collect(),
                _ => Default::default(),
            };
            assert_eq!(found, sets, "{}", kernel.name());
            known += found.len();
        }
        assert!(known > 5);
    }
}
