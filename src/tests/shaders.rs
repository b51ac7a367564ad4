//! Every shader parses and validates with naga, with every combination of its switches, and can be said in
//! the languages of Vulkan, Metal and DX12.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::config::Storage;
use crate::kernels::catalogue::{Kernel, SHARED, Source, builds_on};
use crate::kernels::choices::Choices;
use crate::kernels::switches::{BaseRule, RateRule, Switch};

/// Everything that devices and configurations choose between.
pub(super) fn choices() -> Vec<Choices> {
    let mut all = Vec::new();
    for subgroups in [false, true] {
        for storage in [Storage::F32, Storage::Bf16] {
            for dimer in [false, true] {
                for moments in 0..3 {
                    all.push(Choices { subgroups, storage, dimer, moments });
                }
            }
        }
    }
    all
}

/// Every setting of the switches of `source` that goes with `choices`.
pub(super) fn settings(source: &Source, choices: Choices) -> Vec<PipelineConstants> {
    let mut all = vec![PipelineConstants::default()];
    for switch in source.switches() {
        let values: Vec<u32> = match (switch, switch.values()) {
            (Switch::Base, _) => (0..)
                .zip(BaseRule::ALL)
                .filter(|(_, base)| base.moments() == choices.moments)
                .map(|(value, _)| value)
                .collect(),
            (Switch::Vector, _) => vec![2],
            // One after the other, below.
            (Switch::LearningRate | Switch::Summed, _) => vec![0],
            (Switch::Rotation | Switch::Translation | Switch::Dimer, _) if !choices.dimer => {
                vec![0]
            }
            (_, Some(names)) => (0..names.len() as u32).collect(),
            (_, None) => vec![0, 1],
        };
        let with = |constants: &PipelineConstants, value: u32| {
            let mut constants = constants.clone();
            constants.insert(switch.name().to_owned(), f64::from(value));
            constants
        };
        all = all.iter().flat_map(|it| values.iter().map(move |&value| with(it, value))).collect();
    }
    // These touch no other switch, so each of the others' settings has one of their values.
    let rates: Vec<u32> = (0..RateRule::ALL.len() as u32).collect();
    let alone: [(Switch, &[u32]); 2] =
        [(Switch::LearningRate, &rates), (Switch::Summed, &[0, 0, 1, 1])];
    for (switch, values) in alone {
        if source.switches().contains(&switch) {
            for (constants, &value) in all.iter_mut().zip(values.iter().cycle()) {
                constants.insert(switch.name().to_owned(), f64::from(value));
            }
        }
    }
    all
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn validated(name: &str, source: &str) -> (naga::Module, naga::valid::ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    assert_eq!(module.entry_points.len(), 1, "{name}");
    // Of builtins in structs naga makes other numbers for DX12, or nothing that its compiler takes.
    for (_, ty) in module.types.iter() {
        if let naga::TypeInner::Struct { members, .. } = &ty.inner {
            assert!(members.iter().all(|member| member.binding.is_none()), "{name}: {:?}", ty.name);
        }
    }
    (module, info)
}

/// A module with the values of its overrides in place.
pub(super) fn processed(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    constants: &PipelineConstants,
) -> (naga::Module, naga::valid::ModuleInfo) {
    let processed =
        naga::back::pipeline_constants::process_overrides(module, info, None, constants);
    let (module, info) = processed.unwrap_or_else(|error| panic!("{constants:?}: {error}"));
    (module.into_owned(), info.into_owned())
}

#[test]
fn fused_shaders_are_valid_with_every_switch() {
    let mut count = 0;
    for &kernel in Kernel::ALL {
        let mut known = HashSet::new();
        for choices in choices() {
            let source = Source::new(kernel, choices);
            let settings = settings(&source, choices);
            // A kernel that uses no switch of the base is the same for all of them.
            let of_base = source.switches().contains(&Switch::Base).then_some(choices);
            if !known.insert((source.clone(), of_base)) {
                continue;
            }
            let (module, info) = validated(kernel.name(), &source.wgsl());
            count += settings.len();
            println!("{} with {choices:?}: {} settings", kernel.name(), settings.len());
            assert!(!settings.is_empty());
            let process = |constants: &PipelineConstants| processed(&module, &info, constants);
            settings.par_iter().for_each(|constants| {
                let (module, info) = process(constants);
                // naga itself has stumbled over combinations that validate; SPIR-V shows it here.
                let options = spv::Options { bounds_check_policies: CHECKED, ..Default::default() };
                spv::write_vec(&module, &info, &options, None).unwrap();
            });
            // The other languages have fewer corners of their own; each thirty-first setting will do.
            settings.par_iter().step_by(31).for_each(|constants| {
                let (module, info) = process(constants);
                write_metal_and_dx12(&module, &info).unwrap_or_else(|error| {
                    panic!("{kernel:?} with {choices:?} and {constants:?}: {error}");
                });
            });
        }
    }
    println!("{count} permutations");
    assert!(count > 60_000, "{count}");
}

/// A check of every index, which wgpu leaves out only where the driver has its own.
pub(super) const CHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Restrict,
};

fn write_metal_and_dx12(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
) -> Result<(), Box<dyn std::error::Error>> {
    let options =
        msl::Options { lang_version: (2, 4), bounds_check_policies: CHECKED, ..Default::default() };
    let (metal, _) = msl::write_string(module, info, &options, &Default::default())?;
    let dx12 = for_dx12(module, info)?;
    assert!(metal.contains("kernel void") && dx12.contains("numthreads"));
    Ok(())
}

/// A module in the language of DX12.
pub(super) fn for_dx12(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
) -> Result<String, hlsl::Error> {
    let options = hlsl::Options {
        // Waves, which subgroups are there, came with 6.0.
        shader_model: hlsl::ShaderModel::V6_0,
        // Where wgpu has the number of workgroups.
        special_constants_binding: Some(hlsl::BindTarget { space: 9, ..Default::default() }),
        ..Default::default()
    };
    let (pipeline, mut text) = (hlsl::PipelineOptions::default(), String::new());
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    Ok(text)
}

#[test]
fn unfused_shaders_are_valid() {
    let common = read("unfused/bindings.wgsl") + &read("unfused/workgroup_sum.wgsl");
    let mut found = 0;
    for name in names("unfused") {
        if !["bindings.wgsl", "workgroup_sum.wgsl"].contains(&name.as_str()) {
            validated(&name, &(common.clone() + &read(&format!("unfused/{name}"))));
            found += 1;
        }
    }
    assert_eq!(found, 19);
}

/// What an objective over several minibatches runs, and binds.
#[test]
fn shaders_of_objectives_are_valid() {
    for name in names("objective") {
        validated(&name, &read(&format!("objective/{name}")));
    }
    assert_eq!(names("objective"), ["accumulate.wgsl".to_owned()].into());
}

/// A shader that the catalogue does not know is a shader that no test validates.
#[test]
fn every_shader_is_known() {
    let folders = ["step", "alternating", "probe", "lobpcg", "regions", "modes", "rate", "metric"];
    let within = |folder: &str| {
        let folder = folder.to_owned();
        names(&folder).into_iter().map(move |name| format!("{folder}/{name}"))
    };
    let known: BTreeSet<String> =
        Kernel::ALL.iter().map(|kernel| format!("{}.wgsl", kernel.name())).collect();
    assert_eq!(folders.iter().flat_map(|folder| within(folder)).collect::<BTreeSet<_>>(), known);
    let shared: BTreeSet<String> = SHARED.iter().map(|(name, _)| format!("{name}.wgsl")).collect();
    assert_eq!(names("shared"), shared);
    assert_eq!(names(""), BTreeSet::new());
}

/// Every shared file is used by some kernel, and says at its head only what it needs.
#[test]
fn shared_files_are_used() {
    let mut used = BTreeSet::new();
    for &kernel in Kernel::ALL {
        for choices in choices() {
            used.extend(Source::new(kernel, choices).files());
        }
    }
    let all: BTreeSet<&str> = SHARED.iter().map(|(name, _)| *name).collect();
    assert_eq!(used, all);
    for (name, text) in SHARED {
        for other in builds_on(text) {
            assert_ne!(name, &other, "{name} builds on itself");
        }
    }
}

/// The scales of sums of squares multiply vectors only where the product is rounded: elsewhere a compiler may square it
/// without its scale.
#[test]
fn scaled_products_are_rounded() {
    let of_kernels = Kernel::ALL
        .iter()
        .map(|&kernel| (kernel.name(), Source::new(kernel, choices()[0]).entry_text()));
    let mut rounded = 0;
    for (name, text) in of_kernels.chain(SHARED.iter().copied()) {
        for scale in ["SMALL_SCALE", "LARGE_SCALE"] {
            let multiplied = [format!("{scale} *"), format!("* {scale}")];
            if multiplied.iter().any(|product| text.contains(product)) {
                assert_eq!(name, "scaled");
                rounded += 1;
            }
        }
    }
    assert_eq!(rounded, 2);
}

fn names(folder: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wgsl"))
        .collect()
}
