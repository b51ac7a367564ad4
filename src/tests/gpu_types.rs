//! The structs that cross to the GPU have the same size and places on both sides, constants the same values.

use std::mem::offset_of;

use bytemuck::Zeroable;

use crate::config::{Difference, LARGEST_RATE, LEAST_RATE, Storage};
use crate::kernels::catalogue::{Kernel, Source};
use crate::kernels::choices::Choices;
use crate::kernels::gpu_types::STEP_STRIDE;
use crate::kernels::gpu_types::{
    ALTERNATION, Arguments, BASIS, BLOCK, BY_ANGLE, BY_RESIDUAL, CALIBRATION_OFFSET, EVENT,
    FIRST_RATE, GroupEntry, LATEST_OFFSET, LONGEST, MAX_GROUPS, MAX_MODES, MAX_VECTORS,
    MAX_WORKGROUPS, MEASUREMENTS, PARTIAL, PARTIALS_OFFSET, PIECE_WIDTH, Piece, RATE, RATE_LOST,
    RATE_MEASURED, RATE_OFFSET, RING, RITZ, RITZ_STOPPED, Record, Region, Results, SKIPPED,
    STOP_SHIFT, Shard, Step, Tables, UNMEASURED, UNWRITTEN, WRITTEN,
};
use crate::kernels::switches::{
    BaseRule, DIFFERENCES, DisplacementRule, RateRule, RotationRule, TranslationRule,
};

/// The module of `kernel` with everything that a configuration can have.
fn module(kernel: Kernel) -> naga::Module {
    let choices = Choices { subgroups: false, storage: Storage::F32, dimer: true, moments: 2 };
    naga::front::wgsl::parse_str(&Source::new(kernel, choices).wgsl()).unwrap()
}

fn type_in<'a>(module: &'a naga::Module, name: &str) -> &'a naga::TypeInner {
    let mut types = module.types.iter();
    &types.find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap().1.inner
}

fn size_in(module: &naga::Module, name: &str) -> usize {
    type_in(module, name).size(module.to_ctx()) as usize
}

fn offset_in(module: &naga::Module, name: &str, field: &str) -> u32 {
    let naga::TypeInner::Struct { members, .. } = type_in(module, name) else { panic!("{name}") };
    members.iter().find(|member| member.name.as_deref() == Some(field)).unwrap().offset
}

fn literal_in(module: &naga::Module, name: &str) -> naga::Literal {
    let mut constants = module.constants.iter();
    let (_, constant) = constants.find(|(_, c)| c.name.as_deref() == Some(name)).unwrap();
    match module.global_expressions[constant.init] {
        naga::Expression::Literal(literal) => literal,
        ref other => panic!("{name} is {other:?}"),
    }
}

fn constant_in(module: &naga::Module, name: &str) -> u32 {
    match literal_in(module, name) {
        naga::Literal::U32(value) => value,
        other => panic!("{name} is {other:?}"),
    }
}

/// Names and offsets of the members of a struct, but for what only fills it up.
fn members_in(module: &naga::Module, name: &str) -> Vec<(String, usize)> {
    let naga::TypeInner::Struct { members, .. } = type_in(module, name) else { panic!("{name}") };
    let members =
        members.iter().map(|member| (member.name.clone().expect("a name"), member.offset as usize));
    members.filter(|(name, _)| !name.starts_with("padding")).collect()
}

/// All fields of a struct of the host have the names and places of the members in WGSL, in the same order; those in
/// brackets are only there.
macro_rules! same_members {
    ($module:expr, $name:literal, $host:ident { $($field:ident),* $(,)? } $([$only:literal])?) => {
        let $host { $($field: _),* } = $host::zeroed(); // All of them.
        let fields = [$((stringify!($field).to_owned(), offset_of!($host, $field))),*];
        let fields = fields.into_iter().filter(|(name, _)| !name.starts_with("padding"));
        let fields: Vec<_> = fields $(.chain([($only.to_owned(), size_of::<$host>())]))? .collect();
        assert_eq!(members_in($module, $name), fields, $name);
    };
}

/// No field is in another place than the shader thinks, or has another name there.
#[test]
fn members_match_the_host() {
    let module = &module(Kernel::RegionUpdate);
    same_members!(
        module,
        "Step",
        Step {
            index,
            tiles,
            learning_rate,
            momentum,
            beta1_complement,
            beta2,
            beta2_complement,
            log_beta1,
            log_beta2,
            epsilon,
            max_gradient_norm,
            rotation_rate,
            alpha,
            only_negative_curvature,
            displacement,
            displacement_factor,
            trust,
            damping,
            kick,
            significance,
            rho,
            stop_residual,
            stop_angle,
            seed,
            region_scale,
            regions,
            several,
            inverse_root_length,
            loss_scale,
            gradient_scale,
            initial_rate,
            rate_scale,
            rate_displacement,
            rate_burn_in,
            first,
            rate_bound,
            mode_sign,
            turn_momentum,
            shortest_update,
        }
    );
    same_members!(
        module,
        "Shard",
        Shard {
            first_tile,
            tile_vectors,
            vectors,
            first_piece,
            end_piece,
            zero,
            leading_tile,
            padding
        }
    );
    same_members!(
        module,
        "Group",
        GroupEntry { learning_rate_scale, weight_decay, dimer, padding }
    );
    same_members!(module, "Tables", Tables { groups, tiles });
    same_members!(
        module,
        "Record",
        Record {
            index,
            updates,
            skipped,
            rotations,
            status,
            loss,
            curvature,
            residual,
            angle,
            projection,
            gradient_norm,
            clip,
            displacement,
            curvature_scale,
            rate,
            events,
            curvature_mean,
            curvature_error,
            curvatures,
            difference_error,
            shift,
            trust_radius,
            parity,
            region,
            streak,
            learning_rate,
            base_learning_rate,
            update_slope,
            update_curvature,
            initial_curvature,
            update_norm,
        }
    );
    same_members!(
        module,
        "Piece",
        Piece { first, end, region, partial, group, valid_end, padding }
    );
    same_members!(
        module,
        "Region",
        Region { first_partial, end_partial, elements, several, sums, applied, records, padding }
    );
    let module = &super::gpu_types::module(Kernel::ModeRitz);
    same_members!(module, "Arguments", Arguments { column, modes, lowest, columns, products });
    same_members!(
        module,
        "Modes",
        Results {
            curvatures,
            residuals,
            product_errors,
            combination,
            kept,
            again,
            overlaps,
            factor,
            distance,
            fraction,
            minimum,
            best_distance,
            best_error,
            largest,
            valid,
            diagonal,
            off_diagonal,
        }["partials"]
    );
}

/// A start that the settings allow is one that the kernel keeps to.
#[test]
fn bounds_of_the_rate_match_the_host() {
    let module = module(Kernel::MeasureRate);
    for (name, bound) in [("LEAST_RATE", LEAST_RATE), ("LARGEST_RATE", LARGEST_RATE)] {
        assert_eq!(literal_in(&module, name), naga::Literal::F32(bound as f32), "{name}");
    }
}

#[test]
fn structs_of_modes_match_the_host() {
    let module = module(Kernel::ModeRitz);
    assert_eq!(size_in(&module, "Arguments"), size_of::<Arguments>());
    assert_eq!(constant_in(&module, "MAX_MODES") as usize, MAX_MODES);
    assert_eq!(constant_in(&module, "MAX_BASIS") as usize, BASIS * MAX_MODES);
    assert_eq!(constant_in(&module, "MAX_VECTORS") as usize, MAX_VECTORS);
}

/// The values of a switch have the order that the host gives them.
#[test]
fn switches_match_the_host() {
    let module = module(Kernel::RotateTranslate);
    macro_rules! same {
        ($($rule:ident),*) => {$(
            for (name, rule) in $rule::WGSL.iter().zip($rule::ALL) {
                assert_eq!(constant_in(&module, name), *rule as u32, "{rule:?}");
            }
        )*};
    }
    same!(BaseRule, RotationRule, TranslationRule, DisplacementRule, RateRule);
    let differences = [Difference::Forward, Difference::Central, Difference::Exact];
    for (name, difference) in DIFFERENCES.iter().zip(differences) {
        assert_eq!(constant_in(&module, name), difference as u32, "{name}");
    }
}

#[test]
fn structs_match_the_host() {
    let module = module(Kernel::RegionUpdate);
    let size = |name: &str| size_in(&module, name);
    assert_eq!(size("Step"), size_of::<Step>());
    assert_eq!(size("Shard"), size_of::<Shard>());
    assert_eq!(size("Piece"), size_of::<Piece>());
    assert_eq!(size("Region"), size_of::<Region>());
    assert_eq!(size("Group"), size_of::<GroupEntry>());
    assert_eq!(size("Record"), size_of::<Record>());
    assert_eq!(size("Partial") as u64, PARTIAL);
    assert_eq!(size("Ritz") as u64, RITZ);
    assert_eq!(size("Alternation") as u64, ALTERNATION);
    assert_eq!(size("RateState") as u64, RATE);
    let offset = |name: &str, field: &str| offset_in(&module, name, field);
    // What the host reads by its place.
    assert_eq!(u64::from(offset("Ritz", "stopped")), RITZ_STOPPED);
    assert_eq!(u64::from(offset("RateState", "first_rate")), FIRST_RATE);
    assert_eq!(u64::from(offset("RateState", "last_move")), FIRST_RATE + 4);
    assert_eq!(u64::from(offset("RateState", "last_slope")), FIRST_RATE + 8);
    assert_eq!(u64::from(offset("RateState", "measurements")), MEASUREMENTS);
    assert_eq!(u64::from(offset("RateState", "lost")), MEASUREMENTS + 4);
    assert_eq!(u64::from(offset("RateState", "longest")), LONGEST);
    assert_eq!(u64::from(offset("RateState", "steepest")), LONGEST + 4);
    assert_eq!(u64::from(offset("Scalars", "rate")), RATE_OFFSET);
    assert_eq!(u64::from(offset("Scalars", "calibration")), CALIBRATION_OFFSET);
    assert_eq!(u64::from(offset("Scalars", "latest")), LATEST_OFFSET);
    assert_eq!(u64::from(offset("Scalars", "partials")), PARTIALS_OFFSET);
    let constant = |name: &str| constant_in(&module, name);
    assert_eq!(constant("RING"), RING);
    assert_eq!(u64::from(constant("PIECE_WIDTH")), PIECE_WIDTH);
    assert_eq!(constant("MAX_GROUPS") as usize, MAX_GROUPS);
    assert_eq!(constant("BLOCK_VECTORS") as usize, BLOCK / 4);
    assert_eq!(constant("MAX_TILE_ROWS") as usize * 4, MAX_WORKGROUPS as usize);
    assert_eq!(size("Tables"), size_of::<Tables>());
    assert_eq!(constant("EVENT"), EVENT);
    assert_eq!(constant("SKIPPED"), SKIPPED);
    assert_eq!(constant("WRITTEN"), WRITTEN);
    assert_eq!(constant("UNMEASURED"), UNMEASURED);
    assert_eq!(constant("UNWRITTEN"), UNWRITTEN);
    assert_eq!(constant("RATE_MEASURED"), RATE_MEASURED);
    assert_eq!(constant("RATE_LOST"), RATE_LOST);
    assert_eq!(constant("STOP_SHIFT"), STOP_SHIFT);
    assert_eq!(constant("BY_RESIDUAL"), BY_RESIDUAL);
    assert_eq!(constant("BY_ANGLE"), BY_ANGLE);
    assert!(size_of::<Step>() as u64 <= STEP_STRIDE);
    let scalars = size("Scalars");
    // A runtime-sized array counts with one element.
    assert_eq!(scalars as u64, PARTIALS_OFFSET + PARTIAL);
}
