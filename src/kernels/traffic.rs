//! The bytes that a kernel moves: each vector that it loads or stores counts once.
//!
//! `src/tests/traffic.rs` checks these numbers against the compiled shaders.

use super::catalogue::Kernel;
use super::switches::{RotationRule, Switches};
use crate::config::{Difference, Storage};

/// Where N and HN lie in the workspace; see `basis_bindings.wgsl`.
pub(crate) const VECTOR_N: u32 = 0;
pub(crate) const VECTOR_HN: u32 = 2;
pub(crate) const VECTOR_HU: u32 = 3;
/// Those of P and HP.
pub(crate) const VECTOR_P: u32 = 4;
pub(crate) const VECTOR_HP: u32 = 5;

/// Those of alternating evaluations; see `estimate.wgsl`.
pub(crate) const VECTOR_PRODUCT: u32 = 0;
pub(crate) const VECTOR_CENTRE: u32 = 1;
pub(crate) const VECTOR_TURN: u32 = 2;

/// Bytes per element that one dispatch over all elements moves, with N, the moments and the workspace in
/// `storage`. For a kernel of the set of modes, those of one row, column or mode.
pub(crate) fn bytes(kernel: Kernel, switches: &Switches, storage: Storage) -> f64 {
    // Vectors of f32, and of what is stored.
    let (wide, stored) = match kernel {
        Kernel::Gram | Kernel::RegionGram => gram(switches),
        Kernel::Translate => (3, u32::from(switches.dimer) + 2 * switches.base.moments()),
        Kernel::RotateTranslate => (4, 2 + 2 * switches.base.moments()),
        Kernel::RegionUpdate => {
            let turns = u32::from(switches.rotation == RotationRule::Gradient);
            (3 + turns, 1 + turns + 2 * switches.base.moments())
        }
        Kernel::Rotate if switches.rotation != RotationRule::Gradient => (0, 0),
        Kernel::Rotate | Kernel::RegionRotate => (2, 2),
        Kernel::Norm => (1, 0),
        Kernel::Displace | Kernel::RegionDisplace => (2, 1),
        Kernel::Opposite => (3, 0),
        Kernel::HessianProduct => match switches.difference {
            Difference::Central if switches.vector == VECTOR_HN => (3, 1),
            Difference::Central => (2, 2),
            Difference::Forward | Difference::Exact => (2, 1),
        },
        Kernel::BasisGram => {
            let (force, direction) =
                (u32::from(switches.has_force), u32::from(switches.has_direction));
            let raw = switches.keeps_direction && !switches.has_force;
            let (wide, stored) = direction_of(switches, switches.has_direction || raw);
            (wide, 2 + 2 * force + direction + stored)
        }
        Kernel::UpdateBasis => {
            let (force, direction) =
                (u32::from(switches.has_force), u32::from(switches.has_direction));
            let (wide, stored) = direction_of(switches, switches.has_direction);
            if switches.last {
                (wide, 1 + force + stored + 1 + u32::from(switches.keeps_direction))
            } else {
                let next = u32::from(switches.next_direction);
                (wide + 2, 2 + 2 * force + direction + stored + 2 * next + 3)
            }
        }
        Kernel::PlaceProbe => {
            let (wide, stored) = direction_of(switches, true);
            (2 + wide, stored)
        }
        Kernel::AlternatingGram => (1, 4),
        Kernel::AlternatingUpdate => {
            let moves = u32::from(switches.moves);
            (1 + 2 * moves, 8 + 2 * moves * switches.base.moments())
        }
        Kernel::UpdateProducts => (2, switches.base.moments()),
        Kernel::PlaceRateProbe => (3, switches.base.moments()),
        Kernel::ProbeProducts => (4, 0),
        Kernel::StepProducts => (3, 0),
        Kernel::MetricNorm => (1, 1),
        Kernel::MetricPlaceProbe => (3, 1),
        Kernel::ScaleProduct => (2 + u32::from(switches.difference != Difference::Exact), 1),
        Kernel::ModePlaceProbe | Kernel::ModeHessianProduct => (3, 0),
        Kernel::ModeResiduals => (4, 0),
        Kernel::ModeOppositeProduct => (4 + 4 * u32::from(switches.last), 0),
        Kernel::ModeGram => (7, 0),
        Kernel::ModeOverlaps => (9, 0),
        // It also loads every vector of the basis before its own.
        Kernel::ModeOrthogonalize => (2 + 2 * u32::from(switches.last), 0),
        Kernel::ModeCombine => (11, 0),
        Kernel::Count
        | Kernel::SumTiles
        | Kernel::Calibrate
        | Kernel::Ritz
        | Kernel::AlternatingTurn
        | Kernel::SumPieces
        | Kernel::SumSinglePieces
        | Kernel::RegionNorm
        | Kernel::RegionOutcomes
        | Kernel::CombineRegions
        | Kernel::KeepUpdate
        | Kernel::KeepSlope
        | Kernel::MeasureRate
        | Kernel::ModeFirstDistance
        | Kernel::ModeSearchDistance
        | Kernel::ModeCoefficients
        | Kernel::ModeSumEntries
        | Kernel::ModeRitz
        | Kernel::ModeOutcome => (0, 0),
    };
    (u64::from(wide) * Storage::F32.bytes() + u64::from(stored) * storage.bytes()) as f64
}

fn gram(switches: &Switches) -> (u32, u32) {
    let turns = switches.rotation == RotationRule::Gradient;
    let pair = turns || switches.difference == Difference::Central;
    (1 + u32::from(pair), u32::from(switches.dimer))
}

/// What it takes to read p: where the event aims along it, the gradient stands in until C is negative.
fn direction_of(switches: &Switches, reads: bool) -> (u32, u32) {
    match (reads, switches.keeps_direction) {
        (false, _) => (0, 0),
        (true, true) => (1, 0),
        (true, false) => (0, 1),
    }
}
