//! Who may depend on whom.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{Tree, report};

/// Crate, and what it must never depend on; a `*` stands for any ending. Every crate but xtask has a row.
const NEVER: [(&str, &[&str]); 15] = [
    // It is built while a person waits, each time the compiler changes.
    ("launcher", &["*"]),
    (
        "model",
        &[
            "rustix",
            "tokio",
            "kube",
            "jiff",
            "tempfile",
            "ureq",
            "xshell",
            "hybrid-cache-*",
        ],
    ),
    (
        "sizing",
        &[
            "rustix",
            "tokio",
            "kube",
            "jiff",
            "clap",
            "tempfile",
            "ureq",
            "xshell",
            "hybrid-cache-*",
        ],
    ),
    ("mirror", &["kube", "clap", "jiff", "xshell", "hybrid-cache-*"]),
    ("web", &["rustix", "tokio", "kube", "clap", "hybrid-cache-*"]),
    (
        "runner",
        &["tokio", "kube", "clap", "hybrid-cache-driver", "hybrid-cache-report"],
    ),
    ("driver", &["clap", "hybrid-cache-report", "hybrid-cache-runner"]),
    (
        "report",
        &["tokio", "clap", "hybrid-cache-driver", "hybrid-cache-runner"],
    ),
    (
        "api",
        &[
            "tokio",
            "axum",
            "hyper",
            "kube",
            "clap",
            "hybrid-cache-driver",
            "hybrid-cache-runner",
            "hybrid-cache-report",
            "hybrid-cache-service",
            "hybrid-cache-sizing",
            "hybrid-cache-trials",
        ],
    ),
    (
        "service",
        &["xtask", "clap", "hybrid-cache-report", "hybrid-cache-runner"],
    ),
    (
        "trials",
        &["xtask", "clap", "hybrid-cache-report", "hybrid-cache-runner"],
    ),
    (
        "tools",
        &[
            "xtask",
            "clap",
            "indicatif",
            "comfy-table",
            "bollard",
            "kube",
            "hybrid-cache-image",
            "hybrid-cache-cluster",
            "hybrid-cache-bench",
            "hybrid-cache-report",
            "hybrid-cache-service",
            "hybrid-cache-trials",
        ],
    ),
    (
        "image",
        &[
            "xtask",
            "clap",
            "indicatif",
            "comfy-table",
            "kube",
            "hybrid-cache-cluster",
            "hybrid-cache-bench",
        ],
    ),
    (
        "cluster",
        &[
            "xtask",
            "clap",
            "indicatif",
            "comfy-table",
            "bollard",
            "hybrid-cache-bench",
        ],
    ),
    ("bench", &["xtask", "clap", "indicatif", "comfy-table"]),
];

/// Dependency → how many files of the repository may name it, side by side: one place to look when it changes.
const ONE_FILE: [(&str, usize); 2] = [("bollard::", 2), ("rusqlite::", 1)];

/// What only one file of xtask and of the crates that it drives may say: another cluster library or kind changes one file.
const ONE_FILE_OF_DRIVEN: [(&str, &str); 3] = [
    ("use kube::", "crates/cluster/src/api.rs"),
    ("use k8s_openapi::", "crates/cluster/src/api.rs"),
    ("find(\"kind\")", "crates/cluster/src/kind_cli.rs"),
];

/// xtask, and the crates that it drives.
const DRIVEN: [&str; 5] = [
    "xtask/src",
    "crates/tools/src",
    "crates/image/src",
    "crates/cluster/src",
    "crates/bench/src",
];

/// The names of a crate's dependencies in these tables of its manifest.
fn names(tree: &Tree, folder: &Path, tables: &[&str]) -> BTreeSet<String> {
    let manifest = tree.manifest(&folder.join("Cargo.toml"));
    let tables = tables
        .iter()
        .filter_map(|table| manifest.get(*table).and_then(toml::Value::as_table));
    tables.flat_map(toml::Table::keys).cloned().collect()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let tree = Tree::read();
    let crates: BTreeSet<_> = tree
        .crates()
        .into_iter()
        .filter(|folder| folder.starts_with("crates"))
        .collect();
    let rows: BTreeSet<_> = NEVER.iter().map(|(name, _)| Path::new("crates").join(name)).collect();
    let mut problems = Vec::new();
    for folder in crates.symmetric_difference(&rows) {
        problems.push(format!(
            "{}: a crate and its row in NEVER stand for each other",
            folder.display()
        ));
    }
    for (name, never) in NEVER {
        let folder = Path::new("crates").join(name);
        if !crates.contains(&folder) {
            continue;
        }
        for dependency in names(&tree, &folder, &["dependencies"]) {
            let matches = |pattern: &&&str| match pattern.strip_suffix('*') {
                Some(prefix) => dependency.starts_with(prefix),
                None => dependency == **pattern,
            };
            if never.iter().any(|pattern| matches(&pattern)) {
                problems.push(format!(
                    "{}: {name} must never depend on {dependency}",
                    folder.display()
                ));
            }
        }
    }
    report(&problems);
}

/// A library says which errors it has; only the command line, which prints them, may take them all alike.
#[test]
fn only_the_face_has_errors_of_any_kind() {
    let tree = Tree::read();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let asks = |folder: &Path| names(&tree, folder, &tables).contains("anyhow");
    let found = tree
        .crates()
        .into_iter()
        .filter(|folder| !folder.ends_with("xtask") && asks(folder));
    let problems: Vec<_> = found
        .map(|folder| format!("{}: `anyhow` is for xtask alone", folder.display()))
        .collect();
    report(&problems);
}

#[test]
fn each_foreign_interface_has_one_home() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    for (pattern, most) in ONE_FILE {
        let homes: Vec<_> = tree
            .rust()
            .filter(|file| tree.shipped(file).contains(&format!("use {pattern}")))
            .collect();
        if homes.len() > most {
            problems.push(format!("{pattern} is used in {homes:?}, at most {most} file may"));
        }
    }
    for (pattern, home) in ONE_FILE_OF_DRIVEN {
        let driven = |file: &Path| DRIVEN.iter().any(|folder| file.starts_with(folder));
        let others = tree.rust().filter(|file| driven(file) && !file.ends_with(home));
        for file in others.filter(|file| tree.shipped(file).contains(pattern)) {
            problems.push(format!("{}: only {home} may say `{pattern}`", file.display()));
        }
    }
    report(&problems);
}
