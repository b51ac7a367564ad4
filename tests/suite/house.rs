//! The rules of the house: short files, imports that go one way, nothing left behind.

use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;

fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has files");
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec!["src", "shaders", "tests", "benches", "examples"];
    // Not in the published crate.
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations").exists() {
        folders.push("integrations");
    }
    let paths = folders.iter().flat_map(|folder| files(folder, &[".rs", ".wgsl", ".py", ".csv"]));
    paths
        .filter(|path| !path.to_string_lossy().ends_with(".csv"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn no_file_is_long() {
    for (path, source) in sources() {
        let lines = source.lines().count();

        assert!(lines <= MAX_LINES, "{} has {lines} lines; split it by meaning", path.display());
    }
}

#[test]
fn nothing_is_left_behind() {
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "unimplemented".to_owned() + "!"];
    for (path, source) in sources() {
        for word in &words {
            assert!(!source.contains(word.as_str()), "{}: {word}", path.display());
        }
    }
}

/// error ← gpu ← layout ← config ← state ← kernels ← step ← optimizer, and what stands beside
/// that line: `objective` sees devices and layouts only, `reference` numbers only.
#[test]
fn imports_go_one_way() {
    let may_import: [(&str, &[&str]); 15] = [
        ("error", &[]),
        ("gpu", &["error"]),
        ("checkpoint", &["error"]),
        ("layout", &["error", "gpu"]),
        ("config", &["error"]),
        ("orientation", &["layout"]),
        ("state", &["error", "gpu", "layout", "config"]),
        ("kernels", &["error", "gpu", "layout", "config", "state"]),
        ("objective", &["error", "gpu", "layout"]),
        ("plateau", &["error", "gpu", "config", "state"]),
        ("step", &["error", "gpu", "layout", "config", "state", "kernels", "objective"]),
        ("telemetry", &["error", "gpu", "state"]),
        ("reference", &["layout", "config"]),
        (
            "unfused",
            &[
                "error",
                "gpu",
                "layout",
                "config",
                "kernels",
                "objective",
                "orientation",
                "reference",
                "step",
            ],
        ),
        (
            "optimizer",
            &[
                "checkpoint",
                "error",
                "gpu",
                "layout",
                "config",
                "state",
                "kernels",
                "objective",
                "orientation",
                "plateau",
                "step",
                "telemetry",
            ],
        ),
    ];
    for path in files("src", &[".rs"]) {
        let relative = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
        if relative.ends_with("lib.rs") || relative.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let (_, allowed) = may_import
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place in the order of imports"));
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let Some(imported) = line.trim_start().strip_prefix("use crate::") else { continue };
            let imported = imported.split([':', ';']).next().unwrap();
            assert!(
                imported == module || allowed.contains(&imported),
                "{} imports {imported}",
                path.display()
            );
        }
    }
}

/// All shaders run with the checks of indices and loops that wgpu puts in, and the only `unsafe` is that of
/// the pipeline cache, whose comment says why it is sound.
#[test]
fn checks_stay_on() {
    let mut unsafe_blocks = 0;
    for path in files("src", &[".rs"]) {
        let source = std::fs::read_to_string(&path).unwrap();
        for call in ["create_shader_module_trusted", "create_shader_module_passthrough"] {
            assert!(!source.contains(call), "{}: {call}", path.display());
        }
        unsafe_blocks += source.matches("unsafe {").count();
    }
    assert_eq!(unsafe_blocks, 1);
}
