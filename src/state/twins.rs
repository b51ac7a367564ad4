//! Host twins of the structs in `shaders/common/types.wgsl`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::RegionBuffers;
use crate::config::{
    Base, Config, Difference, Dimer, Displacement, Rate, RayleighRitz, Rotation, Scope, Translation,
};
use crate::gpu::MAX_WORKGROUPS;
use crate::layout::{BLOCK, Layout, MAX_GROUPS};

/// Twin of `Step`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Step {
    pub index: u32,
    pub tiles: u32,
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
    /// By what the gradients of the objective are too large, and its inverse; powers of two.
    pub loss_scale: f32,
    pub gradient_scale: f32,
}

impl Step {
    /// The hyperparameters that no step changes; index and learning rate are zero.
    pub(crate) fn new(config: &Config, layout: &Layout, regions: Option<&RegionBuffers>) -> Self {
        let mut step = Self {
            tiles: layout.tiles() as u32,
            loss_scale: 1.0,
            gradient_scale: 1.0,
            ..Self::zeroed()
        };
        step.max_gradient_norm = config.max_gradient_norm.unwrap_or(0.0) as f32;
        match config.base {
            Base::Sgd { momentum, .. } => step.momentum = momentum as f32,
            Base::Adam { beta1, beta2, epsilon }
            | Base::AdamW { beta1, beta2, epsilon }
            | Base::Sophia { beta1, beta2, epsilon, .. } => {
                step.beta1_complement = (1.0 - beta1) as f32;
                step.beta2 = beta2 as f32;
                step.beta2_complement = (1.0 - beta2) as f32;
                step.log_beta1 = log_decay(beta1);
                step.log_beta2 = log_decay(beta2);
                step.epsilon = epsilon as f32;
            }
        }
        if let Base::Sophia { rho, .. } = config.base {
            step.rho = rho as f32;
        }
        if let Some(stop) = config.rayleigh_ritz().and_then(RayleighRitz::stop) {
            step.stop_residual = stop.residual as f32;
            step.stop_angle = stop.angle as f32;
        }
        if let Some(dimer) = &config.dimer {
            step.set_dimer(dimer, layout);
        }
        if let Some(regions) = regions {
            step.region_scale = (regions.reached as f64).sqrt().recip() as f32;
            step.regions = regions.count() as u32;
            step.several = regions.several as u32;
        }
        step
    }

    fn set_dimer(&mut self, dimer: &Dimer, layout: &Layout) {
        self.seed = dimer.seed as u32;
        self.rotation_rate = match dimer.rotation {
            Rotation::Gradient { rate: Rate::Fixed(rate) } => rate as f32,
            _ => 0.0,
        };
        match dimer.translation {
            Translation::Project { alpha, only_negative_curvature } => {
                self.alpha = alpha as f32;
                self.only_negative_curvature = u32::from(only_negative_curvature);
            }
            Translation::SaddleFree { trust, damping, kick, significance } => {
                // With regions, each multiplies by the root of its own length.
                let elements = match dimer.scope {
                    Scope::Global => layout.dimer_len(),
                    Scope::PerGroup | Scope::PerTensor => 1,
                };
                self.trust = (trust * (elements as f64).sqrt()) as f32;
                self.damping = damping as f32;
                self.kick = kick as f32;
                self.significance = significance as f32;
            }
            Translation::Climb => {}
        }
        (self.displacement, self.displacement_factor) = match dimer.displacement {
            // A product is already per unit of distance.
            _ if dimer.difference == Difference::Exact => (1.0, 0.0),
            Displacement::Absolute(distance) => (distance as f32, 0.0),
            Displacement::Relative { factor, minimum } => (minimum as f32, factor as f32),
            // The kernels keep it themselves.
            Displacement::Automatic => (0.0, 0.0),
        };
    }
}

/// ln β for the bias correction 1 − βᵗ; β = 0 needs no infinity to make βᵗ vanish.
fn log_decay(beta: f64) -> f32 {
    beta.ln().max(-1e9) as f32
}

/// Twin of `Shard`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Shard {
    pub first_tile: u32,
    pub tile_vectors: u32,
    pub vectors: u32,
    pub first_piece: u32,
    pub end_piece: u32,
    pub padding: [u32; 3],
}

impl Shard {
    /// The elements `range` of the whole vector, and their pieces.
    pub(crate) fn new(layout: &Layout, range: &Range<usize>, pieces: &Range<usize>) -> Self {
        Self {
            first_tile: (range.start / layout.tile()) as u32,
            tile_vectors: (layout.tile() / 4) as u32,
            vectors: (range.len() / 4) as u32,
            first_piece: pieces.start as u32,
            end_piece: pieces.end as u32,
            padding: [0; 3],
        }
    }
}

/// Twin of `Group`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct GroupEntry {
    pub learning_rate_scale: f32,
    pub weight_decay: f32,
    pub dimer: u32,
    pub padding: u32,
}

/// Twin of `Tables`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Tables {
    pub groups: [GroupEntry; MAX_GROUPS],
    pub tiles: [u32; MAX_WORKGROUPS as usize],
}

impl Tables {
    /// `blocks` are those of the layout.
    pub(super) fn new(layout: &Layout, config: &Config, blocks: &[u32]) -> Self {
        let mut tables = Self::zeroed();
        for (entry, group) in tables.groups.iter_mut().zip(layout.groups()) {
            *entry = GroupEntry {
                learning_rate_scale: group.learning_rate_scale as f32,
                weight_decay: group.weight_decay.unwrap_or(config.weight_decay) as f32,
                dimer: u32::from(group.dimer),
                padding: 0,
            };
        }
        for (entry, tile) in tables.tiles.iter_mut().zip(blocks.chunks(layout.tile() / BLOCK)) {
            let full = tile[0] & 0xff == BLOCK as u32;
            *entry = if full && tile.iter().all(|block| *block == tile[0]) { tile[0] } else { 0 };
        }
        tables
    }
}

/// Twin of `Record`.
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
    pub reach: f32,
    /// Which of the regions' records is the newest, and which region is the softest.
    pub parity: u32,
    pub softest: u32,
    /// Steps skipped in a row, up to this one.
    pub streak: u32,
}
