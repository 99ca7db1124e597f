//! `bench` on a scenario that costs little: what it writes, and what is left when somebody interrupts it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::program::{ended, no_tools, wait, wait_until, xtask};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let scenario = "\
name: small
why: the smallest package there is
request:
  pythonCode: import idna; print('works')
  dependencies: idna
expect:
  stdout:
    equals: works
  cached: { min_s: 2, max_s: 5 }
";
        std::fs::write(folder.path().join("small.yaml"), scenario).unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = xtask(&["bench"]);
        command.arg("--scenario").arg(self.path("small.yaml"));
        command
            .arg("--cache-dir")
            .arg(self.path("caches"))
            .arg("--out")
            .arg(self.path("run"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("run/report.json")).unwrap()).unwrap()
    }
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn a_bench_run_leaves_its_samples_its_report_and_nothing_else() {
    if no_tools("a_bench_run_leaves_its_samples_its_report_and_nothing_else") {
        return;
    }
    let bench = Bench::new();
    let child = bench
        .command(&["--first-runs", "2", "--cached-runs", "6", "--uncached-runs", "1"])
        .spawn()
        .unwrap();
    let done = wait(child);
    done.with(0, &[]);
    assert!(
        done.stdout.contains("small") && done.stdout.contains("undecided"),
        "{}",
        done.stdout
    );
    let record = bench.record();
    assert_eq!(record["completion"], "complete");
    let samples = record["samples"].as_array().unwrap();
    let of = |temperature: &str| {
        samples
            .iter()
            .filter(|sample| sample["temperature"] == temperature)
            .count()
    };
    assert_eq!([of("first"), of("cached"), of("uncached")], [2, 6, 1]);
    assert!(
        samples.iter().all(|sample| sample["verdict"] == "accepted"),
        "{record:#}"
    );
    assert_eq!(record["peers"].as_array().unwrap().len(), 2 + 6);
    assert_eq!(lines(&bench.path("run/samples.jsonl")), 9 + 8);
    for file in ["report.html", "report.md", "run.json", "hdr/small-cached.hlog"] {
        assert!(bench.path("run").join(file).is_file(), "{file}");
    }
    let rounds: std::collections::BTreeSet<u64> =
        samples.iter().map(|sample| sample["round"].as_u64().unwrap()).collect();
    assert_eq!(rounds.len(), 2, "six cached runs are two rounds");
    assert_eq!(record["blocks"][0]["rounds"], 2);
    assert!(!bench.path("caches/epochs").exists() && !bench.path("caches/bypass").exists());
    let rendered = ended(&["report", bench.path("run").to_str().unwrap()]);
    assert!(
        done.stdout.starts_with(rendered.with(0, &[]).stdout.trim_end()),
        "{}",
        rendered.stdout
    );
}

#[test]
fn interrupted_it_keeps_what_was_measured_and_says_so() {
    if no_tools("interrupted_it_keeps_what_was_measured_and_says_so") {
        return;
    }
    let bench = Bench::new();
    let mut child = bench
        .command(&["--first-runs", "1", "--cached-runs", "100000"])
        .spawn()
        .unwrap();
    wait_until(&mut child, "five samples", || {
        lines(&bench.path("run/samples.jsonl")) >= 5
    });
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let done = wait(child);
    done.with(130, &["interrupted: ", "samples are kept"]);
    let record = bench.record();
    assert_eq!(record["completion"], "interrupted");
    let kept = record["samples"].as_array().unwrap().len() + record["peers"].as_array().unwrap().len();
    assert!(kept >= 5 && kept == lines(&bench.path("run/samples.jsonl")), "{kept}");
    assert!(!bench.path("caches/epochs").exists());
}

#[test]
fn a_self_check_measures_two_builds_side_by_side_and_leaves_no_caches() {
    if no_tools("a_self_check_measures_two_builds_side_by_side_and_leaves_no_caches") {
        return;
    }
    let bench = Bench::new();
    let child = bench
        .command(&["--self-check", "--first-runs", "1", "--cached-runs", "2", "--summary"])
        .arg(bench.path("summary.md"))
        .spawn()
        .unwrap();
    let done = wait(child);
    done.with(
        6,
        &[
            "gate: cannot tell",
            "too few rounds: 1, at least",
            "not judged: small: first run / other build: 1 taken",
        ],
    );
    assert!(done.stdout.contains("cached run / other build"), "{}", done.stdout);
    let summary = std::fs::read_to_string(bench.path("summary.md")).unwrap();
    assert!(
        summary.starts_with("## ? Cannot tell\n") && summary.contains("| small | cached |"),
        "{summary}"
    );
    let record = bench.record();
    let peers = record["peers"].as_array().unwrap();
    let of = |name: &str| peers.iter().filter(|peer| peer["peer"] == name).count();
    assert_eq!([of("other_first"), of("other_cached")], [1, 2], "{record:#}");
    assert!(
        record["samples"]
            .as_array()
            .unwrap()
            .iter()
            .all(|sample| sample["verdict"] == "accepted")
    );
    let notes = record["provenance"]["notes"].to_string();
    assert!(notes.contains("the same program (self-check)"), "{notes}");
    let left = std::fs::read_dir(bench.path("caches")).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("against-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_goes_on_until_its_intervals_are_narrow() {
    if no_tools("it_goes_on_until_its_intervals_are_narrow") {
        return;
    }
    let bench = Bench::new();
    let child = bench
        .command(&["--until", "50%", "--until-minutes", "15", "--no-peers"])
        .spawn()
        .unwrap();
    let done = wait(child);
    done.with(0, &["after 12 rounds: small cached: ±"]);
    assert!(
        done.stdout.contains("\nuntil ±50.0 % reached after "),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("\nhost noise: "), "{}", done.stdout);
    let record = bench.record();
    let rounds = record["blocks"][0]["rounds"].as_u64().unwrap();
    assert_eq!(
        (&record["until"]["ended"], rounds >= 12),
        (&Value::from("reached"), true),
        "{record:#}"
    );
    let cached = record["samples"].as_array().unwrap().iter();
    let cached = cached.filter(|sample| sample["temperature"] == "cached").count();
    assert_eq!(cached as u64, 3 * rounds);
    assert!(record["samples"][0]["noise"]["window_us"].as_u64().unwrap() > 0);
}
