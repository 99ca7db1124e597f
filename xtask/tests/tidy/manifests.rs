//! What manifests say: versions once, and nothing that ships with protections taken out.

use std::collections::BTreeMap;

use crate::tree::{Tree, report};

fn dependencies(manifest: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut all = BTreeMap::new();
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(toml::Value::Table(table)) = manifest.get(table) {
            all.extend(table.clone());
        }
    }
    all
}

#[test]
fn versions_stand_in_the_workspace_manifest_alone() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.ends_with("Cargo.toml") && file.components().count() > 1)
    {
        for (name, value) in dependencies(&tree.manifest(file)) {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                problems.push(format!("{}: {name} must say `workspace = true`", file.display()));
            }
        }
    }
    report(&problems);
}

/// Test builds can take protections out (`crates/model/src/protection.rs`); nothing that ships may ask for that.
#[test]
fn only_tests_of_trials_can_take_protections_out() {
    const FEATURE: &str = "mutations";
    let tree = Tree::read();
    let mut problems = Vec::new();
    let names = |list: Option<&toml::Value>| -> Vec<String> {
        let list = list.and_then(toml::Value::as_array).into_iter().flatten();
        list.filter_map(toml::Value::as_str).map(str::to_owned).collect()
    };
    for file in tree.files.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let manifest = tree.manifest(file);
        let asks = |list: &[String]| list.iter().any(|one| one == FEATURE || one.ends_with("/mutations"));
        let features = manifest
            .get("features")
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default();
        for (name, list) in features.iter().filter(|(name, _)| *name != FEATURE) {
            if asks(&names(Some(list))) {
                problems.push(format!("{}: the feature `{name}` enables `{FEATURE}`", file.display()));
            }
        }
        let workspace = manifest
            .get("workspace")
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default();
        let is_trials = file.starts_with("crates/trials");
        for (owner, kind) in [
            (&manifest, "dependencies"),
            (&manifest, "build-dependencies"),
            (&manifest, "dev-dependencies"),
            (&workspace, "dependencies"),
        ] {
            let table = owner
                .get(kind)
                .and_then(toml::Value::as_table)
                .cloned()
                .unwrap_or_default();
            for (name, value) in table {
                if asks(&names(value.get("features"))) && !(is_trials && kind == "dev-dependencies") {
                    problems.push(format!("{}: {kind}: {name} must not have `{FEATURE}`", file.display()));
                }
            }
        }
    }
    report(&problems);
}
