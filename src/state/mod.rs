//! [`State`]: the GPU buffers of one optimizer, and the bind groups over them.

mod bindings;
pub(crate) mod orientation;

pub(crate) use bindings::{BindGroups, Workspace};

use std::ops::Range;

use wgpu::BufferUsages;

use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice};
use crate::kernels::bindings::Vector;
use crate::kernels::gpu_types::{
    CALIBRATION_OFFSET, FIRST_RATE, LATEST_OFFSET, MEASUREMENTS, OVERFLOWED_OFFSET, PARTIAL,
    PARTIALS_OFFSET, RATE, RATE_OFFSET, RECORD, RING, RING_OFFSET, RITZ_OFFSET, RITZ_STOPPED,
    Record, STEP_SLOTS, STEP_STRIDE, Tables,
};
use crate::layout::Layout;
use crate::objective::UNWRITTEN;
use crate::plan::Plan;

/// The user's buffers that the optimizer is to work in; see
/// [`Optimizer::with_buffers`](crate::Optimizer::with_buffers).
///
/// Each needs the usages `STORAGE`, `COPY_SRC` and `COPY_DST`, and at least [`Layout::bytes`] bytes at an
/// offset aligned for storage bindings. `params` and `probe` must lie in buffers of their own; the two
/// gradients may share one. All must come from the [`wgpu::Instance`] of the [`Gpu`]: wgpu cannot tell
/// objects of two instances apart, and panics if they meet.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    /// θ; the optimizer reads and writes it in place. Allocated if `None`.
    pub params: Option<GpuSlice>,
    /// The probe, θ + ΔR·N or along the update. Allocated if `None` where there is one; see
    /// [`Config::has_probe`](crate::Config::has_probe). Not used where there is none.
    pub probe: Option<GpuSlice>,
    /// g₁, written by the objective. Allocated if `None`.
    pub gradient: Option<GpuSlice>,
    /// g₂, written by the objective. As `probe`, but for [`Rotation::Alternating`](crate::Rotation::Alternating), which has
    /// none.
    pub probe_gradient: Option<GpuSlice>,
}

/// The GPU buffers of one optimizer; `None` for vectors that the configuration does not have.
#[derive(Debug)]
pub(crate) struct State {
    pub params: GpuSlice,
    pub gradient: GpuSlice,
    pub previous_params: Option<GpuSlice>,
    pub probe: Option<GpuSlice>,
    pub probe_gradient: Option<GpuSlice>,
    pub orientation: Option<GpuSlice>,
    pub first_moment: Option<GpuSlice>,
    pub second_moment: Option<GpuSlice>,
    /// The vectors of a rotation by Rayleigh–Ritz: a buffer for each shard, or none.
    pub workspace: Vec<GpuSlice>,
    /// Loss, displacement, ring of records, partials.
    pub scalars: wgpu::Buffer,
    /// Four bytes into which an objective writes its loss, at θ and elsewhere. Only the first is read.
    pub loss: wgpu::Buffer,
    pub loss_of_probe: wgpu::Buffer,
    /// [`UNWRITTEN`](crate::objective::UNWRITTEN), which lies in `loss` before it is written.
    pub unwritten: wgpu::Buffer,
    pub blocks: wgpu::Buffer,
    /// `None` with a global dimer.
    pub regions: Option<RegionBuffers>,
    pub tables: wgpu::Buffer,
    pub steps: wgpu::Buffer,
}

/// The buffers of a scope with more than one dimer.
#[derive(Debug)]
pub(crate) struct RegionBuffers {
    pub pieces: wgpu::Buffer,
    pub regions: wgpu::Buffer,
}

/// Usages of every vector.
pub(crate) const VECTOR_USAGES: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// Usages of every uniform.
pub(crate) const UNIFORM_USAGES: BufferUsages = BufferUsages::UNIFORM.union(BufferUsages::COPY_DST);

impl State {
    /// Allocates what the user did not provide. Everything is zero except the tables.
    pub(crate) fn new(gpu: &Gpu, layout: &Layout, plan: &Plan, buffers: Buffers) -> Result<Self> {
        check_separate(&buffers)?;
        let allocate = |what, bytes| gpu.allocate(what, bytes, VECTOR_USAGES).map(GpuSlice::whole);
        let always = |what, given: Option<GpuSlice>| match given {
            Some(slice) => check_slice(gpu, what, slice, layout.bytes()),
            None => allocate(what, layout.bytes()),
        };
        let if_used = |what, given: Option<GpuSlice>, vector| match plan.width(vector) {
            Some(_) => always(what, given).map(Some),
            None => Ok(None),
        };
        let own = |what, vector| match plan.width(vector) {
            Some(width) => allocate(what, width * plan.kept(vector).len() as u64).map(Some),
            None => Ok(None),
        };
        let workspace = match plan.width(Vector::Workspace) {
            Some(width) => {
                let bytes = |elements: usize| width * (plan.workspace * elements) as u64;
                let shards = plan.shards.iter().map(|shard| bytes(shard.len()));
                shards.map(|bytes| allocate("workspace", bytes)).collect::<Result<_>>()?
            }
            None => Vec::new(),
        };
        let regions = match &plan.regions {
            Some(regions) => Some(RegionBuffers {
                pieces: filled(gpu, "pieces", &regions.pieces, VECTOR_USAGES)?,
                regions: filled(gpu, "regions", &regions.entries, VECTOR_USAGES)?,
            }),
            None => None,
        };
        let steps = u64::from(STEP_SLOTS) * STEP_STRIDE;
        let state = Self {
            params: always("params", buffers.params)?,
            previous_params: own("previous_params", Vector::PreviousParams)?,
            probe: if_used("probe", buffers.probe, Vector::Probe)?,
            gradient: always("gradient", buffers.gradient)?,
            probe_gradient: if_used(
                "probe_gradient",
                buffers.probe_gradient,
                Vector::ProbeGradient,
            )?,
            orientation: own("orientation", Vector::Orientation)?,
            first_moment: own("first_moment", Vector::FirstMoment)?,
            second_moment: own("second_moment", Vector::SecondMoment)?,
            workspace,
            scalars: gpu.allocate("scalars", plan.scalars_bytes(), VECTOR_USAGES)?,
            loss: filled(gpu, "loss", &[UNWRITTEN], VECTOR_USAGES)?,
            loss_of_probe: gpu.allocate("loss of a probe", 4, VECTOR_USAGES)?,
            unwritten: filled(gpu, "unwritten", &[UNWRITTEN], VECTOR_USAGES)?,
            blocks: filled(gpu, "blocks", &layout.blocks(), VECTOR_USAGES)?,
            regions,
            tables: filled::<Tables>(
                gpu,
                "tables",
                std::slice::from_ref(&plan.tables),
                UNIFORM_USAGES,
            )?,
            steps: gpu.allocate("steps", steps, UNIFORM_USAGES)?,
        };
        state.clear_padding(gpu, layout)?;
        Ok(state)
    }

    /// Zeroes the gaps between the tensors of θ; norms rely on these zeros.
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
        gpu.submit("the padding of params", encoder).map(drop)
    }

    /// Forgets a loss that was written for no step: the next must not take it for its own.
    pub(crate) fn forget_loss(&self, queue: &wgpu::Queue) {
        queue.write_buffer(&self.loss, 0, bytemuck::bytes_of(&UNWRITTEN));
    }

    /// The memory of what is kept of `vector`; `None` if the configuration does not have it, and for the workspace, which is not
    /// in one piece.
    pub(crate) fn vector(&self, vector: Vector) -> Option<&GpuSlice> {
        match vector {
            Vector::Params => Some(&self.params),
            Vector::Gradient => Some(&self.gradient),
            Vector::PreviousParams => self.previous_params.as_ref(),
            Vector::Probe => self.probe.as_ref(),
            Vector::ProbeGradient => self.probe_gradient.as_ref(),
            Vector::Orientation => self.orientation.as_ref(),
            Vector::FirstMoment => self.first_moment.as_ref(),
            Vector::SecondMoment => self.second_moment.as_ref(),
            Vector::Workspace => None,
        }
    }

    fn scalar(&self, offset: u64, size: u64) -> GpuSlice {
        GpuSlice { buffer: self.scalars.clone(), offset, size }
    }

    /// The latest record.
    pub(crate) fn latest(&self) -> GpuSlice {
        self.scalar(LATEST_OFFSET, RECORD)
    }

    /// The distance of the last probe along N; where it is 0, alternating evaluations begin anew.
    pub(crate) fn last_displacement(&self) -> GpuSlice {
        self.scalar(LATEST_OFFSET + std::mem::offset_of!(Record, displacement) as u64, 4)
    }

    /// How many steps in a row were skipped.
    pub(crate) fn streak(&self) -> GpuSlice {
        self.scalar(LATEST_OFFSET + std::mem::offset_of!(Record, streak) as u64, 4)
    }

    /// Whether a step took a parameter beyond f32.
    pub(crate) fn overflowed(&self) -> GpuSlice {
        self.scalar(OVERFLOWED_OFFSET, 8)
    }

    /// The loss as the next record takes it.
    pub(crate) fn loss_of_record(&self) -> GpuSlice {
        self.scalar(0, 4)
    }

    /// The sums over `tiles` in one set of partials.
    pub(crate) fn partials(&self, layout: &Layout, set: u32, tiles: Range<usize>) -> GpuSlice {
        let first = u64::from(set) * layout.tiles() as u64 + tiles.start as u64;
        self.scalar(PARTIALS_OFFSET + PARTIAL * first, PARTIAL * tiles.len() as u64)
    }

    /// What is found of the curvature along the update.
    pub(crate) fn rate(&self) -> GpuSlice {
        self.scalar(RATE_OFFSET, RATE)
    }

    /// The learning rate of the first of two steps on one minibatch, and by how many the parameters moved in the steps of
    /// the last measurement; 0 where there is none.
    pub(crate) fn moves(&self) -> GpuSlice {
        self.scalar(RATE_OFFSET + FIRST_RATE, 8)
    }

    /// How many measurements of the learning rate were valid, and how many were lost at their probes.
    pub(crate) fn measurements(&self) -> GpuSlice {
        self.scalar(RATE_OFFSET + MEASUREMENTS, 8)
    }

    /// The state of the automatic displacement.
    pub(crate) fn calibration(&self) -> GpuSlice {
        self.scalar(CALIBRATION_OFFSET, 16)
    }

    /// Whether the rotation under way needs no more gradients.
    pub(crate) fn stopped(&self) -> GpuSlice {
        self.scalar(RITZ_OFFSET + RITZ_STOPPED, 4)
    }

    /// The records of the steps `first..end`, at most a ring of them: one slice, or two where
    /// the ring wraps.
    pub(crate) fn records(&self, first: u64, end: u64) -> Vec<GpuSlice> {
        let ring = u64::from(RING);
        let slice = |place, count| self.scalar(RING_OFFSET + place * RECORD, count * RECORD);
        let (place, count) = (first % ring, end - first);
        let before_wrap = count.min(ring - place);
        let mut slices = vec![slice(place, before_wrap)];
        if before_wrap < count {
            slices.push(slice(0, count - before_wrap));
        }
        slices
    }
}

/// A buffer with `values` in it.
fn filled<T: bytemuck::Pod>(
    gpu: &Gpu,
    what: &str,
    values: &[T],
    usage: BufferUsages,
) -> Result<wgpu::Buffer> {
    let buffer = gpu.allocate(what, size_of_val(values) as u64, usage)?;
    gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(values));
    Ok(buffer)
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
    let missing = VECTOR_USAGES - slice.buffer.usage();
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
        return refuse(format!("it has {} bytes, but the padded layout needs {bytes}", slice.size));
    }
    // Which device a buffer belongs to shows only when it is used.
    let used = gpu.validated("a buffer", || {
        let mut encoder = gpu.encoder("a buffer");
        encoder.clear_buffer(&slice.buffer, 0, Some(0));
        encoder.finish()
    });
    match used {
        Ok(_) => Ok(GpuSlice { size: bytes, ..slice }),
        // A browser's answer is to earlier work.
        Err(Error::Rejected { .. }) if cfg!(not(target_family = "wasm")) => {
            Err(Error::Foreign { what: format!("the {what} buffer"), owner: "device" })
        }
        Err(error) => Err(error),
    }
}
