//! `bench --levels` on a scenario that costs little: every level is produced and checked, and nothing is left.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Ended, ended, no_tools, wait, wait_until, xtask};

const LEVELS: [&str; 5] = ["nothing", "tools", "downloads", "environment", "warm"];

fn small(folder: &Path) -> String {
    let path = folder.join("small.yaml");
    let text = "name: small\nwhy: a small package\nrequest:\n  pythonCode: import six; print('works')\n  dependencies: six\n\
        expect:\n  stdout:\n    equals: works\n";
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn words<'a>(folder: &'a Path, scenario: &'a str, levels: &'a str) -> Vec<String> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (caches, out) = (path("caches"), path("out"));
    let words = [
        "bench",
        "--levels",
        levels,
        "--scenario",
        scenario,
        "--cache-dir",
        &caches,
        "--out",
        &out,
    ];
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A folder on a disk, where pages can be dropped.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn record(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("out/report.json")).unwrap()).unwrap()
}

#[test]
fn every_level_is_produced_and_checked_and_nothing_is_left() {
    let test = "every_level_is_produced_and_checked_and_nothing_is_left";
    if no_tools(test) {
        return;
    }
    let folder = folder();
    let scenario = small(folder.path());
    let mut words = words(folder.path(), &scenario, "2");
    words.extend(["--runs-from-nothing", "1", "--seed", "14"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done: Ended = wait(
        xtask(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let record = record(folder.path());
    let samples = record["levels"]["samples"].as_array().unwrap();
    if samples.iter().all(|sample| sample["verdict"] == "failed") {
        println!(
            "skipped: {test}: no run of ours succeeded, so there may be no network: {}",
            done.stderr
        );
        return;
    }
    done.with(0, &[]);
    // Another process, such as a Python of another test, may have the interpreter mapped.
    let is_mapped = |sample: &Value| {
        let reason = sample["reason"].as_str().unwrap_or_default();
        reason.contains("were still in memory") && reason.contains("environment 0 of")
    };
    let counted = |level: &str| {
        let own = samples
            .iter()
            .filter(|sample| sample["level"] == level && (sample["verdict"] == "accepted" || is_mapped(sample)));
        own.count()
    };
    assert_eq!(LEVELS.map(counted), [1, 2, 2, 2, 2], "{samples:#?}");
    assert_eq!(record["completion"], "complete");
    let lines = std::fs::read_to_string(folder.path().join("out/samples.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 9);
    assert!(done.stdout.contains("environment, page cache cold"), "{}", done.stdout);
    let rendered = ended(&["report", folder.path().join("out").to_str().unwrap()]);
    assert!(
        done.stdout.starts_with(rendered.with(0, &[]).stdout.trim_end()),
        "{}",
        rendered.stdout
    );
    assert!(
        !folder.path().join("caches/epochs").exists(),
        "tools and caches are deleted"
    );
    let command = record["provenance"]["command"].as_str().unwrap();
    assert!(
        command.ends_with("--seed 14 --levels 2 --runs-from-nothing 1"),
        "{command}"
    );
}

#[test]
fn interrupted_while_tools_are_brought_it_leaves_no_folder() {
    if no_tools("interrupted_while_tools_are_brought_it_leaves_no_folder") {
        return;
    }
    let folder = folder();
    let scenario = small(folder.path());
    let mut words = words(folder.path(), &scenario, "100");
    words.extend(["--runs-from-nothing", "100"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut child = xtask(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let epochs = folder.path().join("caches/epochs");
    wait_until(&mut child, "tools that are being brought", || {
        let epochs = std::fs::read_dir(&epochs).into_iter().flatten().flatten();
        epochs
            .into_iter()
            .any(|epoch| epoch.path().join("python/checkout/.tools").exists())
    });
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    wait(child).with(130, &["interrupted: ", "samples are kept"]);
    assert_eq!(record(folder.path())["completion"], "interrupted");
    assert!(!epochs.exists());
}

#[test]
fn where_levels_cannot_be_produced_it_says_what_works() {
    let nothing = folder();
    let path = nothing.path().join("bare.yaml");
    std::fs::write(
        &path,
        "name: bare\nwhy: it needs nothing\nrequest:\n  pythonCode: print(1)\nexpect:\n  stdout:\n    equals: \"1\"\n",
    )
    .unwrap();
    let bare = path.to_str().unwrap();
    let hint = "hint: `cargo xtask bench --levels 12 --scenario python-only`";
    for (more, reason) in [
        (["--driver", "kube"], "on a cluster"),
        (["--driver", "argo"], "on a cluster"),
        (
            ["--service-url", "http://localhost:1"],
            "a client of the task service at http://localhost:1",
        ),
    ] {
        let words = [&["bench", "--levels", "3", "--scenario", bare][..], &more].concat();
        let refused = ended(&words);
        // All faults in one answer.
        refused.with(
            2,
            &[reason, "ask for no packages, so nothing is cached for them: bare", hint],
        );
        assert_eq!(refused.stdout, "");
        assert!(!refused.stderr.contains("building the runner"), "{}", refused.stderr);
    }
    for other in [
        ["--cached-runs", "3"],
        ["--until", "2%"],
        ["--load", "3"],
        ["--against", "main"],
        ["--peers", "all"],
    ] {
        let words = [&["bench", "--levels", "3"][..], &other].concat();
        ended(&words).with(2, &["--levels <N>", other[0]]);
    }
    ended(&["bench", "--runs-from-nothing", "3"]).with(2, &["--levels <N>"]);
}
