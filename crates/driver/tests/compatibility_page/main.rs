//! `docs/compatibility.md` says what was measured: on public requirements files, on tasks with them, on console scripts.
//!
//! `UPDATE_COMPATIBILITY=1` writes the page.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[expect(dead_code, reason = "the page needs the table alone")]
#[path = "../shared/scripts.rs"]
mod scripts;

const WHAT_TO_DO: &[(&str, &str)] = &[
    (
        "`-r` or `-c`: another file",
        "`cargo xtask run --requirements FILE` reads what `-r` names below the file's own folder; to the API, give one file with all lines.",
    ),
    (
        "`-e`: the project itself",
        "Leave the line out; a task has no checkout. Put code of the project that the program needs into the program.",
    ),
    (
        "a local file",
        "Write `name==version` of the published package; `file:` lines come from `pip freeze` in a conda environment.",
    ),
    (
        "a git repository",
        "Name a published package and its version. An operator can allow repositories, pinned to a commit: [settings](settings.md).",
    ),
    (
        "a URL",
        "Name a published package and its version. An operator can allow hosts of wheels: [settings](settings.md).",
    ),
    (
        "another index",
        "Leave the option out; no index is contacted but the operator's, who can add one: [settings](settings.md).",
    ),
    (
        "`--find-links` or `--no-index`",
        "Leave the option out; the operator chooses where packages come from. The address of an index of theirs may stand there.",
    ),
    ("`--no-binary`: a build", "Leave the option out."),
    ("a variable of the machine", "Write the value in its place."),
    (
        "characters outside ASCII",
        "Look for a typographic quote or a look-alike letter.",
    ),
    ("a hash without `==`", "Pin the version, or leave the hash out."),
    (
        "a text of conda",
        "Write `name==version`, one a line; what is no Python package belongs into `systemDependencies`.",
    ),
    ("a table of `pip list`", "Give the output of `pip freeze`."),
    ("a merge conflict", "Keep one side and delete the marks."),
    ("a command", "Write only the packages that it installs, one a line."),
    ("neither UTF-8 nor UTF-16", "Save the file as UTF-8."),
    (
        "too long",
        "List what the code imports, not everything that comes with it.",
    ),
    (
        "no requirement",
        "Write the line as the answer says; no installer reads it as it is.",
    ),
];

const INTRODUCTION: &str = "# Compatibility

What of real projects runs as it is, and what does not. A test writes this page from the figures in
[`compatibility/`](compatibility), where each file stands with its repository, path and commit. The files themselves belong to
others and are not kept here.

";

const AGAIN: &str = "
## Measure again
Put the files into a folder outside the checkout, each as `owner+name.txt`, with a list `files.tsv`: repository, path, commit, and
`known` or `aside`, separated by tabs. Then:

```sh
export HYBRID_CACHE_REQUIREMENTS_FILES=FOLDER UPDATE_COMPATIBILITY=1
cargo test --workspace --test compatibility -- --nocapture
HYBRID_CACHE_LOCAL_CONFIG=FILE cargo test --workspace --test local a_sample_of_public_files_runs -- --nocapture
cargo test --workspace --test compatibility_page
```

`FILE` holds the configuration of the local driver, which `cargo xtask test` writes for its tests. The second command takes 20 to
100 minutes and downloads up to 4.5 GB, which it deletes.
";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn data(name: &str) -> Value {
    let file = docs("compatibility").join(name);
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

#[test]
fn the_page_says_what_was_measured() {
    let (files, runs) = (data("files.json"), data("runs.json"));
    let parts = [
        &*of_files(files.as_array().unwrap()),
        &of_runs(&runs),
        &of_scripts(),
        AGAIN,
    ];
    let page = INTRODUCTION.to_owned() + &parts.concat();
    let file = docs("compatibility.md");
    if std::env::var_os("UPDATE_COMPATIBILITY").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let hint = "`UPDATE_COMPATIBILITY=1 cargo test --workspace --test compatibility_page` writes it";
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/compatibility.md is not what was measured; {hint}"
    );
}

fn is_empty(field: &Value) -> bool {
    field.as_array().is_none_or(Vec::is_empty)
}

fn of_files(files: &[Value]) -> String {
    type Test = fn(&Value) -> bool;
    let uv: Test = |file| file["uv"] == true;
    let plain: Test = |file| file["uv"] == true && is_empty(&file["elsewhere"]);
    let good: Test = |file| is_empty(&file["refused"]);
    let both: Test = |file| file["uv"] == true && is_empty(&file["elsewhere"]) && is_empty(&file["refused"]);
    let rows: [(&str, Test); 5] = [
        ("files", |_| true),
        ("uv's parser takes", uv),
        (
            "… without a local file, a git repository, a URL or another index",
            plain,
        ),
        ("… of these we accept", both),
        ("we accept of all", good),
    ];
    let mut text = format!(
        "## Requirements files\n{} files of public projects, one of each repository, drawn from lists of repositories without a look at the files. One half \
         (known) was\nlooked at while the parser was written; the other (aside) was only measured.\n\n| | known | aside |\n|---|--:|--:|\n",
        files.len()
    );
    for (name, test) in rows {
        let count = |half: &str| files.iter().filter(|file| file["half"] == half && test(file)).count();
        writeln!(text, "| {name} | {} | {} |", count("known"), count("aside")).unwrap();
    }
    text += "\nAn earlier grammar took 63 % of 171 files of this kind, and uv's parser 92 % of them. One answer names every fault \
             of a file:\n\n| what is refused | files | what to do |\n|---|--:|---|\n";
    let reasons = files.iter().filter_map(|file| file["refused"].as_array()).flatten();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason.as_str().unwrap()).or_default() += 1);
    for (reason, what) in WHAT_TO_DO {
        writeln!(text, "| {reason} | {} | {what} |", counts.remove(reason).unwrap_or(0)).unwrap();
    }
    assert!(counts.is_empty(), "the table lacks {counts:?}");
    text
}

fn of_runs(runs: &Value) -> String {
    let files = runs["files"].as_array().unwrap();
    let interpreters = runs["interpreters"].as_array().unwrap();
    let interpreters: Vec<&str> = interpreters.iter().map(|one| one.as_str().unwrap()).collect();
    let mut text = format!(
        "\n## Tasks\n{} of the accepted files that were kept aside, drawn with the seed {}, without those that download more than \
         150 MB or name a\npackage of Windows alone. Each ran as a task of the local driver that imports the top-level modules of \
         every direct package,\nfirst with Python {}, and then, until it ran, with {}. Where a build lacked tools, gcc was added; where an import lacked\npkg_resources, setuptools.\n\n| result | files |\n|---|--:|\n",
        files.len(),
        runs["seed"],
        interpreters.first().unwrap(),
        interpreters[1..].join(", ")
    );
    // A measurement writes none: it is for what has changed since.
    if let Some(note) = runs["note"].as_str() {
        text = text.replacen("\n\n| result", &format!(" {note}\n\n| result"), 1);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        *counts.entry(file["result"].as_str().unwrap()).or_default() += 1;
    }
    counts.remove("runs");
    let ran = |by_default: bool, added: bool| {
        let ran = files.iter().filter(|file| file["result"] == "runs");
        ran.filter(|file| (file["python"] == interpreters[0]) == by_default && (file["added"] != "") == added)
            .count()
    };
    writeln!(text, "| runs with the default interpreter | {} |", ran(true, false)).unwrap();
    writeln!(text, "| runs with another one | {} |", ran(false, false)).unwrap();
    let added = ran(true, true) + ran(false, true);
    writeln!(text, "| runs with what the failure says to add | {added} |").unwrap();
    for (result, count) in counts {
        writeln!(text, "| {result} | {count} |").unwrap();
    }
    text += &of_what_does_not_run(files);
    text
}

/// The files that do not run, and how many of them run elsewhere: somebody tried that by hand and wrote down what was seen.
fn of_what_does_not_run(files: &[Value]) -> String {
    let stay: Vec<&Value> = files.iter().filter(|file| file["result"] != "runs").collect();
    let nowhere = stay.iter().filter(|file| file["elsewhere"].is_string()).count();
    let ran = files.len() - stay.len();
    let share = |of: usize| (200 * ran / of.max(1)).div_ceil(2);
    let mut text = format!("\nSo {ran} of {} run, {} %. ", files.len(), share(files.len()));
    if nowhere > 0 {
        write!(
            text,
            "{nowhere} of the others were tried with plain uv in an ordinary environment outside of the sandbox, with \
             the machine's\ncompiler, and did not run there either: the last column says why. Files without a solution were tried with \
             each interpreter,\nthe others with one to three."
        )
        .unwrap();
    }
    text += "\n\n| what does not run | result | first of what was said | outside of the sandbox |\n|---|---|---|---|\n";
    for file in stay {
        let [name, result, detail, elsewhere] =
            ["repository", "result", "detail", "elsewhere"].map(|field| file[field].as_str().unwrap_or("not tried"));
        writeln!(text, "| {name} | {result} | {} | {elsewhere} |", gist(detail)).unwrap();
    }
    text
}

/// The cause within uv's explanation, or the beginning of what an import says.
fn gist(detail: &str) -> String {
    let cause = detail.split_once("Because ").map_or(detail, |(_, cause)| cause);
    let cause = cause.split(" and you require").next().unwrap_or(cause);
    let cause = cause.split_once("could not be built ").map_or(cause, |(_, what)| what);
    let short: String = cause.chars().take(100).collect();
    format!("`{}`", short.replace(['`', '|'], "'"))
}

fn of_scripts() -> String {
    let scripts: Vec<String> = scripts::SCRIPTS
        .iter()
        .map(|(package, call, _)| format!("| {package} | `{}` |", call.join(" ")))
        .collect();
    format!(
        "\n## Console scripts\nThese run in the sandbox and in pods, first and cached; tests see to it.\n\n| package | call |\n|---|---|\n{}\n",
        scripts.join("\n")
    )
}
