//! [`State`]: the GPU buffers of one optimizer.

mod regions;
mod twins;

pub(crate) use regions::PIECE_WIDTH;
#[cfg(test)]
pub(crate) use regions::Piece;
pub(crate) use regions::{Region, Regions, workgroups};
#[cfg(test)]
pub(crate) use twins::GroupEntry;
pub(crate) use twins::{Record, Shard, Step, Tables};

use std::ops::Range;

use wgpu::BufferUsages;

use crate::config::{Base, Config, RayleighRitz, Storage};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};
use crate::layout::Layout;

/// Records in the ring of step results.
pub(crate) const RING: u32 = 1024;

/// Steps whose hyperparameters can wait on the GPU at the same time.
pub(crate) const STEP_SLOTS: u32 = 256;

/// Bytes from one slot to the next: the largest alignment that uniform offsets can need.
pub(crate) const STEP_STRIDE: u64 = 256;

/// `Record.status`: the step was an event.
pub(crate) const EVENT: u32 = 1;

/// `Record.status`: the step was skipped.
pub(crate) const SKIPPED: u32 = 2;

/// `Record.status`: the slot of the ring was written.
pub(crate) const WRITTEN: u32 = 4;

/// `Record.status`: the norm of the gradient was not measured.
pub(crate) const UNMEASURED: u32 = 8;

/// Bytes of `Scalars` before its latest record, and of one record.
const SCALARS_HEADER: u64 = 32;

/// Bytes of `Scalars` before its calibration.
const CALIBRATION_OFFSET: u64 = 16;
const RECORD: u64 = size_of::<Record>() as u64;

/// Bytes of `Scalars` before the ring.
const RING_OFFSET: u64 = SCALARS_HEADER + 2 * RECORD + RITZ;

/// Bytes of `Scalars` before its partials.
pub(crate) const PARTIALS_OFFSET: u64 = RING_OFFSET + RING as u64 * RECORD;

/// Bytes of one `Partial`.
pub(crate) const PARTIAL: u64 = 48;

/// Bytes of `Ritz`, and before its `stopped`.
const RITZ: u64 = 64;
const RITZ_STOPPED: u64 = 48;

/// Sets of partials that the widest reduction leaves.
const PARTIAL_SETS: u64 = 2;

/// Buffers of the user that the optimizer is to work in; see
/// [`Optimizer::with_buffers`](crate::Optimizer::with_buffers).
///
/// Each needs the usages `STORAGE`, `COPY_SRC` and `COPY_DST`, and at least [`Layout::bytes`]
/// bytes at an offset aligned for storage bindings. `params` and `probe` must lie in buffers of
/// their own; the two gradients may share one. All must come from the [`wgpu::Instance`] of the
/// [`Gpu`]: wgpu cannot tell, and panics, when objects of two instances meet.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    /// θ; the optimizer reads and writes it in place. Allocated if `None`.
    pub params: Option<GpuSlice>,
    /// The probe θ + ΔR·N. Allocated if `None` and a dimer is configured.
    pub probe: Option<GpuSlice>,
    /// g₁, written by the objective. Allocated if `None`.
    pub gradient: Option<GpuSlice>,
    /// g₂, written by the objective. Allocated if `None` and a dimer is configured.
    pub probe_gradient: Option<GpuSlice>,
}

/// The GPU buffers of one optimizer. Vectors that the configuration does not use are stubs.
#[derive(Debug)]
pub(crate) struct State {
    pub params: GpuSlice,
    pub probe: GpuSlice,
    pub gradient: GpuSlice,
    pub probe_gradient: GpuSlice,
    pub orientation: GpuSlice,
    pub first_moment: GpuSlice,
    pub second_moment: GpuSlice,
    /// The format of N, the moments and the workspace.
    pub storage: Storage,
    /// The vectors of a rotation by Rayleigh–Ritz, shard by shard.
    pub workspace: wgpu::Buffer,
    /// Loss, displacement, ring of records, partials.
    pub scalars: wgpu::Buffer,
    /// Four bytes into which an objective writes its loss.
    pub loss: wgpu::Buffer,
    pub blocks: wgpu::Buffer,
    /// None with a global dimer.
    pub regions: Option<RegionBuffers>,
    pub tables: wgpu::Buffer,
    pub steps: wgpu::Buffer,
}

/// The buffers of a scope with more than one dimer.
#[derive(Debug)]
pub(crate) struct RegionBuffers {
    pub pieces: wgpu::Buffer,
    pub regions: wgpu::Buffer,
    /// For each region, its tensors.
    pub tensors: Vec<Vec<usize>>,
    /// Which pieces belong to each shard.
    pub of_shard: Vec<Range<usize>>,
    /// Regions that the dimer reaches, and regions of several pieces.
    pub reached: usize,
    pub several: usize,
}

impl RegionBuffers {
    fn new(gpu: &Gpu, layout: &Layout, mut regions: Regions) -> Result<(Self, usize)> {
        let shards = layout.shards(&gpu.device().limits(), 1)?;
        let (pieces, of_shard) = regions.pieces(layout, &shards);
        let several = regions.entries.iter().filter(|region| region.has_several()).count();
        check_workgroups(gpu, several, regions.entries.len())?;
        let buffers = Self {
            pieces: gpu.allocate("pieces", size_of_val(&pieces[..]) as u64, VECTOR)?,
            regions: gpu.allocate("regions", size_of_val(&regions.entries[..]) as u64, VECTOR)?,
            reached: regions.count(),
            several,
            tensors: regions.tensors,
            of_shard,
        };
        gpu.queue().write_buffer(&buffers.pieces, 0, bytemuck::cast_slice(&pieces));
        gpu.queue().write_buffer(&buffers.regions, 0, bytemuck::cast_slice(&regions.entries));
        Ok((buffers, pieces.len()))
    }

    /// How many regions there are.
    pub(crate) fn count(&self) -> usize {
        self.tensors.len()
    }
}

/// Storage buffers of one kernel that a scope with more than one dimer needs.
const SCOPE_BUFFERS: u32 = 10;

/// Regions of several pieces each take a stream of one dispatch, and all of them a thread; everything
/// else walks what there is in few workgroups.
pub(crate) fn check_workgroups(gpu: &Gpu, several: usize, regions: usize) -> Result<()> {
    let size = gpu.tuning().workgroup_size;
    let needed = workgroups(several, size).max((regions as u32).div_ceil(size));
    let found = gpu.device().limits().max_compute_workgroups_per_dimension;
    if needed <= found {
        return Ok(());
    }
    Err(Error::LimitTooSmall {
        limit: "max_compute_workgroups_per_dimension",
        needed: needed.into(),
        found: found.into(),
    })
}

fn check_scope(gpu: &Gpu) -> Result<()> {
    let found = gpu.device().limits().max_storage_buffers_per_shader_stage;
    if found >= SCOPE_BUFFERS {
        return Ok(());
    }
    Err(Error::LimitTooSmall {
        limit: "max_storage_buffers_per_shader_stage",
        needed: SCOPE_BUFFERS.into(),
        found: found.into(),
    })
}

/// Bytes of a vector that is bound but never touched.
const STUB: u64 = 16;

/// Usages of every vector.
const VECTOR: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

impl State {
    /// Allocates what the user did not bring. Everything is zero but the tables.
    pub(crate) fn new(
        gpu: &Gpu,
        layout: &Layout,
        config: &Config,
        buffers: Buffers,
    ) -> Result<Self> {
        check_separate(&buffers)?;
        let bytes = layout.bytes();
        // Those of the optimizer alone.
        let stored = layout.padded_len() as u64 * config.storage.bytes();
        let vector = |what, given: Option<GpuSlice>, used: bool| match given {
            Some(slice) => check_slice(gpu, what, slice, bytes),
            None => {
                gpu.allocate(what, if used { bytes } else { STUB }, VECTOR).map(GpuSlice::whole)
            }
        };
        let own = |what, used: bool| {
            gpu.allocate(what, if used { stored } else { STUB }, VECTOR).map(GpuSlice::whole)
        };
        let dimer = config.dimer.is_some();
        let momentum = !matches!(config.base, Base::Sgd { momentum: 0.0, .. });
        let adam = !matches!(config.base, Base::Sgd { .. });
        let regions = match config.dimer.as_ref().map(|dimer| dimer.scope) {
            Some(scope) => Regions::new(layout, scope),
            None => None,
        };
        let regions = match regions {
            Some(regions) => {
                check_scope(gpu)?;
                Some(RegionBuffers::new(gpu, layout, regions)?)
            }
            None => None,
        };
        let (regions, pieces) =
            regions.map_or((None, 0), |(buffers, pieces)| (Some(buffers), pieces as u64));
        let partials = (PARTIAL_SETS * layout.tiles() as u64).max(pieces * PIECE_WIDTH);
        let scalars = PARTIALS_OFFSET + partials * PARTIAL;
        let ritz = config.rayleigh_ritz().map(RayleighRitz::vectors);
        let workspace = ritz.map_or(STUB, |vectors| vectors as u64 * stored);
        let blocks = layout.blocks();
        let state = Self {
            params: vector("params", buffers.params, true)?,
            probe: vector("probe", buffers.probe, dimer)?,
            gradient: vector("gradient", buffers.gradient, true)?,
            probe_gradient: vector("probe_gradient", buffers.probe_gradient, dimer)?,
            orientation: own("orientation", dimer)?,
            first_moment: own("first_moment", momentum)?,
            second_moment: own("second_moment", adam)?,
            storage: config.storage,
            workspace: gpu.allocate("workspace", workspace, VECTOR)?,
            scalars: gpu.allocate("scalars", scalars, VECTOR)?,
            loss: gpu.allocate("loss", 4, VECTOR)?,
            blocks: gpu.allocate("blocks", blocks.len() as u64 * 4, VECTOR)?,
            regions,
            tables: gpu.allocate(
                "tables",
                size_of::<Tables>() as u64,
                BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            )?,
            steps: gpu.allocate(
                "steps",
                u64::from(STEP_SLOTS) * STEP_STRIDE,
                BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            )?,
        };
        let queue = gpu.queue();
        queue.write_buffer(&state.blocks, 0, bytemuck::cast_slice(&blocks));
        let tables = Tables::new(layout, config, &blocks);
        queue.write_buffer(&state.tables, 0, bytemuck::bytes_of(&tables));
        state.clear_padding(gpu, layout)?;
        Ok(state)
    }

    /// Zeroes the gaps between the tensors of θ, on which norms rely.
    fn clear_padding(&self, gpu: &Gpu, layout: &Layout) -> Result<()> {
        let ends = layout.tensors().iter().skip(1).map(|t| t.offset).chain([layout.padded_len()]);
        let mut encoder = gpu.encoder("padding");
        for (tensor, end) in layout.tensors().iter().zip(ends) {
            let begin = tensor.offset + tensor.len;
            if begin < end {
                let offset = self.params.offset + 4 * begin as u64;
                let size = 4 * (end - begin) as u64;
                encoder.clear_buffer(&self.params.buffer, offset, Some(size));
            }
        }
        gpu.submit("the padding of params", encoder)
    }

    /// For each dimer, its tensors.
    pub(crate) fn region_tensors(&self, layout: &Layout) -> Vec<Vec<usize>> {
        match &self.regions {
            Some(regions) => regions.tensors.clone(),
            None => vec![(0..layout.tensors().len()).collect()],
        }
    }

    /// The latest record.
    pub(crate) fn latest(&self) -> GpuSlice {
        GpuSlice { buffer: self.scalars.clone(), offset: SCALARS_HEADER, size: RECORD }
    }

    /// How many steps in a row were skipped.
    pub(crate) fn streak(&self) -> GpuSlice {
        let offset = SCALARS_HEADER + std::mem::offset_of!(Record, streak) as u64;
        GpuSlice { buffer: self.scalars.clone(), offset, size: 4 }
    }

    /// The state of the automatic displacement.
    pub(crate) fn calibration(&self) -> GpuSlice {
        GpuSlice { buffer: self.scalars.clone(), offset: CALIBRATION_OFFSET, size: 16 }
    }

    /// Whether the rotation under way needs no more gradients.
    pub(crate) fn stopped(&self) -> GpuSlice {
        let offset = SCALARS_HEADER + 2 * RECORD + RITZ_STOPPED;
        GpuSlice { buffer: self.scalars.clone(), offset, size: 4 }
    }

    /// The records of the steps `first..end`, at most a ring of them: one slice, or two where
    /// the ring wraps.
    pub(crate) fn records(&self, first: u64, end: u64) -> Vec<GpuSlice> {
        let ring = u64::from(RING);
        let slice = |slot: u64, count: u64| GpuSlice {
            buffer: self.scalars.clone(),
            offset: RING_OFFSET + slot * RECORD,
            size: count * RECORD,
        };
        let (slot, count) = (first % ring, end - first);
        let before_wrap = count.min(ring - slot);
        let mut slices = vec![slice(slot, before_wrap)];
        if before_wrap < count {
            slices.push(slice(0, count - before_wrap));
        }
        slices
    }
}

/// A kernel that writes one of these buffers reads another, which wgpu forbids within one buffer.
fn check_separate(buffers: &Buffers) -> Result<()> {
    let Buffers { params, probe, gradient, probe_gradient } = buffers;
    let pairs = [
        ("probe", probe, "params", params),
        ("gradient", gradient, "params", params),
        ("probe_gradient", probe_gradient, "params", params),
        ("gradient", gradient, "probe", probe),
        ("probe_gradient", probe_gradient, "probe", probe),
    ];
    for (what, slice, other, written) in pairs {
        if let (Some(slice), Some(written)) = (slice, written)
            && slice.buffer == written.buffer
        {
            return Err(Error::InvalidBuffer {
                what,
                reason: format!("it shares a buffer with {other}; give each a buffer of its own"),
            });
        }
    }
    if let (Some(one), Some(two)) = (gradient, probe_gradient)
        && one.buffer == two.buffer
        && one.offset < two.offset.saturating_add(two.size)
        && two.offset < one.offset.saturating_add(one.size)
    {
        return Err(Error::InvalidBuffer {
            what: "probe_gradient",
            reason: "it overlaps gradient; both are needed at the same time".into(),
        });
    }
    Ok(())
}

fn check_slice(gpu: &Gpu, what: &'static str, slice: GpuSlice, bytes: u64) -> Result<GpuSlice> {
    let refuse = |reason| Err(Error::InvalidBuffer { what, reason });
    let alignment = u64::from(gpu.device().limits().min_storage_buffer_offset_alignment);
    if !slice.offset.is_multiple_of(alignment) {
        return refuse(format!("offset {} is not a multiple of {alignment}", slice.offset));
    }
    let missing = VECTOR - slice.buffer.usage();
    if !missing.is_empty() {
        return refuse(format!("it lacks the usages {missing:?}"));
    }
    let end = slice.offset.checked_add(slice.size);
    if end.is_none_or(|end| end > slice.buffer.size()) {
        return refuse(format!(
            "bytes {} + {} reach past its {} bytes",
            slice.offset,
            slice.size,
            slice.buffer.size()
        ));
    }
    if slice.size < bytes {
        return refuse(format!("it has {} bytes, the padded layout needs {bytes}", slice.size));
    }
    // Only using a buffer tells whose it is.
    let used = gpu.validated("a buffer", || {
        let mut encoder = gpu.encoder("a buffer");
        encoder.clear_buffer(&slice.buffer, 0, Some(0));
        encoder.finish()
    });
    match used {
        Ok(_) => Ok(GpuSlice { size: bytes, ..slice }),
        Err(_) => refuse(format!("it belongs to another device than {}", gpu.name())),
    }
}
