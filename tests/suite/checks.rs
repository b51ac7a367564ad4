//! The checks that `./dev check` and the page of `examples/web` report.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::*;

#[path = "../common/checks.rs"]
mod list;

use list::{CHECKS, SHORT_LENGTHS};

/// All kernels by their files, but for the unfused ones.
fn kernels() -> BTreeSet<String> {
    let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let names = |path: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let folders = names(&shaders).into_iter();
    let folders = folders.filter(|folder| !["shared", "unfused"].contains(&folder.as_str()));
    folders
        .flat_map(|folder| {
            let files = names(&shaders.join(&folder)).into_iter();
            files.map(move |file| format!("{folder}/{file}")).collect::<Vec<_>>()
        })
        .collect()
}

/// What a report says of a check is true: these kernels run in it, and no kernel is left out of all.
#[test]
fn every_kernel_is_checked() {
    let timestamps = wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    let tells = gpu().device().features().contains(timestamps);
    if !tells {
        println!("without timestamps this device does not tell which kernels ran");
    }
    let mut checked = BTreeSet::new();
    for check in &CHECKS {
        let name = check.name;
        let report = pollster::block_on(check.report(&gpu(), &SHORT_LENGTHS));
        for (quantity, comparison) in &report.comparisons {
            println!("{name}, {quantity}: {comparison:?}");
            assert!(comparison.holds(), "{name}, {quantity}: {comparison:?}");
        }
        // Those of the objective are not timed.
        for kernel in check.kernels.iter().filter(|kernel| !kernel.starts_with("objective/")) {
            assert!(!tells || report.kernels.contains(kernel), "{name}: {kernel} did not run");
        }
        checked.extend(check.kernels.iter().map(|kernel| kernel.to_string()));
    }
    assert_eq!(checked, kernels());
}
