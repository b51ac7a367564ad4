//! Every shader parses and validates with naga, with every combination of its switches.

use std::collections::BTreeSet;
use std::path::Path;

use naga::valid::{Capabilities, ValidationFlags, Validator};

const PRELUDE: [&str; 3] =
    ["common/switches.wgsl", "common/types.wgsl", "common/step_bindings.wgsl"];
const STREAMS: &str = "common/streams.wgsl";
const VECTORS: &str = "common/vector_bindings.wgsl";
const BASIS: &str = "common/basis_bindings.wgsl";
const PLACES: &str = "common/places.wgsl";
const PROBE: &str = "common/probe_bindings.wgsl";
const REDUCTION: &str = "common/reduction.wgsl";
const OUTCOME: &str = "common/outcome.wgsl";
const BASE: &str = "common/base.wgsl";
const STEP: &str = "common/step.wgsl";

/// What is concatenated before each fused kernel.
const FUSED: [(&str, &[&str]); 11] = [
    ("gram.wgsl", &[STREAMS, VECTORS, PLACES, REDUCTION]),
    ("rotate.wgsl", &[STREAMS, VECTORS, PLACES, REDUCTION, OUTCOME]),
    ("translate.wgsl", &[STREAMS, VECTORS, PLACES, REDUCTION, OUTCOME, BASE, STEP]),
    ("rotate_translate.wgsl", &[STREAMS, VECTORS, PLACES, REDUCTION, OUTCOME, BASE, STEP]),
    ("norm.wgsl", &[STREAMS, PROBE, REDUCTION]),
    ("displace.wgsl", &[STREAMS, PROBE, REDUCTION]),
    ("measure.wgsl", &[STREAMS, BASIS, PLACES, REDUCTION]),
    ("aim.wgsl", &[STREAMS, BASIS, PLACES, REDUCTION]),
    ("basis_gram.wgsl", &[STREAMS, BASIS, PLACES, REDUCTION]),
    ("ritz.wgsl", &[STREAMS, BASIS, PLACES, REDUCTION]),
    ("turn.wgsl", &[STREAMS, BASIS, PLACES, REDUCTION]),
];

const SWITCHES: [&str; 13] = [
    "SADDLE_FREE",
    "DIMER",
    "ROTATION",
    "TRANSLATION",
    "ADAM",
    "DECOUPLED_DECAY",
    "MOMENTUM",
    "NESTEROV",
    "RITZ",
    "FORCE",
    "DIRECTION",
    "LAST",
    "RELATIVE",
];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn validated(name: &str, source: &str) -> (naga::Module, naga::valid::ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    assert_eq!(module.entry_points.len(), 1, "{name}");
    (module, info)
}

#[test]
fn fused_shaders_are_valid_with_every_switch() {
    for (name, parts) in FUSED {
        let files = PRELUDE.iter().chain(parts).copied().chain([name]);
        let source: String = files.map(read).collect();
        let (module, info) = validated(name, &source);
        for bits in 0..1_u32 << SWITCHES.len() {
            let constants = SWITCHES
                .iter()
                .enumerate()
                .map(|(i, switch)| ((*switch).to_owned(), f64::from(bits >> i & 1)))
                .collect();
            println!("{name} with {constants:?}");
            let (module, info) =
                naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
                    .unwrap();
            // naga itself has stumbled over combinations that validate; SPIR-V shows it here.
            naga::back::spv::write_vec(&module, &info, &Default::default(), None).unwrap();
        }
    }
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
    assert_eq!(names(""), known);
}

fn names(folder: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wgsl"))
        .collect()
}
