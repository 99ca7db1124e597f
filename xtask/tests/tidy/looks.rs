//! How files look: names, first lines, lengths, and what none of them may name.

use std::path::Path;

use crate::tree::{Tree, is_test_file, report};

const MAX_FILE_LINES: usize = 500;

/// The file that a line `#[path = "…"]` gives to a module.
fn module_path(line: &str) -> Option<&str> {
    let path = line.trim_start().strip_prefix("#[path")?;
    path.split('"').nth(1)
}

fn is_benchmark(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "benches")
}

#[test]
fn files_look_as_agreed() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    for file in tree.rust() {
        let (name, text) = (file.display(), tree.text(file));
        let stem = file.file_stem().unwrap().to_string_lossy();
        if ["util", "utils", "helper", "helpers", "common", "manager", "misc"].contains(&stem.as_ref()) {
            problems.push(format!("{name}: name the file after what it owns"));
        }
        if !text.starts_with("//! ") {
            problems.push(format!("{name}: the first line must say what the file owns (`//! …`)"));
        }
        if text.lines().count() > MAX_FILE_LINES {
            problems.push(format!(
                "{name}: {} lines, at most {MAX_FILE_LINES}",
                text.lines().count()
            ));
        }
        let shared = |path: &&str| path.starts_with("../") && (is_test_file(file) || is_benchmark(file));
        for path in text.lines().filter_map(module_path).filter(|path| !shared(path)) {
            problems.push(format!(
                "{name}: a module's file is found by its name, without #[path = \"{path}\"]"
            ));
        }
        if tree.shipped(file).contains(concat!("#[", "allow(")) {
            problems.push(format!("{name}: use #[expect(…, reason = …)]"));
        }
    }
    report(&problems);
}

#[test]
fn a_path_attribute_is_found_in_a_line() {
    let line = concat!("    #[", "path = \"../shared.rs\"]");
    assert_eq!(module_path(line), Some("../shared.rs"));
    assert_eq!(module_path("// #[path]"), None);
}

#[test]
fn no_file_names_a_package_registry_or_a_developers_machine() {
    let tree = Tree::read();
    // Put together here, so that this file does not name them either.
    let registries = [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("crates", "io/"),
        ("static.crates", "io"),
    ]
    .into_iter()
    .chain([
        ("deb.debian", "org"),
        ("snapshot.debian", "org"),
        ("security.debian", "org"),
    ])
    .chain([
        ("registry.npmjs", "org"),
        ("proxy.golang", "org"),
        ("docker", "io/"),
        ("ghcr", "io"),
        ("quay", "io"),
    ])
    .map(|(name, end)| format!("{name}.{end}"));
    let paths = [["/work/", "main/"], ["/root", "/."], ["/home", "/runner"]].map(|parts| parts.concat());
    let never: Vec<String> = registries.chain(paths).collect();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| !file.ends_with("Cargo.lock")) {
        let text = tree.text(file);
        for pattern in never.iter().filter(|pattern| text.contains(pattern.as_str())) {
            problems.push(format!("{}: must not name {pattern}", file.display()));
        }
    }
    report(&problems);
}
