//! A sample of public requirements files, each run as a task that imports what its direct packages hold.
//!
//! The set is a folder that `HYBRID_CACHE_REQUIREMENTS_FILES` names (`crates/runner/tests/compatibility` says how it looks).
//! The sample is drawn from the files that are kept aside and accepted. `UPDATE_COMPATIBILITY=1` writes what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::requirement::decode;
use hybrid_cache_model::{End, FailureKind, Task, TaskSpec};
use serde_json::{Value, json};

use crate::bench::{Bench, machine};

/// Names the folder of the set.
const VARIABLE: &str = "HYBRID_CACHE_REQUIREMENTS_FILES";
/// Another seed draws another sample.
const SEED: u64 = 13;
/// Files of the sample.
const SAMPLE: usize = 30;
/// Most bytes of all downloads of a file of the sample.
const MAX_DOWNLOAD_BYTES: u64 = 150_000_000;
/// Tasks at a time.
const TASKS: usize = 2;
/// The result of a file whose package needs a compiler.
const LACKS_TOOLS: &str = "a build lacks tools";
/// No attempt of a file takes longer, first downloads included.
const PATIENCE: Duration = Duration::from_secs(420);
/// Packages that alone are larger than that, for files whose versions uv cannot resolve without building.
const LARGE: [&str; 8] = [
    "jax",
    "keras",
    "openai-whisper",
    "paddlepaddle",
    "pyspark",
    "tensorflow",
    "torch",
    "torchvision",
];
/// Packages that run on Windows alone: files that name one without a marker are left out.
const OF_WINDOWS: [&str; 6] = ["comtypes", "pypiwin32", "pywin32", "pywinauto", "pywinpty", "wmi"];

/// Imports the top-level modules of each named package, each package in a process of its own; prints what failed.
const IMPORTS: &str = r##"
import subprocess, sys
ONE = r'''
import importlib, importlib.metadata as metadata, sys
try:
    found = metadata.distribution(sys.argv[1])
except metadata.PackageNotFoundError:
    sys.exit(0 if sys.argv[2] == "marker" else "is not installed")
files = [file.parts for file in found.files or []]
modules = {p[0] for p in files if len(p) == 2 and p[1] == "__init__.py"}
modules |= {p[0].split(".")[0] for p in files if len(p) == 1 and p[0].endswith((".py", ".so"))}
for module in sorted(modules):
    if module.isidentifier():
        importlib.import_module(module)
'''
for name, kind in PACKAGES:
    try:
        ran = subprocess.run([sys.executable, "-c", ONE, name, kind], capture_output=True, text=True, timeout=90)
        told = ran.stderr.strip().splitlines() if ran.returncode else None
    except subprocess.TimeoutExpired:
        told = ["takes longer than 90 s"]
    if told is not None:
        print(name, told[-1] if told else f"ends with {ran.returncode}", sep=": ")
"##;

struct File {
    listed: Value,
    spec: TaskSpec,
    task: Task,
}

#[tokio::test]
async fn a_sample_of_public_files_runs() {
    let test = "a_sample_of_public_files_runs";
    let Some(folder) = std::env::var_os(VARIABLE) else {
        println!("skipped: {test}: {VARIABLE} names no folder of requirements files");
        return;
    };
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let sample = sample(&bench.config, Path::new(&folder));
    let runs = sample.iter().map(|(file, bytes)| {
        let bench = &bench;
        async move {
            let mut reported = file.listed.clone();
            reported["downloadBytes"] = json!(bytes);
            attempts(bench, file, &mut reported).await;
            println!("{reported}");
            reported
        }
    });
    let reported: Vec<Value> = stream::iter(runs).buffered(TASKS).collect().await;
    let ran = reported.iter().filter(|one| one["result"] == "runs").count();
    println!("{ran} of {} run", reported.len());
    if std::env::var_os("UPDATE_COMPATIBILITY").is_some() {
        let data = json!({ "seed": SEED, "interpreters": versions(&bench.config), "files": reported });
        let text = serde_json::to_string_pretty(&data).unwrap();
        std::fs::write(docs("compatibility/runs.json"), text + "\n").unwrap();
    }
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Files in an order that the seed gives, without those that are too large or of Windows; with their downloads' bytes.
fn sample(config: &LocalConfig, folder: &Path) -> Vec<(File, Option<u64>)> {
    let listed = std::fs::read_to_string(docs("compatibility/files.json")).unwrap();
    let mut listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    listed.retain(|file| file["half"] == "aside" && file["refused"].is_null());
    listed.sort_by_key(|file| shuffled(file["repository"].as_str().unwrap()));
    let mut sample = Vec::new();
    for listed in listed {
        let file = read(folder, listed);
        let names = |one_of: &[&str]| {
            let mut plain = file.task.requirements.iter().filter(|one| !has_marker(one.as_str()));
            plain.any(|one| one_of.contains(&one.name()))
        };
        let bytes = download_bytes(config, &file.spec.requirements_file);
        let fits = bytes.map_or_else(|| !names(&LARGE), |bytes| bytes <= MAX_DOWNLOAD_BYTES);
        if fits && !names(&OF_WINDOWS) && !file.task.requirements.is_empty() {
            sample.push((file, bytes));
        }
        if sample.len() == SAMPLE {
            break;
        }
    }
    sample
}

/// FNV-1a of the name behind the seed: the same order on every machine.
fn shuffled(name: &str) -> u64 {
    let bytes = SEED.to_le_bytes().into_iter().chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn read(folder: &Path, listed: Value) -> File {
    let name = listed["repository"].as_str().unwrap().replacen('/', "+", 1);
    let bytes = std::fs::read(folder.join(name + ".txt")).unwrap();
    let file = decode(&bytes).unwrap();
    let mut spec = TaskSpec {
        requirements_file: file,
        ..TaskSpec::new("pass")
    };
    let task = spec.check().unwrap();
    let packages = task.requirements.iter().map(|one| {
        let kind = if has_marker(one.as_str()) { "marker" } else { "plain" };
        format!("({:?}, {kind:?})", one.name())
    });
    let packages: Vec<String> = packages.collect();
    spec.python_code = format!("PACKAGES = [{}]\n{IMPORTS}", packages.join(", "));
    File { listed, spec, task }
}

fn has_marker(requirement: &str) -> bool {
    requirement.contains(" ; ")
}

/// What uv would download, the largest fitting wheel of each package; `None` if it cannot resolve without building.
fn download_bytes(config: &LocalConfig, file: &str) -> Option<u64> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("requirements.txt");
    std::fs::write(&input, file).unwrap();
    let output = Command::new(&config.python_tools.uv)
        .args([
            "pip",
            "compile",
            "--no-config",
            "--no-build",
            "--quiet",
            "--format",
            "pylock.toml",
        ])
        .args(["--python", &config.interpreter.path])
        .arg(&input)
        .env_clear()
        .env("HOME", folder.path())
        .env("UV_CACHE_DIR", config.root.join("sizes"))
        .envs(config.python_tools.variables.iter().cloned())
        .output()
        .unwrap();
    let lock = String::from_utf8_lossy(&output.stdout).into_owned();
    let packages = lock.split("[[packages]]").skip(1);
    let size = |package: &str| {
        let wheels = package.lines().filter(|line| line.contains(".whl\""));
        let sizes = wheels.filter_map(|line| line.split("size = ").nth(1));
        let digits = sizes.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.filter_map(|digits| digits.parse().ok()).max().unwrap_or(0)
    };
    output.status.success().then(|| packages.map(size).sum::<u64>())
}

/// The default interpreter first, then the others, the newest first.
fn versions(config: &LocalConfig) -> Vec<&str> {
    let others = config.other_interpreters.iter().rev();
    let others = others.map(|other| other.interpreter.version.as_str());
    std::iter::once(config.interpreter.version.as_str())
        .chain(others)
        .collect()
}

/// A Python version, system packages and dependencies beside those of the file.
type Attempt<'a> = (&'a str, &'a str, &'a str);

/// Runs the file as it is, then, until it runs, on the other interpreters, and with what an answer says to add: a compiler or
/// setuptools. Writes what came of it into `reported`; the result of a file that never runs is that of the first attempt.
async fn attempts(bench: &Bench, file: &File, reported: &mut Value) {
    let versions = versions(&bench.config);
    let mut attempts: Vec<Attempt<'_>> = versions.iter().map(|version| (*version, "", "")).collect();
    let mut tried = 0;
    while let Some((python, system, dependencies)) = attempts.get(tried).copied() {
        let spec = TaskSpec {
            python_version: python.to_owned(),
            system_dependencies: system.to_owned(),
            dependencies: dependencies.to_owned(),
            ..file.spec.clone()
        };
        let (result, detail) = run(bench, &spec).await;
        println!(
            "{}: Python {python} {system} {dependencies} {result} {detail}",
            file.listed["repository"]
        );
        if tried == 0 || result == "runs" {
            reported["result"] = json!(result);
            reported["detail"] = json!(detail);
            reported["python"] = json!(python);
            reported["added"] = json!([system, dependencies].concat());
        }
        if result == "runs" {
            return;
        }
        if result == LACKS_TOOLS && system.is_empty() {
            attempts.push((python, "gcc", dependencies));
        }
        if detail.contains("'pkg_resources'") && dependencies.is_empty() {
            attempts.push((python, system, "setuptools<81"));
        }
        tried += 1;
    }
}

/// `runs`, or why not, with a line about it.
async fn run(bench: &Bench, spec: &TaskSpec) -> (String, String) {
    let mut options = SubmitOptions::default();
    options.limits.time_ms = 240_000;
    options.prepare_ms = 240_000;
    let Ok(ticket) = bench.driver.submit(spec, &options).await else {
        return ("is refused".to_owned(), String::new());
    };
    let Ok(outcome) = tokio::time::timeout(PATIENCE, bench.driver.settle(&ticket)).await else {
        return ("takes too long".to_owned(), String::new());
    };
    let log = bench.driver.logs(&ticket).unwrap();
    let stdout = log.collect(hybrid_cache_driver::log::Stream::Stdout);
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let short = |text: &str| {
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(240)
            .collect()
    };
    match outcome.unwrap().end {
        End::Exited { code: 0 } if stdout.trim().is_empty() => ("runs".to_owned(), String::new()),
        End::Exited { code: 0 } => ("an import fails".to_owned(), short(&stdout)),
        End::Failed { failure } => {
            let lacks_tools = failure.hint.as_ref().is_some_and(|hint| hint.contains("build tools"));
            let reason = match failure.kind {
                _ if lacks_tools => LACKS_TOOLS,
                FailureKind::NoWheel => "no wheel",
                FailureKind::Unsatisfiable if failure.message.contains("wheel") => "no wheel",
                FailureKind::Unsatisfiable => "no solution",
                FailureKind::UnknownPackage => "no such package or version",
                _ => "another failure",
            };
            (reason.to_owned(), short(&failure.message))
        }
        end => (format!("{end:?}"), short(&stdout)),
    }
}
