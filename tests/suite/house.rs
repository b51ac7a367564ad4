//! The rules of the house: imports that go one way, without circles, and nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files of a folder of the crate, and of those in it, whose names end so.
pub fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
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
fn nothing_is_left_behind() {
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "unimplemented".to_owned() + "!"];
    for (path, source) in sources() {
        for word in &words {
            assert!(!source.contains(word.as_str()), "{}: {word}", path.display());
        }
    }
}

/// The modules of the crate, each of which may import those before it.
const ORDER: [&str; 14] = [
    "error",
    "config",
    "kernels",
    "gpu",
    "layout",
    "objective",
    "parallel",
    "plan",
    "state",
    "player",
    "optimizer",
    "spectrum",
    "reference",
    "unfused",
];

/// What of that order a module still may not import: pure ones see no device, the mathematics no kernels.
const NOT: [(&str, &[&str]); 3] = [
    ("plan", &["wgpu"]),
    ("kernels", &["wgpu", "error"]),
    (
        "reference",
        &["gpu", "kernels", "objective", "plan", "state", "player", "optimizer", "spectrum"],
    ),
];

/// The modules that `code` names by a path from `from`, as `from::module::…`.
fn named<'a>(code: &'a str, from: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let prefix = format!("{from}::");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(&prefix) {
        if code[..at].ends_with(is_part) {
            continue;
        }
        let path = &code[at + prefix.len()..];
        // One name, or the first names of a list.
        let list = match path.strip_prefix('{') {
            Some(list) => list.split_once("};").map_or(list, |(list, _)| list),
            None => path.split(|c| !is_part(c)).next().unwrap_or_default(),
        };
        let mut depth = 0;
        let mut names = list.split_inclusive([',', '{', '}']);
        names.by_ref().for_each(|part| {
            if depth == 0 {
                found.insert(part.trim().split(|c| !is_part(c)).next().unwrap_or_default());
            }
            depth += part.matches('{').count();
            depth -= part.matches('}').count().min(depth);
        });
    }
    found.remove("");
    found
}

/// A source file without comments.
fn code(path: &Path) -> String {
    let source = std::fs::read_to_string(path).unwrap();
    source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect()
}

#[test]
fn imports_go_one_way() {
    for path in files("src", &[".rs"]) {
        let relative = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let is_test = relative.to_string_lossy().ends_with("tests.rs");
        if ["lib", "tests"].contains(&module) || is_test {
            continue;
        }
        let place = ORDER.iter().position(|name| *name == module);
        let place =
            place.unwrap_or_else(|| panic!("{module} has no place in the order of imports"));
        let code = code(&path);
        let forbidden =
            NOT.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, not)| not);
        for imported in named(&code, "crate") {
            let allowed = ORDER[..=place].contains(&imported) && !forbidden.contains(&imported);
            assert!(allowed, "{} imports {imported}", path.display());
        }
        let uses_wgpu = code.contains("wgpu::");
        assert!(!(uses_wgpu && forbidden.contains(&"wgpu")), "{} names wgpu", path.display());
    }
}

/// After the plan nobody asks what the user has set: settings stand there as stages, vectors and numbers.
#[test]
fn only_the_plan_reads_settings() {
    let readers = ["config", "plan", "reference", "unfused", "tests"];
    for path in files("src", &[".rs"]) {
        let relative = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        if readers.contains(&first.trim_end_matches(".rs")) {
            continue;
        }
        for field in
            ["base", "dimer", "storage", "weight_decay", "learning_rate", "skip_non_finite"]
        {
            let reads = code(&path).contains(&format!("config.{field}"));
            assert!(!reads, "{} reads the setting {field}", path.display());
        }
    }
}

/// The modules beside each other in `folder`, and which of them each imports: by its name, or by what
/// `mod.rs` or `main.rs` re-exports of it.
fn imports_within(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_module = path.is_dir() && path.join("mod.rs").exists();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        if (is_file || is_module) && !["mod", "main", "lib", "tests"].contains(&name.as_str()) {
            paths.push((name, path));
        }
    }
    let names: Vec<String> = paths.iter().map(|(name, _)| name.clone()).collect();
    let root = ["mod.rs", "main.rs"].map(|name| folder.join(name));
    let is_main = root[1].exists();
    let root = root.iter().find(|path| path.exists()).map_or_else(String::new, |path| code(path));
    let exported: BTreeMap<&str, &String> = names
        .iter()
        .flat_map(|name| named(&root, name).into_iter().map(move |item| (item, name)))
        .collect();
    let module = |(name, path): &(String, PathBuf)| {
        let inside = if path.is_dir() { code(&path.join("mod.rs")) } else { code(path) };
        let from = if is_main { "crate" } else { "super" };
        let imports = named(&inside, from).into_iter().filter_map(|item| {
            let direct = names.iter().find(|other| *other == item);
            direct.or_else(|| exported.get(item).copied()).filter(|other| *other != name).cloned()
        });
        (name.clone(), imports.collect())
    };
    paths.iter().map(module).collect()
}

/// No two files of one folder import each other, however many lie between: in the crate and in what is built
/// with it.
#[test]
fn there_are_no_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for part in ["src", "benches", "examples", "tests", "integrations"] {
        if root.join(part).exists() {
            folders
                .extend(files(part, &[".rs"]).iter().map(|path| path.parent().unwrap().to_owned()));
        }
    }
    let mut edges = 0;
    for folder in folders {
        let mut imports = imports_within(&folder);
        edges += imports.values().map(BTreeSet::len).sum::<usize>();
        // Whoever imports nothing that is left is taken away, until nobody is left.
        while !imports.is_empty() {
            let free = imports.iter().find(|(_, of)| of.iter().all(|it| !imports.contains_key(it)));
            let Some(free) = free.map(|(name, _)| name.clone()) else {
                panic!("{} has a circle among {imports:?}", folder.display());
            };
            imports.remove(&free);
        }
    }
    // That the test sees what it looks for.
    assert!(edges > 50, "{edges}");
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

/// What blocks is not there in a browser, and has a twin in the same file that yields to other tasks.
#[test]
fn what_blocks_has_an_async_twin() {
    const NOT_IN_BROWSERS: &str = "#[cfg(not(target_family = \"wasm\"))]";
    let mut blocking = 0;
    for path in files("src", &[".rs"]) {
        // What ranks do together blocks in any case, and is not there in a browser as a whole.
        let root = std::fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
        let module = path.file_stem().unwrap().to_string_lossy();
        if root.contains(&format!("{NOT_IN_BROWSERS}\nmod {module};")) {
            continue;
        }
        let code = code(&path);
        let functions: Vec<&str> = code.split("pub fn ").collect();
        for (before, rest) in functions.iter().zip(&functions[1..]) {
            let (name, rest) = rest.split_once('(').unwrap();
            let body = rest.split("\n    }\n").next().unwrap();
            if !body.contains("block_on(") {
                continue;
            }
            blocking += 1;
            let place = format!("{}: {name}", path.display());
            assert!(before.trim_end().ends_with(NOT_IN_BROWSERS), "{place} is there in a browser");
            let twins = code.matches(&format!("pub async fn {name}_async(")).count();
            let own = code.matches(&format!("pub fn {name}(")).count();
            assert_eq!(twins, own, "{place} has no async twin");
        }
    }
    assert!(blocking >= 25, "{blocking}");
}

/// The README names the oldest Rust that each crate allows.
#[test]
fn the_readme_names_the_oldest_rust() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for manifest in ["Cargo.toml", "integrations/burn/Cargo.toml"] {
        // The second is not in the published crate.
        let Ok(manifest) = std::fs::read_to_string(root.join(manifest)) else { continue };
        let (_, rest) = manifest.split_once("rust-version = \"").unwrap();
        let version = rest.split_once('"').unwrap().0;
        let named = format!("{version} or newer");
        assert!(readme.replace('\n', " ").contains(&named), "{named}");
    }
}

/// Where comments list the base optimizers, none is left out.
#[test]
fn lists_of_bases_are_whole() {
    let mut lists = 0;
    for (path, source) in sources().into_iter().filter(|(path, _)| !path.ends_with("house.rs")) {
        // Of these moments, Lion has one; an example need not run it.
        if path.ends_with("moments_two.wgsl") || path.to_string_lossy().contains("/examples/") {
            continue;
        }
        let comments = source.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
        let text = comments.map(|line| line.trim_start_matches(['/', '!'])).collect::<String>();
        for (at, _) in text.match_indices("Adam, AdamW") {
            let after: String = text[at..].chars().take(46).collect();
            if after.chars().take(28).collect::<String>().contains("Sophia") {
                lists += 1;
                assert!(after.contains("Lion"), "{}: {after}", path.display());
            }
        }
    }
    assert!(lists >= 2, "{lists}");
}
