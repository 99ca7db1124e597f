//! What uv's parser and ours make of each file of a set, and why ours refuses one.
//!
//! The set is a folder that `HYBRID_CACHE_REQUIREMENTS_FILES` names. Its `files.tsv` has a line for each file: repository,
//! path, commit and half, `known` or `aside`, separated by tabs; the file's text is in `owner+name.txt`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hybrid_cache_model::requirement::decode;
use hybrid_cache_model::task_error::TaskErrors;
use hybrid_cache_model::{AllowedSources, SourcePolicy, TaskSpec};
use serde::{Deserialize, Serialize};

use super::python_support::Bench;
use super::{docs, is_update};

/// Names the folder of the set.
pub const VARIABLE: &str = "HYBRID_CACHE_REQUIREMENTS_FILES";
/// What was measured, below the documentation.
pub const DATA: &str = "compatibility/files.json";

/// A file of the set, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub repository: String,
    pub path: String,
    pub commit: String,
    /// `known`: it was looked at while the parser was written; `aside`: only measured.
    pub half: String,
    /// Whether uv's parser takes it.
    pub uv: bool,
    /// What it names that is neither a package of the index nor an option: see [`elsewhere`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub elsewhere: BTreeSet<String>,
    /// Why we refuse it; empty if we accept it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<String>,
}

/// A part of a refusal's message or hint, and the reason as the page of the docs names it.
pub const REASONS: &[(&str, &str)] = &[
    ("a task has one file and no folder", "`-r` or `-c`: another file"),
    ("an own project is not there", "`-e`: the project itself"),
    ("a local file (`file:`", "a local file"),
    ("a path in", "a local file"),
    ("is the name of a file", "a local file"),
    ("a repository in", "a git repository"),
    ("no package name with", "a git repository"),
    ("without a commit", "a git repository"),
    ("is not a full commit", "a git repository"),
    ("a URL in", "a URL"),
    ("does not lead to a wheel", "a URL"),
    ("a direct reference", "a URL"),
    ("where packages come from", "`--find-links` or `--no-index`"),
    ("is not the one in use", "another index"),
    ("is not the address of an index", "another index"),
    ("asks for a build", "`--no-binary`: a build"),
    ("an environment variable in", "a variable of the machine"),
    ("a character outside ASCII", "characters outside ASCII"),
    ("which allows several versions", "a hash without `==`"),
    ("conda", "a text of conda"),
    ("`pip list`", "a table of `pip list`"),
    ("merge conflict", "a merge conflict"),
    ("is a command", "a command"),
    ("not UTF-8", "neither UTF-8 nor UTF-16"),
    ("not UTF-16", "neither UTF-8 nor UTF-16"),
    ("at most", "too long"),
];
/// The reason if none of these fits.
pub const NO_REQUIREMENT: &str = "no requirement";

#[test]
fn files_of_public_projects_are_accepted_or_refused_for_a_reason_of_the_page() {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        println!("skipped: files_of_public_projects: {VARIABLE} names no folder of requirements files");
        return;
    };
    let Some(bench) = Bench::offline() else { return };
    let folder = Path::new(&folder);
    let list = std::fs::read_to_string(folder.join("files.tsv")).unwrap();
    let measured: Vec<File> = list.lines().map(|line| measure(&bench, folder, line)).collect();
    for half in ["known", "aside"] {
        let own = || measured.iter().filter(|file| file.half == half);
        let wanted = || own().filter(|file| file.uv && file.elsewhere.is_empty());
        let accepted = |file: &&File| file.refused.is_empty();
        println!(
            "{half}: {} files, uv takes {}, {} of them without a file, git or URL, and of these we accept {}",
            own().count(),
            own().filter(|file| file.uv).count(),
            wanted().count(),
            wanted().filter(accepted).count(),
        );
        assert!(wanted().filter(accepted).count() * 10 >= wanted().count() * 9, "{half}");
    }
    if is_update() {
        let text = serde_json::to_string_pretty(&measured).unwrap();
        std::fs::write(docs(DATA), text + "\n").unwrap();
    }
}

fn measure(bench: &Bench, folder: &Path, line: &str) -> File {
    let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
    let [repository, path, commit, half] = <[String; 4]>::try_from(fields).unwrap();
    let bytes = std::fs::read(folder.join(repository.replacen('/', "+", 1) + ".txt")).unwrap();
    let read = decode(&bytes).map_err(|refusal| vec![refusal.message]);
    let reported = read.as_ref().map_or_else(Clone::clone, |text| reported(text));
    let file = File {
        uv: taken_by_uv(bench, &bytes),
        elsewhere: read.as_ref().map(|text| elsewhere(text)).unwrap_or_default(),
        refused: reported.iter().map(|message| reason(message).to_owned()).collect(),
        repository,
        path,
        commit,
        half,
    };
    // Only of the files that may be looked at.
    if file.half == "known" && !file.refused.is_empty() {
        println!("{}: uv {}: {}", file.repository, file.uv, reported.join(" | "));
    }
    file
}

/// Why a task with this file is refused.
fn reported(text: &str) -> Vec<String> {
    let spec = TaskSpec {
        requirements_file: text.to_owned(),
        ..TaskSpec::new("print(1)")
    };
    let nothing = AllowedSources::default();
    let checked = spec.check_for(&SourcePolicy::new(&nothing, &[]));
    checked.err().iter().flat_map(messages).collect()
}

fn messages(errors: &TaskErrors) -> Vec<String> {
    errors.groups().map(|group| group.first.to_string()).collect()
}

fn reason(message: &str) -> &'static str {
    let found = REASONS.iter().find(|(part, _)| message.contains(part));
    found.map_or(NO_REQUIREMENT, |(_, reason)| reason)
}

fn taken_by_uv(bench: &Bench, bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requirements.txt");
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new(&bench.tools.uv)
        .args(["pip", "compile", "--no-config", "--offline", "--no-index", "--python"])
        .arg(&bench.interpreter.path)
        .arg(&file)
        .env_clear()
        .env("HOME", folder.path())
        .env("UV_CACHE_DIR", bench.dir.path().join("cache"))
        .output()
        .unwrap();
    // A resolution that fails ends with 1, a text that cannot be read with 2.
    output.status.code() != Some(2)
}

/// What of these a file names: a local file, a git repository, a URL, another index.
fn elsewhere(text: &str) -> BTreeSet<String> {
    let lines = text.split(['\n', '\r']).map(str::trim);
    lines.filter_map(of_line).map(str::to_owned).collect()
}

fn of_line(line: &str) -> Option<&'static str> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    let option = line.split([' ', '=', '\t']).next().unwrap_or_default();
    match option {
        _ if line.starts_with('#') => None,
        "-i" | "--index-url" | "--extra-index-url" => {
            let (_, address) = line.split_at(option.len());
            let option = format!("--index-url {}", address.trim_start_matches(['=', ' ', '\t']));
            reported(&option).first().map(|_| "another index")
        }
        _ if line.contains("git+") => Some("a git repository"),
        _ if line.contains("file:") => Some("a local file"),
        _ if line.contains("://") => Some("a URL"),
        "-e" | "--editable" | "-r" | "--requirement" | "-c" | "--constraint" | "-f" | "--find-links" => {
            Some("a local file")
        }
        _ if line.starts_with(['.', '/']) || option.ends_with(".whl") => Some("a local file"),
        _ if line.starts_with("-r") => Some("a local file"),
        _ => None,
    }
}

#[test]
fn lines_that_lead_elsewhere_are_told_apart() {
    for (line, wanted) in [
        ("numpy==1.0 # see https://host.invalid", None),
        ("# -e .", None),
        ("-e .", Some("a local file")),
        ("-rbase.txt", Some("a local file")),
        ("-e git+https://host.invalid/x#egg=x", Some("a git repository")),
        ("x @ file:///tmp/x", Some("a local file")),
        ("x @ https://host.invalid/x.whl", Some("a URL")),
        ("--extra-index-url https://host.invalid/simple", Some("another index")),
        ("--hash=sha256:00", None),
    ] {
        assert_eq!(of_line(line), wanted, "{line}");
    }
}
