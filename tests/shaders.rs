//! Every shader parses and validates with naga, with every combination of its switches, and can be said in
//! the languages of Vulkan, Metal and DX12.

use std::collections::BTreeSet;
use std::path::Path;

use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

const PRELUDE: [&str; 7] = [
    "common/switches.wgsl",
    "common/types.wgsl",
    "common/step_bindings.wgsl",
    "common/hash.wgsl",
    "common/vectors.wgsl",
    "common/streams.wgsl",
    "common/reduction.wgsl",
];
/// What a device or a configuration chooses between.
const THREADS: [&str; 2] = ["common/threads.wgsl", "common/threads_subgroup.wgsl"];
const STORED: [&str; 2] = ["common/stored_f32.wgsl", "common/stored_bf16.wgsl"];
const VECTORS: &str = "common/vector_bindings.wgsl";
const BASIS: &str = "common/basis_bindings.wgsl";
const PLACES: &str = "common/places.wgsl";
const PROBE: &str = "common/probe_bindings.wgsl";
const DIRECTION: &str = "common/direction.wgsl";
const PLACING: &str = "common/placing.wgsl";
const OUTCOME: &str = "common/outcome.wgsl";
const BASE: &str = "common/base.wgsl";
const PRODUCTS: &str = "common/products.wgsl";
const MODES: &str = "common/modes_bindings.wgsl";
const REGIONS: &str = "common/regions.wgsl";
const REGION_OUTCOME: &str = "common/region_outcome.wgsl";

const APPLYING: &str = "common/applying.wgsl";
const STEP: &str = "common/step.wgsl";

/// What is concatenated before each fused kernel.
const FUSED: [(&str, &[&str]); 28] = [
    ("gram.wgsl", &[VECTORS, PLACES, PRODUCTS]),
    ("rotate.wgsl", &[VECTORS, PLACES, OUTCOME, BASE, APPLYING]),
    ("translate.wgsl", &[VECTORS, PLACES, OUTCOME, BASE, APPLYING, STEP]),
    ("rotate_translate.wgsl", &[VECTORS, PLACES, OUTCOME, BASE, APPLYING, STEP]),
    ("count.wgsl", &[VECTORS, PLACES, OUTCOME]),
    ("norm.wgsl", &[PROBE, PLACING]),
    ("displace.wgsl", &[PROBE, PLACING]),
    ("opposite.wgsl", &[PROBE, PLACING]),
    ("calibrate.wgsl", &[PROBE, PLACING]),
    ("measure.wgsl", &[BASIS, PLACES, PLACING, DIRECTION]),
    ("aim.wgsl", &[BASIS, PLACES, PLACING, DIRECTION]),
    ("basis_gram.wgsl", &[BASIS, PLACES, PLACING, DIRECTION]),
    ("ritz.wgsl", &[BASIS, PLACES, PLACING, DIRECTION]),
    ("turn.wgsl", &[BASIS, PLACES, PLACING, DIRECTION]),
    ("scope/displace.wgsl", &[PROBE, PLACING, REGIONS]),
    ("scope/gram.wgsl", &[VECTORS, PLACES, REGIONS, PRODUCTS]),
    ("scope/sums.wgsl", &[VECTORS, PLACES, REGIONS]),
    ("scope/single.wgsl", &[VECTORS, PLACES, REGIONS]),
    ("scope/norm.wgsl", &[VECTORS, PLACES, REGIONS, OUTCOME]),
    ("scope/outcomes.wgsl", &[VECTORS, PLACES, REGIONS, OUTCOME, BASE, REGION_OUTCOME]),
    ("scope/whole.wgsl", &[VECTORS, PLACES, REGIONS, OUTCOME, REGION_OUTCOME]),
    ("scope/update.wgsl", &[VECTORS, PLACES, REGIONS, OUTCOME, BASE]),
    ("modes/aim.wgsl", &[MODES, PLACES]),
    ("modes/measure.wgsl", &[MODES, PLACES]),
    ("modes/gram.wgsl", &[MODES, PLACES]),
    ("modes/ritz.wgsl", &[MODES, PLACES]),
    ("modes/turn.wgsl", &[MODES, PLACES]),
    ("scope/rotate.wgsl", &[VECTORS, PLACES, REGIONS]),
];

const SWITCHES: [&str; 22] = [
    "UNGUARDED",
    "SADDLE_FREE",
    "CLIMB",
    "DIMER",
    "ROTATION",
    "TRANSLATION",
    "ADAM",
    "SOPHIA",
    "DECOUPLED_DECAY",
    "MOMENTUM",
    "NESTEROV",
    "RITZ",
    "FORCE",
    "DIRECTION",
    "LAST",
    "AIMS",
    "STOPS",
    "RELATIVE",
    "AUTOMATIC",
    "FAR",
    "CENTRAL",
    "EXACT",
];

/// Switches of which a configuration sets at most one.
const EXCLUSIVE: [&[&str]; 4] = [
    &["SADDLE_FREE", "CLIMB"],
    &["ADAM", "SOPHIA", "MOMENTUM"],
    &["RELATIVE", "AUTOMATIC", "EXACT"],
    &["CENTRAL", "AUTOMATIC", "EXACT"],
];

/// Every setting of the switches that `source` uses, beside declaring them.
fn settings(source: &str) -> Vec<PipelineConstants> {
    let uses = |switch: &&str| {
        let words = source.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.filter(|word| word == switch).count() > 1
    };
    let used: Vec<&str> = SWITCHES.into_iter().filter(uses).collect();
    let all = (0..1_u32 << used.len()).map(|bits| {
        let on = used.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        on.map(|(_, switch)| *switch).collect::<BTreeSet<&str>>()
    });
    let possible = all.filter(|on| {
        let count = |group: &&[&str]| group.iter().filter(|switch| on.contains(*switch)).count();
        EXCLUSIVE.iter().all(|group| count(group) <= 1)
    });
    let constants = |on: BTreeSet<&str>| {
        let value =
            |switch: &&str| ((*switch).to_owned(), f64::from(u8::from(on.contains(switch))));
        SWITCHES.iter().map(value).collect()
    };
    possible.map(constants).collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn validated(name: &str, source: &str) -> (naga::Module, naga::valid::ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    assert_eq!(module.entry_points.len(), 1, "{name}");
    (module, info)
}

#[test]
fn fused_shaders_are_valid_with_every_switch() {
    let choices = THREADS.into_iter().flat_map(|threads| STORED.map(|stored| [threads, stored]));
    let sources = choices.flat_map(|choice| FUSED.map(|fused| (choice, fused)));
    for (choice, (name, parts)) in sources {
        let files = PRELUDE.into_iter().chain(choice).chain(parts.iter().copied()).chain([name]);
        let source: String = files.map(read).collect();
        let (module, info) = validated(name, &source);
        let settings = settings(&source);
        println!("{name} with {choice:?}: {} settings", settings.len());
        assert!(!settings.is_empty());
        settings.par_iter().for_each(|constants| {
            let (module, info) =
                naga::back::pipeline_constants::process_overrides(&module, &info, None, constants)
                    .unwrap_or_else(|error| panic!("{name} with {constants:?}: {error}"));
            // naga itself has stumbled over combinations that validate; SPIR-V shows it here.
            let options = spv::Options { bounds_check_policies: CHECKED, ..Default::default() };
            spv::write_vec(&module, &info, &options, None).unwrap();
        });
        // The other languages have fewer corners of their own; each thirty-first setting will do.
        settings.par_iter().step_by(31).for_each(|constants| {
            let (module, info) =
                naga::back::pipeline_constants::process_overrides(&module, &info, None, constants)
                    .unwrap();
            write_metal_and_dx12(&module, &info).unwrap_or_else(|error| {
                panic!("{name} with {choice:?} and {constants:?}: {error}");
            });
        });
    }
}

/// A check of every index, which wgpu leaves out only where the driver has its own.
const CHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
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
    // Waves, which subgroups are there, came with 6.0.
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
    let (pipeline, mut dx12) = (hlsl::PipelineOptions::default(), String::new());
    hlsl::Writer::new(&mut dx12, &options, &pipeline).write(module, info, None)?;
    assert!(metal.contains("kernel void") && dx12.contains("numthreads"));
    Ok(())
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
    assert_eq!(found, 13);
}

/// A shader that no test knows is a shader that no test validates.
#[test]
fn every_shader_is_known() {
    let known: BTreeSet<String> = FUSED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let within = |folder: &str| {
        names(folder).into_iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let folders = within("scope").into_iter().chain(within("modes"));
    let found: BTreeSet<String> = names("").into_iter().chain(folders).collect();
    assert_eq!(found, known);
}

fn names(folder: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wgsl"))
        .collect()
}
