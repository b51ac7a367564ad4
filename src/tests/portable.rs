//! Hands shaders over to compilers that are not ours; `./dev test portable` runs those.

use std::collections::BTreeMap;
use std::path::Path;

use naga::back::{PipelineConstants, spv};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use super::configurations;
use super::programs::LIMITS;
use super::shaders::{CHECKED, choices, for_dx12, processed, settings, validated};
use crate::gpu::Tuning;
use crate::kernels::catalogue::{Kernel, Source};
use crate::layout::Layout;
use crate::plan::Plan;

/// Where the files go; without it they are made and not written.
const FOLDER: &str = "DIMER_SHADERS";

/// Of all permutations of the switches, this many are left out from one that is written as SPIR-V to the next.
const STRIDE: usize = 37;

/// What a device compiles: a module with the values of its overrides.
struct Pipeline {
    source: Source,
    constants: BTreeMap<String, f64>,
}

/// The pipelines of all configurations of `super::configurations`, with and without subgroups, each once.
fn pipelines() -> Vec<Pipeline> {
    let mut builder = Layout::builder();
    builder.tensor("weight", &[300, 20]).tensor("bias", &[20]);
    let layout = builder.build().unwrap();
    let mut known = BTreeMap::new();
    for subgroups in [false, true] {
        let tuning = Tuning { subgroups, ..Tuning::default() };
        let layout = layout.clone().tiled(&tuning);
        for (_, config) in configurations() {
            let plan = Plan::new(&config, &layout, &tuning, &LIMITS).unwrap();
            for program in plan.forms().filter_map(|form| plan.program(form)) {
                for dispatch in program.dispatches() {
                    let source = Source::new(dispatch.kernel, plan.choices(&tuning));
                    let mut constants: BTreeMap<String, f64> = source
                        .switches()
                        .into_iter()
                        .map(|switch| {
                            (switch.name().to_owned(), switch.value(&dispatch.switches).into())
                        })
                        .collect();
                    constants.insert("WORKGROUP_SIZE".to_owned(), tuning.workgroup_size.into());
                    constants.insert("STREAM_WIDTH".to_owned(), tuning.stream_width.into());
                    let name = format!("{} {constants:?}", module_name(&source));
                    known.entry(name).or_insert(Pipeline { source, constants });
                }
            }
        }
    }
    known.into_values().collect()
}

/// The name of a module's file, another one for each source.
fn module_name(source: &Source) -> String {
    let sum = crc32fast::hash(source.wgsl().as_bytes());
    format!("{}-{sum:08x}.wgsl", source.kernel.name().replace('/', "-"))
}

/// Every module as WGSL; the pipelines of all configurations, as a list of modules and constants for compilers of WGSL
/// and as HLSL; and a sample of all permutations as SPIR-V.
#[test]
fn shaders_are_handed_over() {
    let folder = std::env::var_os(FOLDER);
    let write = |kind: &str, name: &str, content: &[u8]| {
        let Some(folder) = &folder else { return };
        let folder = Path::new(folder).join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), content).unwrap();
    };
    let mut modules = BTreeMap::new();
    let mut permutations = Vec::new();
    for &kernel in Kernel::ALL {
        for choices in choices() {
            let source = Source::new(kernel, choices);
            let settings = settings(&source, choices);
            let name = module_name(&source);
            if modules.insert(name.clone(), source.clone()).is_some() {
                continue;
            }
            let subgroups = source.files().any(|file| file == "threads_subgroup");
            let enable = if subgroups { "enable subgroups;\n" } else { "" };
            write("wgsl", &name, (enable.to_owned() + &source.wgsl()).as_bytes());
            permutations.extend(settings.into_iter().map(|constants| (source.clone(), constants)));
        }
    }
    let parsed: BTreeMap<&String, _> =
        modules.iter().map(|(name, source)| (name, validated(name, &source.wgsl()))).collect();
    let process = |source: &Source, constants: &PipelineConstants| {
        let (module, info) = &parsed[&module_name(source)];
        processed(module, info, constants)
    };
    let sample: Vec<_> = permutations.iter().step_by(STRIDE).collect();
    sample.par_iter().enumerate().for_each(|(index, (source, constants))| {
        let (module, info) = process(source, constants);
        // The version of SPIR-V that Vulkan 1.1 takes, with which subgroups came.
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: CHECKED,
            ..Default::default()
        };
        let words = spv::write_vec(&module, &info, &options, None).unwrap();
        let name = format!("{}-{index}.spv", source.kernel.name().replace('/', "-"));
        write("spirv", &name, bytemuck::cast_slice(&words));
    });
    let pipelines = pipelines();
    pipelines.par_iter().enumerate().for_each(|(index, Pipeline { source, constants })| {
        let constants = constants.iter().map(|(name, value)| (name.clone(), *value)).collect();
        let (module, info) = process(source, &constants);
        let text = for_dx12(&module, &info).unwrap();
        let name = format!("{}-{index}.hlsl", source.kernel.name().replace('/', "-"));
        write("hlsl", &name, text.as_bytes());
    });
    let list: Vec<_> = pipelines
        .iter()
        .map(|Pipeline { source, constants }| {
            json!({ "module": module_name(source), "constants": constants })
        })
        .collect();
    write("", "pipelines.json", json!(list).to_string().as_bytes());
    println!("{} modules, {} pipelines, {} permutations", modules.len(), list.len(), sample.len());
    assert!(modules.len() >= 272 && list.len() >= 200 && sample.len() >= 2500);
}
