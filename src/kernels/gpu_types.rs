//! The structs that cross to the GPU, the same as in WGSL in `shaders/shared`; `src/tests/gpu_types.rs`
//! checks that they agree.

use bytemuck::{Pod, Zeroable};

/// What lies in memory before an objective writes to it: a NaN that no arithmetic produces.
pub(crate) const UNWRITTEN: u32 = 0x7fd1_3e57;

/// Elements of one block; every tensor starts on one, so a block has one group.
pub(crate) const BLOCK: usize = 64;

/// Most groups of a layout: the length of the group table.
pub(crate) const MAX_GROUPS: usize = 256;

/// Four times `MAX_TILE_ROWS`: most workgroups of one dispatch.
pub(crate) const MAX_WORKGROUPS: u32 = 2048;

/// Threads that walk one piece together.
pub(crate) const PIECE_WIDTH: u64 = 4;

/// Records in the ring of step results.
pub(crate) const RING: u32 = 1024;

/// `Record.status`: the step was an event.
pub(crate) const EVENT: u32 = 1;

/// `Record.status`: the step was skipped.
pub(crate) const SKIPPED: u32 = 2;

/// `Record.status`: the record was written.
pub(crate) const WRITTEN: u32 = 4;

/// `Record.status`: the norm of the gradient was not measured.
pub(crate) const UNMEASURED: u32 = 8;

/// `Record.status`: the step measured its learning rate.
pub(crate) const RATE_MEASURED: u32 = 64;

/// `Record.status`: it would have, but a gradient was not finite.
pub(crate) const RATE_LOST: u32 = 128;

/// Where in `Record.status` the reason why a rotation stopped lies, and the possible reasons.
pub(crate) const STOP_SHIFT: u32 = 4;
pub(crate) const BY_RESIDUAL: u32 = 1;
pub(crate) const BY_ANGLE: u32 = 2;

/// Steps whose hyperparameters can wait on the GPU at the same time.
pub(crate) const STEP_SLOTS: u32 = 256;

/// Bytes from one slot to the next: the largest alignment that uniform offsets can need.
pub(crate) const STEP_STRIDE: u64 = 256;

/// Bytes of one `Partial`.
pub(crate) const PARTIAL: u64 = 48;

/// Most sets of partials that a reduction of tiles leaves.
pub(crate) const PARTIAL_SETS: u64 = 2;

/// Bytes of `Ritz`, and before its `stopped`; where it and the partials may begin.
pub(crate) const RITZ: u64 = 80;
pub(crate) const RITZ_STOPPED: u64 = 52;
const VEC4_ALIGNMENT: u64 = 16;

/// Bytes of `Alternation`.
pub(crate) const ALTERNATION: u64 = 32;

/// Bytes of `RateState`, before its `first_rate`, which `last_move` and `last_slope` follow, before its `measurements`, which
/// `lost` follows, and before its `longest`, which `steepest` follows.
pub(crate) const RATE: u64 = 112;
pub(crate) const FIRST_RATE: u64 = 24;
pub(crate) const MEASUREMENTS: u64 = 80;
pub(crate) const LONGEST: u64 = 96;

/// Where `RateState` holds what has moved the parameters since a measurement, and the slope that it found.
pub(crate) const MOVES: std::ops::Range<usize> = FIRST_RATE as usize..FIRST_RATE as usize + 12;

/// Where it holds what it has seen of updates.
pub(crate) const UPDATES_SEEN: std::ops::Range<usize> = LONGEST as usize..LONGEST as usize + 8;

/// Bytes of `Scalars` before its `overflowed` and `broken`.
pub(crate) const OVERFLOWED_OFFSET: u64 = 8;

/// Bytes of `Scalars` before its calibration, and before its latest record.
pub(crate) const CALIBRATION_OFFSET: u64 = 16;
pub(crate) const LATEST_OFFSET: u64 = 36;

/// Bytes of one record.
pub(crate) const RECORD: u64 = size_of::<Record>() as u64;

/// Bytes of `Scalars` before `ritz`, `rate`, the ring and, after their total, the partials.
pub(crate) const RITZ_OFFSET: u64 = (LATEST_OFFSET + 2 * RECORD).next_multiple_of(VEC4_ALIGNMENT);
pub(crate) const RATE_OFFSET: u64 = RITZ_OFFSET + RITZ + ALTERNATION;
pub(crate) const RING_OFFSET: u64 = RATE_OFFSET + RATE;
pub(crate) const PARTIALS_OFFSET: u64 =
    (RING_OFFSET + RING as u64 * RECORD).next_multiple_of(VEC4_ALIGNMENT) + PARTIAL;

/// `Step`: the hyperparameters of one step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Step {
    pub index: u32,
    pub tiles: u32,
    /// With a rate from curvature, the factor on the base rate.
    pub learning_rate: f32,
    pub momentum: f32,
    pub beta1_complement: f32,
    pub beta2: f32,
    pub beta2_complement: f32,
    pub log_beta1: f32,
    pub log_beta2: f32,
    pub epsilon: f32,
    pub max_gradient_norm: f32,
    pub rotation_rate: f32,
    pub alpha: f32,
    pub only_negative_curvature: u32,
    pub displacement: f32,
    pub displacement_factor: f32,
    /// trust √n; times the learning rate it is the longest step along N.
    pub trust: f32,
    pub damping: f32,
    pub kick: f32,
    pub significance: f32,
    pub rho: f32,
    pub stop_residual: f32,
    pub stop_angle: f32,
    pub seed: u32,
    /// 1/√B for B regions, and their number.
    pub region_scale: f32,
    pub regions: u32,
    pub several: u32,
    /// 1/√n for n elements that the dimer reaches.
    pub inverse_root_length: f32,
    /// By what factor the gradients of the objective are too large, and its inverse; both are powers of two.
    pub loss_scale: f32,
    pub gradient_scale: f32,
    pub initial_rate: f32,
    pub rate_scale: f32,
    pub rate_displacement: f32,
    pub rate_burn_in: u32,
    pub first: u32,
    pub rate_bound: f32,
    /// 1, or −1 where events seek the stiffest direction.
    pub mode_sign: f32,
    pub turn_momentum: f32,
    pub shortest_update: f32,
}

/// `Shard`: the part of the vectors that one dispatch covers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Shard {
    pub first_tile: u32,
    pub tile_vectors: u32,
    pub vectors: u32,
    pub first_piece: u32,
    pub end_piece: u32,
    /// Always 0, which no compiler knows.
    pub zero: u32,
    /// The tile whose workgroup writes what there is once.
    pub leading_tile: u32,
    pub padding: u32,
}

/// `Group`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct GroupEntry {
    pub learning_rate_scale: f32,
    pub weight_decay: f32,
    pub dimer: u32,
    pub padding: u32,
}

/// `Tables`: what the layout says of groups and tiles.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Tables {
    pub groups: [GroupEntry; MAX_GROUPS],
    pub tiles: [u32; MAX_WORKGROUPS as usize],
}

/// `Record`: what one step found and did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(crate) struct Record {
    pub index: u32,
    pub updates: u32,
    pub skipped: u32,
    pub rotations: u32,
    pub status: u32,
    pub loss: f32,
    pub curvature: f32,
    pub residual: f32,
    pub angle: f32,
    pub projection: f32,
    pub gradient_norm: f32,
    pub clip: f32,
    pub displacement: f32,
    pub curvature_scale: f32,
    pub rate: f32,
    pub events: u32,
    pub curvature_mean: f32,
    pub curvature_error: f32,
    pub curvatures: [f32; 4],
    pub difference_error: f32,
    pub shift: f32,
    pub trust_radius: f32,
    /// Which of the regions' records is the newest, and which region has the softest curvature, or the stiffest. With
    /// alternating evaluations parity is 1 where the next probe lies on the far side of θ.
    pub parity: u32,
    pub region: u32,
    /// Steps skipped in a row, up to this one.
    pub streak: u32,
    pub learning_rate: f32,
    /// That without the factor of the schedule.
    pub base_learning_rate: f32,
    /// g·u and u·Hu, of the last measurement.
    pub update_slope: f32,
    pub update_curvature: f32,
    /// C of the N that the last event began with.
    pub initial_curvature: f32,
    /// ‖u‖ / N·SN of the last event: the step, per learning rate, that moves as far along N as the base optimizer
    /// moves at all. 0 before the first saddle-free event.
    pub update_norm: f32,
}

impl Record {
    /// The same before its learning rate was found.
    pub(crate) fn without_rate(&self) -> Self {
        let (base_learning_rate, update_slope, update_curvature) = (0.0, 0.0, 0.0);
        Self { base_learning_rate, update_slope, update_curvature, ..*self }
    }

    /// The counters and the learning rate alone, without what events have found.
    pub(crate) fn without_events(&self) -> Self {
        Self {
            index: self.index,
            updates: self.updates,
            skipped: self.skipped,
            rotations: self.rotations,
            status: self.status,
            loss: self.loss,
            gradient_norm: self.gradient_norm,
            clip: self.clip,
            parity: self.parity,
            streak: self.streak,
            learning_rate: self.learning_rate,
            base_learning_rate: self.base_learning_rate,
            update_slope: self.update_slope,
            update_curvature: self.update_curvature,
            ..Self::zeroed()
        }
    }

    /// Says that no objective has written its loss.
    pub(crate) fn forget_loss(&mut self) {
        self.loss = f32::from_bits(UNWRITTEN);
    }

    /// Whether it was written, and by one of these steps.
    pub(crate) fn belongs_to(&self, steps: std::ops::Range<u64>) -> bool {
        let since = self.index.wrapping_sub(steps.start as u32);
        self.status & WRITTEN != 0 && u64::from(since) < steps.end - steps.start
    }
}

/// `Piece`: consecutive elements of one region, in vec4 of their shard.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Piece {
    pub first: u32,
    pub end: u32,
    pub region: u32,
    /// Where its partials lie: those of one region are neighbours.
    pub partial: u32,
    pub group: u32,
    /// In elements of the shard.
    pub valid_end: u32,
    pub padding: [u32; 2],
}

/// `Region`: the tensors that share one dimer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Region {
    pub first_partial: u32,
    pub end_partial: u32,
    /// Under the dimer; 0 where it does not reach.
    pub elements: u32,
    /// Entry k names the k-th region that has several pieces.
    pub several: u32,
    /// A `Partial`.
    pub sums: [f32; 12],
    /// An `Applied`, which only the kernels use.
    pub applied: [f32; 9],
    /// The state before and after a step, which take turns.
    pub records: [Record; 2],
    pub padding: [u32; 3],
}

impl Region {
    /// Whether it has more than one piece.
    pub(crate) fn has_several(&self) -> bool {
        self.end_partial > self.first_partial + 1
    }
}

/// `MAX_MODES`: most modes of a set; half of them at each end.
pub(crate) const MAX_MODES: usize = 16;

/// Vectors of the basis for each mode: x, p and u.
pub(crate) const BASIS: usize = 3;

/// `MAX_VECTORS`: most vectors of the basis of the Lanczos method.
pub(crate) const MAX_VECTORS: usize = crate::config::MAX_STEPS as usize;

/// `Modes`, without its partials.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Results {
    pub curvatures: [f32; MAX_MODES],
    pub residuals: [f32; MAX_MODES],
    /// Half of what the products from the two sides of θ differ by.
    pub product_errors: [f32; MAX_MODES],
    pub combination: [[[f32; 4]; MAX_MODES / 2]; BASIS * MAX_MODES],
    pub kept: [u32; MAX_VECTORS],
    pub again: [u32; MAX_MODES],
    pub overlaps: [f32; MAX_VECTORS],
    pub factor: f32,
    pub distance: f32,
    /// The distance of the probes, or that with which its search begins, is max(minimum, fraction · ‖θ‖).
    pub fraction: f32,
    pub minimum: f32,
    pub best_distance: f32,
    pub best_error: f32,
    /// The largest |Ritz value| so far.
    pub largest: f32,
    /// 0 once a gradient was not finite.
    pub valid: u32,
    /// The tridiagonal matrix of the Lanczos method; the first of the second is not part of it.
    pub diagonal: [f32; MAX_VECTORS],
    pub off_diagonal: [f32; MAX_VECTORS],
}

/// `Arguments`: what a dispatch of the set of modes is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Arguments {
    pub column: u32,
    pub modes: u32,
    pub lowest: u32,
    pub columns: u32,
    /// Where the product along the first column lies.
    pub products: u32,
}
