//! `bench --peers` on real, short runs.

use std::path::Path;

use serde_json::Value;

use crate::program::{Ended, ended, no_tools};

/// Peers that run Python programs.
const PYTHON_PEERS: [&str; 5] = ["pip_venv", "uv_venv", "uv_run_with", "uv_run_script", "pex_venv"];

/// Measures every peer of a scenario in two turns.
fn measure(folder: &Path, scenario: &str) -> Ended {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut words = vec!["bench", "--peers", "all", "--scenario", scenario, "--seed", "14"];
    words.extend(["--first-runs", "1", "--cached-runs", "2"]);
    let (caches, out) = (path("caches"), path("out"));
    words.extend(["--cache-dir", &caches, "--out", &out]);
    ended(&words)
}

/// The record, or a word about it if the machine has no network.
fn record(test: &str, folder: &Path, measured: &Ended) -> Option<Value> {
    measured.with(0, &[]);
    let text = std::fs::read_to_string(folder.join("out/report.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let is_offline = count(&record["samples"], |sample| sample["verdict"] == "accepted") == 0;
    if is_offline {
        println!(
            "skipped: {test}: no run of ours succeeded, so there may be no network: {}",
            measured.stderr
        );
    }
    (!is_offline).then_some(record)
}

fn count(list: &Value, is_counted: impl Fn(&Value) -> bool) -> usize {
    list.as_array()
        .into_iter()
        .flatten()
        .filter(|one| is_counted(one))
        .count()
}

#[test]
fn what_people_would_use_instead_is_measured_beside_a_cached_run() {
    let test = "what_people_would_use_instead_is_measured_beside_a_cached_run";
    if no_tools(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let measured = measure(folder.path(), "python-only");
    let Some(record) = record(test, folder.path(), &measured) else {
        return;
    };
    for peer in PYTHON_PEERS {
        let runs = count(&record["peers"], |one| {
            one["peer"] == peer && one["wall_us"].as_u64() > Some(1000)
        });
        let absent = record["absent_peers"].as_array().into_iter().flatten();
        let absent: Vec<&Value> = absent.filter(|one| one["peer"] == peer).collect();
        if let [absent] = absent[..] {
            println!("{peer} is not available here: {}", absent["reason"]);
        } else {
            assert_eq!(runs, 2, "{peer}: {}", record["failed_peers"]);
        }
    }
    assert_eq!(count(&record["peers"], |one| one["peer"] == "direct_exec"), 2);
    assert_eq!(
        count(&record["peers"], |one| one["peer"] == "nix_shell"),
        0,
        "it has no part in this"
    );
    let command = record["provenance"]["command"].as_str().unwrap();
    assert!(command.contains(" --peers all "), "{command}");
    for text in [
        &measured.stdout,
        &ended(&["report", folder.path().join("out").to_str().unwrap()]).stdout,
    ] {
        assert!(
            text.contains("what people would use instead") && text.contains("uv run --with"),
            "{text}"
        );
    }
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("cached run divided by what people would use instead"));
    let epochs = std::fs::read_dir(folder.path().join("caches/epochs"));
    assert_eq!(epochs.into_iter().flatten().count(), 0, "their caches are deleted");
}

#[test]
fn a_peer_that_fails_is_recorded_as_failed_and_named_while_the_others_are_measured() {
    let test = "a_peer_that_fails_is_recorded_as_failed_and_named_while_the_others_are_measured";
    if no_tools(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("choosy.yaml");
    // It fails under `uv run` alone, which passes the variables of uv on to the program.
    let code = "import os, idna; print('no' if 'UV_CACHE_DIR' in os.environ else idna.encode('ok').decode())";
    let text = format!(
        "name: choosy\nwhy: It works everywhere except under uv run.\nrequest:\n  pythonCode: {code:?}\n  dependencies: idna\n\
         expect:\n  stdout:\n    equals: ok\n"
    );
    std::fs::write(&scenario, text).unwrap();
    let measured = measure(folder.path(), scenario.to_str().unwrap());
    let Some(record) = record(test, folder.path(), &measured) else {
        return;
    };
    for peer in ["uv_run_with", "uv_run_script"] {
        assert_eq!(count(&record["peers"], |one| one["peer"] == peer), 0);
        let named =
            |one: &Value| one["peer"] == peer && one["reason"].as_str().is_some_and(|reason| reason.contains("no"));
        assert_eq!(count(&record["failed_peers"], named), 2, "{}", record["failed_peers"]);
    }
    assert_eq!(count(&record["peers"], |one| one["peer"] == "uv_venv"), 2);
    let reported = "uv run --with (choosy): 2 of 2 runs failed and do not count";
    assert!(measured.stdout.contains(reported), "{}", measured.stdout);
    let lines = std::fs::read_to_string(folder.path().join("out/samples.jsonl")).unwrap();
    assert_eq!(
        lines
            .lines()
            .filter(|line| line.contains("\"reason\"") && line.contains("uv_run"))
            .count(),
        4
    );
}
