//! The programs of some configurations, against the text in `tests/programs/`.

use std::path::Path;

use super::configurations;
use crate::gpu::{DeviceLimits, Tuning};
use crate::layout::Layout;
use crate::plan::Plan;
use crate::plan::slices::Slice;
use crate::{
    Adam, Base, Config, Dimer, EarlyExit, FullBatch, Group, Regime, Rotation, RotationStop,
    Schedule,
};

/// A device as the WebGPU standard has it at least, but for the storage buffers of several dimers.
const LIMITS: DeviceLimits = DeviceLimits {
    buffer_bytes: 256 << 20,
    binding_bytes: 128 << 20,
    uniform_bytes: 64 << 10,
    storage_buffers: 10,
    uniforms: 12,
    slots: 8,
    groups: 4,
    entries: 1000,
    workgroups: 65_535,
    threads: 256,
    sizes: [256, 256, 64],
    workgroup_bytes: 16 << 10,
};

/// The plan of an optimizer of a weight and a bias.
pub(super) fn plan(config: &Config, tuning: &Tuning) -> Plan {
    let mut builder = Layout::builder();
    builder.tensor("weight", &[300, 20]).tensor("bias", &[20]);
    let layout = builder.build().unwrap().tiled(tuning);
    Plan::new(config, &layout, Slice::whole(&layout), tuning, &LIMITS).unwrap()
}

/// To write the files anew after a change that is meant: `UPDATE_PROGRAMS=1 cargo test programs`.
#[test]
fn programs_are_those_of_the_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let update = std::env::var_os("UPDATE_PROGRAMS").is_some();
    let mut known = Vec::new();
    for (name, config) in configurations() {
        config.validate().unwrap();
        let plan = plan(&config, &Tuning::default());
        let path = folder.join(format!("{name}.txt"));
        let found = plan.to_string();
        if update {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
        known.push(format!("{name}.txt"));
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name} belongs to no configuration");
    }
}

/// Settings come back from JSON as they were, and what a text leaves out has its default.
#[test]
fn settings_serialize_both_ways() {
    for (name, config) in configurations() {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config, "{name}: {text}");
    }
    let text = r#"{"base": {"AdamW": {"beta2": 0.99}}, "dimer": {"schedule": {"Every": 20}}}"#;
    let read: Config = serde_json::from_str(text).unwrap();
    let expected = Config {
        base: Base::AdamW(Adam { beta2: 0.99, ..Adam::default() }),
        dimer: Some(Dimer { schedule: Schedule::Every(20), ..Dimer::default() }),
        ..Config::default()
    };
    assert_eq!(read, expected);
    let group: Group = serde_json::from_str(r#"{"dimer": false}"#).unwrap();
    assert_eq!(group, Group { dimer: false, ..Group::default() });
    // A misspelt name is no default.
    assert!(serde_json::from_str::<Config>(r#"{"learning_rat": 0.1}"#).is_err());
}

/// The names that settings had before.
#[test]
fn former_names_are_read() {
    let json = r#"{"LocallyOptimal":{"regime":{"Deterministic":{"max_rotations":3,
        "stop":{"residual":0.1,"angle":0.02,"saves":"Gradients"}}}}}"#;
    let stop = RotationStop::new(0.1, 0.02).with_early_exit(EarlyExit::Gradients);
    let regime = Regime::FullBatch(FullBatch { max_rotations: 3, stop: Some(stop) });
    let rotation: Rotation = serde_json::from_str(json).unwrap();
    assert_eq!(rotation, Rotation::locally_optimal(regime));
}
