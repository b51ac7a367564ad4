//! The checks that `./dev check` and the page of `examples/web` report.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::*;
use crate::house::files;

#[path = "../common/checks.rs"]
mod list;

use list::{CHECKS, SHORT_LENGTHS};

/// All kernels by their files, but for the unfused ones.
fn kernels() -> BTreeSet<String> {
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let of = |path: &PathBuf| (name(path.parent().unwrap()), name(path));
    let kernels = files("shaders", &[".wgsl"]);
    let kernels = kernels.iter().map(of);
    let kernels = kernels.filter(|(folder, _)| !["shared", "unfused"].contains(&folder.as_str()));
    kernels.map(|(folder, kernel)| format!("{folder}/{kernel}")).collect()
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
