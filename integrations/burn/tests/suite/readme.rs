//! The README of the repository shows the code that is compiled here as a documentation test.

use std::fs;
use std::path::Path;

/// The first block of Rust code behind `heading`.
fn code<'a>(text: &'a str, heading: &str, fence: &str) -> &'a str {
    let (_, section) = text.split_once(heading).expect("the heading");
    let (_, code) = section.split_once(fence).expect("a block of code");
    code.split_once("```").expect("its end").0
}

#[test]
fn the_section_on_burn_is_compiled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = fs::read_to_string(folder.join("README.md")).unwrap();
    let root = fs::read_to_string(folder.join("../../README.md")).unwrap();
    let compiled = code(&here, "# dimer-burn", "```rust\n");
    assert_eq!(code(&root, "\n## Burn\n", "```rust,ignore\n"), compiled);
    let (_, section) = root.split_once("\n## Burn\n").unwrap();
    let lines = section.split_once("\n## ").unwrap().0.lines().count();
    assert!(lines < 30, "the section has {lines} lines");
}
