//! The invariants of ARCHITECTURE.md, held by machine: who may depend on whom, who may touch what, how files look.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_trials::promise::PROMISES;
use hybrid_cache_trials::{chaos, list};
use xshell::{Shell, cmd};

/// Crate, and what it must never depend on; a `*` stands for any ending.
const NEVER: [(&str, &[&str]); 8] = [
    (
        "api",
        &[
            "tokio",
            "axum",
            "hyper",
            "kube",
            "clap",
            "anyhow",
            "hybrid-cache-driver",
            "hybrid-cache-runner",
            "hybrid-cache-report",
            "hybrid-cache-service",
            "hybrid-cache-sizing",
            "hybrid-cache-trials",
        ],
    ),
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
        "runner",
        &["tokio", "kube", "clap", "hybrid-cache-driver", "hybrid-cache-report"],
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
    ("driver", &["clap", "hybrid-cache-report", "hybrid-cache-runner"]),
    (
        "report",
        &["tokio", "clap", "hybrid-cache-driver", "hybrid-cache-runner"],
    ),
    (
        "service",
        &["xtask", "clap", "hybrid-cache-report", "hybrid-cache-runner"],
    ),
    (
        "trials",
        &["xtask", "clap", "hybrid-cache-report", "hybrid-cache-runner"],
    ),
];

/// Dependency → how many files of the repository may name it, side by side: one place to look when it changes.
const ONE_FILE: [(&str, usize); 2] = [("bollard::", 2), ("rusqlite::", 1)];

/// What only one file of xtask, named here, may say: another cluster library or another kind changes one file.
const ONE_FILE_OF_XTASK: [(&str, &str); 3] = [
    ("use kube::", "xtask/src/cluster/api.rs"),
    ("use k8s_openapi::", "xtask/src/cluster/api.rs"),
    ("find(\"kind\")", "xtask/src/cluster/kind.rs"),
];

/// What a library crate never does: it has no terminal, no process and no environment of its own.
const LIBRARY_NEVER: [&str; 8] = [
    "println!",
    "eprintln!",
    "print!(",
    "process::exit",
    "env::var",
    "env::args",
    "env::current_dir",
    "std::env::set_var",
];

/// What the pure crates never do beyond that.
const PURE: [&str; 2] = ["crates/model", "crates/sizing"];
const PURE_NEVER: [&str; 8] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "std::env",
    "async fn",
];

const MAX_FILE_LINES: usize = 500;

struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let shell = Shell::new().unwrap();
        let listed = cmd!(shell, "git -C {root} ls-files --cached --others --exclude-standard")
            .quiet()
            .read()
            .unwrap();
        let mut files: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
        // A file that is deleted but not yet committed is still listed.
        files.retain(|file| root.join(file).is_file());
        assert!(files.len() > 50, "git lists only {} files", files.len());
        Tree { root, files }
    }

    fn rust(&self) -> impl Iterator<Item = &PathBuf> {
        self.files
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
    }

    fn text(&self, file: &Path) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }

    /// The part of a Rust file that ships: everything in front of its tests, without comments.
    fn shipped(&self, file: &Path) -> String {
        let text = self.text(file);
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn manifest(&self, file: &Path) -> toml::Table {
        self.text(file)
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

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
fn crates_depend_only_in_the_allowed_directions() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    for (name, never) in NEVER {
        let file = Path::new("crates").join(name).join("Cargo.toml");
        let manifest = tree.root.join(&file).is_file().then(|| tree.manifest(&file));
        let Some(toml::Value::Table(table)) = manifest.as_ref().and_then(|manifest| manifest.get("dependencies"))
        else {
            continue;
        };
        for dependency in table.keys() {
            let matches = |pattern: &&&str| match pattern.strip_suffix('*') {
                Some(prefix) => dependency.starts_with(prefix),
                None => dependency == **pattern,
            };
            if never.iter().find(matches).is_some() {
                problems.push(format!("{}: {name} must never depend on {dependency}", file.display()));
            }
        }
    }
    report(&problems);
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

#[test]
fn every_promise_has_its_row_and_its_attacks_on_the_page() {
    let page = Tree::read().text(Path::new("docs/reliability.md"));
    let mut problems = Vec::new();
    for promise in PROMISES {
        let row = format!("| `{}`: {} |", promise.protection, promise.text);
        let Some(line) = page.lines().find(|line| line.starts_with(&row)) else {
            problems.push(format!("docs/reliability.md lacks a row that begins with {row}"));
            continue;
        };
        let attacks: Vec<_> = list::all()
            .into_iter()
            .filter(|attack| attack.promise == promise.protection)
            .collect();
        if attacks.is_empty() {
            problems.push(format!("no attack tests {}", promise.protection));
        }
        let missing = attacks
            .iter()
            .filter(|attack| !line.contains(&format!("`{}`", attack.id)));
        problems.extend(missing.map(|attack| format!("the row of {} lacks `{}`", promise.protection, attack.id)));
    }
    report(&problems);
}

#[test]
fn every_fault_stands_on_the_page_beside_its_promise() {
    let page = Tree::read().text(Path::new("docs/reliability.md"));
    let mut problems = Vec::new();
    for fault in chaos::list::all() {
        let row = format!("| `{}`: {} |", fault.promise, fault.promise.text());
        let line = page.lines().find(|line| line.starts_with(&row));
        if !line.is_some_and(|line| line.contains(&format!("`{}`", fault.id))) {
            problems.push(format!(
                "docs/reliability.md lacks `{}` in a row that begins with {row}",
                fault.id
            ));
        }
    }
    report(&problems);
}

#[test]
fn libraries_leave_terminal_process_and_environment_alone() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    for file in tree
        .rust()
        .filter(|file| file.starts_with("crates") && file.components().any(|c| c.as_os_str() == "src"))
    {
        // A main.rs is a program: its command line and its last words are its own.
        if ["runner/src/main.rs", "service/src/main.rs"]
            .iter()
            .any(|main| file.ends_with(main))
        {
            continue;
        }
        let code = tree.shipped(file);
        let pure = PURE.iter().any(|one| file.starts_with(one));
        let never = LIBRARY_NEVER.iter().chain(PURE_NEVER.iter().filter(|_| pure));
        for pattern in never.filter(|pattern| code.contains(**pattern)) {
            problems.push(format!("{}: a library must not use `{pattern}`", file.display()));
        }
    }
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
    for (pattern, home) in ONE_FILE_OF_XTASK {
        let others = tree
            .rust()
            .filter(|file| file.starts_with("xtask/src") && !file.ends_with(home));
        for file in others.filter(|file| tree.shipped(file).contains(pattern)) {
            problems.push(format!("{}: only {home} may say `{pattern}`", file.display()));
        }
    }
    report(&problems);
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
        if tree.shipped(file).contains(concat!("#[", "allow(")) {
            problems.push(format!("{name}: use #[expect(…, reason = …)]"));
        }
    }
    report(&problems);
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
