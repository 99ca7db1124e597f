//! `bench --load`: what it refuses, a run on a service of its own, and one whose service dies.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{ended, no_tools, wait, wait_until, xtask};
use crate::via::Stand;

const SCENARIO: &str = "\
name: trivial
why: the smallest task there is
request:
  pythonCode: print(1)
expect:
  stdout:
    equals: '1'
";

#[test]
fn a_rate_must_be_a_number_above_0_and_goes_with_no_other_measurement() {
    for rate in ["0", "nan", "-1", "inf", "1e9", "ten"] {
        ended(&["bench", &format!("--load={rate}")]).with(2, &["--load", "tasks a second from 0.001"]);
    }
    ended(&["bench", "--load", "5", "--load-seconds", "0"]).with(2, &["--load-seconds"]);
    ended(&["bench", "--load-seconds", "5"]).with(2, &["--load"]);
    ended(&["bench", "--load-retries", "5"]).with(2, &["--load"]);
    for other in [["--cached-runs", "3"], ["--first-runs", "1"], ["--baseline", "x"]] {
        ended(&["bench", "--load", "5", other[0], other[1]]).with(2, &[other[0], "cannot be used with"]);
    }
    ended(&["bench", "--load", "5", "--scenario", "nothing"]).with(2, &["no scenario", "hint: "]);
}

#[test]
fn a_service_that_cannot_be_reached_is_told_with_the_next_step() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    ended(&["bench", "--load", "5", "--service-url", &url]).with(4, &[&url, "does not answer", "hint: start it with"]);
    ended(&["bench", "--load", "5", "--service-url", "localhost"]).with(2, &["http://"]);
}

#[test]
fn a_service_of_the_runs_own_is_started_loaded_and_gone_afterwards() {
    if no_tools("a_service_of_the_runs_own_is_started_loaded_and_gone_afterwards") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("trivial.yaml"), SCENARIO).unwrap();
    let mut command = xtask(&[
        "bench",
        "--load",
        "2",
        "--load-seconds",
        "5",
        "--scenario",
        &path("trivial.yaml"),
    ]);
    command.args(["--cache-dir", &path("caches"), "--out", &path("out")]);
    let bench = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = bench.id();
    let done = wait(bench);
    done.with(0, &["warming trivial", "2 tasks a second for 5 s"]);
    for words in [
        "2.00 tasks a second offered",
        "none lost; the service created none twice",
        "memory of the service: at most",
    ] {
        assert!(done.stdout.contains(words), "{words:?} is not in: {}", done.stdout);
    }
    let text = std::fs::read(path("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    let load = &report["load"];
    assert_eq!(
        (&load["counts"]["succeeded"], &load["service"]["made"]),
        (&10.into(), &10.into()),
        "{load:#}"
    );
    assert_eq!(
        (&load["service"]["own"], &report["completion"]),
        (&true.into(), &"complete".into())
    );
    let rows = load["rows"].as_array().unwrap();
    assert!(
        rows.iter().any(|row| row["memory_bytes"].as_u64() > Some(1 << 20)),
        "{rows:?}"
    );
    assert!(
        rows.iter().any(|row| row["disk_bytes"].as_u64() > Some(4096)),
        "{rows:?}"
    );
    assert!(!folder.path().join("caches/load").join(process.to_string()).exists());
    let again = ended(&["report", &path("out")]);
    again.with(0, &[]);
    assert!(done.stdout.starts_with(again.stdout.trim_end()), "{}", again.stdout);
}

#[test]
fn a_service_that_dies_under_load_ends_the_run_with_what_was_measured() {
    if no_tools("a_service_that_dies_under_load_ends_the_run_with_what_was_measured") {
        return;
    }
    let stand = Stand::new();
    let mut bench = stand.bench(SCENARIO, "out", &["--load", "2", "--load-seconds", "3600"]);
    wait_until(&mut bench, "the end of a task", || {
        stand.tasks().contains("\"exitCode\":0")
    });
    // The looks of the client come once a second.
    std::thread::sleep(Duration::from_secs(3));
    kill_process(Pid::from_child(&stand.service), Signal::KILL).unwrap();
    wait(bench).with(4, &["does not answer", "what was measured before is kept"]);
    let report = stand.report("out");
    assert_eq!(report["completion"], "interrupted");
    assert!(report["load"]["counts"]["succeeded"].as_u64() > Some(0), "{report:#}");
    wait(stand.service);
}
