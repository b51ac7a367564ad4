//! Hands shaders over to compilers that are not ours; `./dev test portable` runs those.

use std::collections::BTreeMap;
use std::path::Path;

use naga::back::{PipelineConstants, spv};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use super::configurations;
use super::programs::plan;
use super::shaders::{CHECKED, choices, for_dx12, processed, settings, validated};
use crate::gpu::{Tuning, overrides};
use crate::kernels::catalogue::{Kernel, Source};
use crate::plan::program::Program;

/// Where the files go; without it they are counted.
const FOLDER: &str = "DIMER_SHADERS";

/// Of all permutations of the switches, this many are left out from one that is written as SPIR-V to the next.
const STRIDE: usize = 37;

/// What a device compiles: a module with the values of its overrides.
struct Pipeline {
    source: Source,
    constants: BTreeMap<&'static str, f64>,
}

/// The pipelines of all configurations of `super::configurations`, with and without subgroups, each once.
fn pipelines() -> Vec<Pipeline> {
    let mut known = BTreeMap::new();
    for subgroups in [false, true] {
        let tuning = Tuning { subgroups, ..Tuning::default() };
        for (_, config) in configurations() {
            let plan = plan(&config, &tuning);
            let programs = plan.forms().filter_map(|form| plan.program(form));
            for dispatch in programs.flat_map(Program::dispatches) {
                let source = Source::new(dispatch.kernel, plan.choices(&tuning));
                let constants: BTreeMap<_, _> =
                    overrides(&source.switches(), &dispatch.switches, &tuning)
                        .into_iter()
                        .collect();
                let name = format!("{} {constants:?}", module_name(&source));
                known.entry(name).or_insert(Pipeline { source, constants });
            }
        }
    }
    known.into_values().collect()
}

/// The name of a kernel in names of files.
fn file_name(source: &Source) -> String {
    source.kernel.name().replace('/', "-")
}

/// The name of a module's file, another one for each source.
fn module_name(source: &Source) -> String {
    let sum = crc32fast::hash(source.wgsl().as_bytes());
    format!("{}-{sum:08x}.wgsl", file_name(source))
}

/// Every module as WGSL; the pipelines of all configurations, as a list of modules and constants for compilers of WGSL
/// and as HLSL; and a sample of all permutations as SPIR-V. That naga can write all of it, `super::shaders` tests.
#[test]
fn shaders_are_handed_over() {
    let mut modules = BTreeMap::new();
    let mut permutations = Vec::new();
    for &kernel in Kernel::ALL {
        for choices in choices() {
            let source = Source::new(kernel, choices);
            if modules.insert(module_name(&source), source.clone()).is_none() {
                let settings = settings(&source, choices).into_iter();
                permutations.extend(settings.map(|constants| (source.clone(), constants)));
            }
        }
    }
    let (sample, pipelines): (Vec<_>, _) =
        (permutations.iter().step_by(STRIDE).collect(), pipelines());
    println!(
        "{} modules, {} pipelines, {} permutations",
        modules.len(),
        pipelines.len(),
        sample.len()
    );
    assert!(modules.len() >= 272 && pipelines.len() >= 200 && sample.len() >= 2500);

    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let write = |kind: &str, name: &str, content: &[u8]| {
        let folder = Path::new(&folder).join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), content).unwrap();
    };
    for (name, source) in &modules {
        let subgroups = source.files().any(|file| file == "threads_subgroup");
        let enable = if subgroups { "enable subgroups;\n" } else { "" };
        write("wgsl", name, (enable.to_owned() + &source.wgsl()).as_bytes());
    }
    let parsed: BTreeMap<&String, _> =
        modules.iter().map(|(name, source)| (name, validated(name, &source.wgsl()))).collect();
    let process = |source: &Source, constants: &PipelineConstants| {
        let (module, info) = &parsed[&module_name(source)];
        processed(module, info, constants)
    };
    sample.par_iter().enumerate().for_each(|(index, (source, constants))| {
        let (module, info) = process(source, constants);
        // The version of SPIR-V that Vulkan 1.1 takes, with which subgroups came.
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: CHECKED,
            ..Default::default()
        };
        let words = spv::write_vec(&module, &info, &options, None).unwrap();
        let name = format!("{}-{index}.spv", file_name(source));
        write("spirv", &name, bytemuck::cast_slice(&words));
    });
    pipelines.par_iter().enumerate().for_each(|(index, Pipeline { source, constants })| {
        let constants =
            constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let (module, info) = process(source, &constants);
        let text = for_dx12(&module, &info).unwrap();
        write("hlsl", &format!("{}-{index}.hlsl", file_name(source)), text.as_bytes());
    });
    let list = pipelines.iter().map(|Pipeline { source, constants }| {
        json!({ "module": module_name(source), "constants": constants })
    });
    write("", "pipelines.json", json!(list.collect::<Vec<_>>()).to_string().as_bytes());
}
