//! `bench --mirror`: what real first runs fetched is replayed when their index is gone.

#[expect(dead_code, reason = "this test needs only a part of it")]
#[path = "../../../crates/mirror/tests/fake/mod.rs"]
mod fake;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use hybrid_cache_trials::wheel::Wheel;
use serde_json::Value;

use super::program::{Ended, no_tools, wait, xtask};
use fake::{Said, Upstream};

const SCENARIO: &str = "\
name: tiny
why: a package that only a test has
request:
  pythonCode: import tiny; print(tiny.WORD)
  dependencies: tiny
expect:
  stdout:
    equals: works
  cached: { min_s: 2, max_s: 5 }
";

struct Bench {
    folder: tempfile::TempDir,
    /// The operator's index.
    index: String,
}

impl Bench {
    fn new(index: String) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.yaml"), SCENARIO).unwrap();
        Bench { folder, index }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command into a report of this name.
    fn run(&self, report: &str, arguments: &[&str]) -> Ended {
        let mut command = xtask(&["bench"]);
        for (option, path) in [
            ("--scenario", "tiny.yaml"),
            ("--cache-dir", "caches"),
            ("--mirror-dir", "recording"),
            ("--out", report),
        ] {
            command.arg(option).arg(self.path(path));
        }
        command.args(arguments).env("UV_DEFAULT_INDEX", &self.index);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        wait(command.spawn().unwrap())
    }

    fn record(&self, report: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(report).join("report.json")).unwrap()).unwrap()
    }
}

/// An index with one wheel.
fn index() -> Upstream {
    let wheel = Wheel::module("tiny", "1.0", "WORD = 'works'\n");
    let (name, bytes) = (wheel.file_name(), wheel.build().unwrap());
    let upstream = Upstream::start();
    let page = format!("<a href=\"/files/{name}\">{name}</a>");
    upstream.say("/simple/tiny/", Said::of("text/html", page));
    upstream.say(&format!("/files/{name}"), Said::of("application/zip", bytes));
    upstream
}

/// Deletes the answers whose request has this in it.
fn forget(recording: &Path, what: &str) {
    for folder in std::fs::read_dir(recording.join("entries")).unwrap().flatten() {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            if std::fs::read_to_string(file.path()).unwrap().contains(what) {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    }
}

#[test]
fn first_runs_are_recorded_and_replayed_without_their_index() {
    if no_tools("first_runs_are_recorded_and_replayed_without_their_index") {
        return;
    }
    let upstream = index();
    let bench = Bench::new(upstream.url("/simple"));
    let replay = [
        "--mirror",
        "replay",
        "--mirror-bandwidth",
        "8Mbit",
        "--mirror-rtt",
        "30ms",
    ];
    let counts = ["--first-runs", "2", "--cached-runs", "6"];
    let measured = [replay.as_slice(), &counts].concat();
    bench
        .run("none", &measured)
        .with(4, &["holds no recording", "`--mirror record` makes one"]);
    let done = bench.run(
        "recorded",
        &["--mirror", "record", "--first-runs", "1", "--cached-runs", "3"],
    );
    done.with(0, &["recording what first runs fetch"]);
    assert!(done.stdout.contains("a mirror that records"), "{}", done.stdout);
    drop(upstream);
    let done = bench.run("replayed", &measured);
    done.with(0, &["first runs fetch from the recording"]);
    let record = bench.record("replayed");
    let mirror = &record["provenance"]["mirror"];
    assert_eq!(
        (&mirror["mode"], &mirror["bits_per_s"], &mirror["round_trip_us"]),
        (&"replay".into(), &8_000_000.into(), &30_000.into()),
        "{mirror}"
    );
    assert_eq!(
        mirror["digest"],
        bench.record("recorded")["provenance"]["mirror"]["digest"]
    );
    // Two first runs and two peers, each a page and a wheel at least.
    assert!(
        mirror["requests"].as_u64() >= Some(8) && mirror["bytes"].as_u64() > Some(0),
        "{mirror}"
    );
    let samples = record["samples"].as_array().unwrap();
    assert!(
        samples.len() == 8 && samples.iter().all(|sample| sample["verdict"] == "accepted"),
        "{record:#}"
    );
    assert_eq!(record["peers"].as_array().unwrap().len(), 2 + 6, "{record:#}");
    // Two requests, one behind the other, the first of them on a new connection.
    let first = samples.iter().filter(|sample| sample["temperature"] == "first");
    assert!(
        first
            .map(|sample| sample["wall_us"].as_u64().unwrap())
            .all(|us| us >= 90_000),
        "{record:#}"
    );
    forget(&bench.path("recording"), ".whl");
    let incomplete = bench.run("incomplete", &measured);
    incomplete.with(
        4,
        &[
            "the recording lacks what was asked for:",
            "-1.0-py3-none-any.whl",
            "with `--mirror record`",
        ],
    );
    assert!(bench.path("incomplete/report.html").is_file());
}
