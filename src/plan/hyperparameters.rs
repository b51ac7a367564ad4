//! The numbers of a configuration as the kernels get them: rounded to f32, complements taken in f64.

use bytemuck::Zeroable;

use super::Regions;
use crate::config::{
    Adam, Base, Config, Difference, Dimer, Displacement, LearningRate, Lion, RayleighRitz,
    Rotation, RotationRate, Scope, Sophia, Translation, rate_scale, shortest_update,
};
use crate::kernels::gpu_types::{BLOCK, GroupEntry, Step, Tables};
use crate::layout::Layout;

/// The hyperparameters of the first step, but for what its index decides.
pub(super) fn step(config: &Config, layout: &Layout, regions: Option<&Regions>) -> Step {
    let mut step = Step {
        tiles: layout.tiles() as u32,
        loss_scale: 1.0,
        gradient_scale: 1.0,
        mode_sign: 1.0,
        ..Step::zeroed()
    };
    match config.learning_rate {
        LearningRate::Fixed(rate) => step.learning_rate = rate as f32,
        LearningRate::Curvature(rate) => {
            step.learning_rate = 1.0;
            step.initial_rate = rate.initial as f32;
            step.rate_scale = rate_scale(config.base, rate.scale) as f32;
            step.shortest_update = shortest_update(config.base) as f32;
            step.rate_displacement = rate.displacement as f32;
            step.rate_burn_in = rate.burn_in_measurements();
            step.rate_bound = rate_bound(config, layout) as f32;
        }
    }
    step.max_gradient_norm = config.max_gradient_norm.unwrap_or(0.0) as f32;
    match config.base {
        Base::Sgd(sgd) => step.momentum = sgd.momentum as f32,
        Base::Adam(adam) | Base::AdamW(adam) => set_moments(&mut step, adam),
        Base::Sophia(sophia) => {
            let Sophia { beta1, beta2, rho, epsilon } = sophia;
            set_moments(&mut step, Adam { beta1, beta2, epsilon });
            step.rho = rho as f32;
        }
        Base::Lion(Lion { beta1, beta2 }) => {
            step.beta1_complement = (1.0 - beta1) as f32;
            step.beta2_complement = (1.0 - beta2) as f32;
        }
    }
    if let Some(stop) = config.rayleigh_ritz().and_then(RayleighRitz::stop) {
        step.stop_residual = stop.residual as f32;
        step.stop_angle = stop.angle as f32;
    }
    if let Some(dimer) = &config.dimer {
        set_dimer(&mut step, dimer, layout);
    }
    if let Some(regions) = regions {
        step.region_scale = (regions.reached() as f64).sqrt().recip() as f32;
        step.regions = regions.entries.len() as u32;
        step.several = regions.several as u32;
    }
    step
}

/// The largest rate at which decoupled weight decay keeps every parameter on its side of 0: beyond twice that, each step
/// would enlarge it.
fn rate_bound(config: &Config, layout: &Layout) -> f64 {
    let decay = |tensor| {
        let group = layout.group(tensor);
        group.learning_rate_scale * group.weight_decay.unwrap_or(config.weight_decay)
    };
    let largest = layout.tensors().iter().map(decay).fold(0.0, f64::max);
    if config.base.is_decoupled() { largest.recip().min(f32::MAX.into()) } else { f32::MAX.into() }
}

fn set_moments(step: &mut Step, Adam { beta1, beta2, epsilon }: Adam) {
    step.beta1_complement = (1.0 - beta1) as f32;
    step.beta2 = beta2 as f32;
    step.beta2_complement = (1.0 - beta2) as f32;
    step.log_beta1 = log_decay(beta1);
    step.log_beta2 = log_decay(beta2);
    step.epsilon = epsilon as f32;
}

fn set_dimer(step: &mut Step, dimer: &Dimer, layout: &Layout) {
    step.seed = dimer.seed as u32;
    step.mode_sign = dimer.seeks.sign() as f32;
    step.rotation_rate = match dimer.rotation {
        Rotation::Gradient { rate: RotationRate::Fixed(rate) } => rate as f32,
        Rotation::Alternating(settings) => settings.rate as f32,
        _ => 0.0,
    };
    step.turn_momentum =
        dimer.rotation.as_alternating().map_or(0.0, |settings| settings.momentum as f32);
    match dimer.translation {
        Translation::Project(project) => {
            step.alpha = project.alpha as f32;
            step.only_negative_curvature = u32::from(project.only_negative_curvature);
        }
        Translation::SaddleFree(saddle_free) => {
            // With regions, each multiplies by the root of its own length.
            let elements = match dimer.scope {
                Scope::Global => layout.dimer_len(),
                Scope::PerGroup | Scope::PerTensor => 1,
            };
            step.trust = (saddle_free.trust * (elements as f64).sqrt()) as f32;
            step.damping = saddle_free.damping as f32;
            step.inverse_root_length = (layout.dimer_len() as f64).sqrt().recip() as f32;
            step.kick = saddle_free.kick as f32;
            step.significance = saddle_free.significance as f32;
        }
        Translation::None | Translation::Climb => {}
    }
    (step.displacement, step.displacement_factor) = match dimer.displacement {
        // A product is already per unit of distance.
        _ if dimer.difference == Difference::Exact => (1.0, 0.0),
        Displacement::Absolute(distance) => (distance as f32, 0.0),
        Displacement::Relative(relative) => (relative.minimum as f32, relative.factor as f32),
        // The kernels keep it themselves.
        Displacement::Automatic => (0.0, 0.0),
    };
}

/// ln β for the bias correction 1 − βᵗ; β = 0 needs no infinity to make βᵗ vanish.
fn log_decay(beta: f64) -> f32 {
    beta.ln().max(-1e9) as f32
}

/// The tables of groups and tiles.
pub(super) fn tables(config: &Config, layout: &Layout) -> Tables {
    let mut tables = Tables::zeroed();
    for (entry, group) in tables.groups.iter_mut().zip(layout.groups()) {
        *entry = GroupEntry {
            learning_rate_scale: group.learning_rate_scale as f32,
            weight_decay: group.weight_decay.unwrap_or(config.weight_decay) as f32,
            dimer: u32::from(group.is_reached()),
            padding: 0,
        };
    }
    let blocks = layout.blocks();
    for (entry, tile) in tables.tiles.iter_mut().zip(blocks.chunks(layout.tile() / BLOCK)) {
        let full = tile[0] & 0xff == BLOCK as u32;
        *entry = if full && tile.iter().all(|block| *block == tile[0]) { tile[0] } else { 0 };
    }
    tables
}
