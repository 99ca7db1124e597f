//! `bench --via`: what it refuses, and a whole run against the real service.

use std::process::Stdio;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::program::{ended, no_tools, wait, xtask};
use crate::serve::{ask, listening};

const SCENARIO: &str = "\
name: small
why: the smallest package there is
request:
  pythonCode: import idna; print('works')
  dependencies: idna
expect:
  stdout:
    equals: works
";
const BROKEN: &str = "\
name: broken
why: a program that fails
request:
  pythonCode: import sys; sys.exit(3)
expect:
  stdout:
    equals: works
";

#[test]
fn an_address_that_cannot_be_asked_is_refused_with_the_next_step() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    ended(&["bench", "--via", &url]).with(4, &[&url, "does not answer", "hint: start it with `cargo xtask serve`"]);
    ended(&["bench", "--via", "localhost:8000"]).with(2, &["http://", "hint: give scheme, host and port"]);
    ended(&["bench", "--via", &url, "--driver", "kube"]).with(2, &["--driver", "cannot be used with"]);
    ended(&["bench", "--via", &url, "--first-runs", "2"]).with(2, &["--first-runs", "cannot be used with"]);
    ended(&["bench", "--token-file", "x"]).with(2, &["--via"]);
}

#[test]
fn a_service_is_measured_beside_its_driver_and_left_as_it_was() {
    if no_tools("a_service_is_measured_beside_its_driver_and_left_as_it_was") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("small.yaml"), SCENARIO).unwrap();
    std::fs::write(path("broken.yaml"), BROKEN).unwrap();
    let (child, address, _told) = listening(&path("served"));
    let url = format!("http://{address}");
    let bench = |scenario: &str, out: &str, more: &[&str]| {
        let mut command = xtask(&[
            "bench",
            "--via",
            &url,
            "--scenario",
            &path(scenario),
            "--out",
            &path(out),
        ]);
        command.args(["--cache-dir", &path("beside")]).args(more);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let record = |out: &str| -> Value {
            serde_json::from_slice(&std::fs::read(format!("{}/report.json", path(out))).unwrap()).unwrap()
        };
        let done = wait(child);
        (record(out), done)
    };

    let (cold, done) = bench("small.yaml", "cold", &["--cached-runs", "4", "--uncached-runs", "1"]);
    done.with(0, &["the task service at"]);
    assert!(
        done.stdout.contains("through the service / direct driver"),
        "{}",
        done.stdout
    );
    let samples = cold["samples"].as_array().unwrap();
    let seen = |temperature: &str| {
        let own = samples.iter().filter(|sample| sample["temperature"] == temperature);
        own.filter(|sample| sample["verdict"] == "accepted").count()
    };
    assert_eq!([seen("first"), seen("cached"), seen("uncached")], [1, 4, 1], "{cold:#}");
    for sample in samples {
        assert_eq!(sample["timeline"]["spans"][0]["phase"], "service", "{sample}");
    }
    let service = &cold["provenance"]["service"];
    assert_eq!(
        (&service["driver"], &service["same_machine"]),
        (&"local".into(), &true.into())
    );
    assert_eq!(cold["peers"].as_array().unwrap().len(), 2 * 4);

    // Warm now: that there is no first run is said, and fails nothing.
    let (warm, done) = bench("small.yaml", "warm", &["--cached-runs", "3", "--no-peers"]);
    done.with(0, &[]);
    assert!(
        done.stdout.contains("there is no first run: the service's caches held"),
        "{}",
        done.stdout
    );
    assert_eq!(warm["samples"][0]["verdict"], "wrong_temperature");

    let (_, done) = bench("broken.yaml", "broken", &["--cached-runs", "1", "--no-peers"]);
    done.with(5, &["2 of 2 runs failed"]);

    assert!(
        ask(&address, "GET", "/api/v1/tasks", "").contains("\"items\":[]"),
        "tasks are left"
    );
    kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(child).code, Some(0));
}

#[test]
fn a_service_that_ends_in_the_middle_leaves_what_was_measured() {
    if no_tools("a_service_that_ends_in_the_middle_leaves_what_was_measured") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("small.yaml"), SCENARIO).unwrap();
    let (child, address, _told) = listening(&path("served"));
    let (url, scenario, out) = (format!("http://{address}"), path("small.yaml"), path("out"));
    let arguments = [
        "bench",
        "--via",
        &url,
        "--scenario",
        &scenario,
        "--out",
        &out,
        "--no-peers",
    ];
    let mut command = xtask(&arguments);
    command.args(["--cached-runs", "100000"]);
    let bench = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let samples = || std::fs::read_to_string(format!("{out}/samples.jsonl")).unwrap_or_default();
    let began = std::time::Instant::now();
    while samples().lines().count() < 3 {
        assert!(began.elapsed() < crate::program::PATIENCE, "no samples come");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    kill_process(rustix::process::Pid::from_child(&child), Signal::KILL).unwrap();
    wait(child);
    wait(bench).with(4, &["does not answer", "samples were taken before"]);
    let report = std::fs::read(format!("{out}/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["completion"], "interrupted");
    assert!(report["samples"].as_array().unwrap().len() >= 3);
}

#[test]
fn interrupted_it_cancels_and_deletes_the_task_under_way() {
    if no_tools("interrupted_it_cancels_and_deletes_the_task_under_way") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let endless = SCENARIO
        .replace("import idna; print('works')", "import time; time.sleep(300)")
        .replace("name: small", "name: endless");
    std::fs::write(path("endless.yaml"), endless).unwrap();
    let (child, address, _told) = listening(&path("served"));
    let (url, scenario, out) = (format!("http://{address}"), path("endless.yaml"), path("out"));
    let mut command = xtask(&[
        "bench",
        "--via",
        &url,
        "--scenario",
        &scenario,
        "--out",
        &out,
        "--no-peers",
    ]);
    let bench = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = std::time::Instant::now();
    while !ask(&address, "GET", "/api/v1/tasks", "").contains("\"state\":\"running\"") {
        assert!(began.elapsed() < crate::program::PATIENCE, "it never ran");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    kill_process(rustix::process::Pid::from_child(&bench), Signal::INT).unwrap();
    wait(bench).with(130, &["interrupted: 0 samples are kept"]);
    assert!(
        ask(&address, "GET", "/api/v1/tasks", "").contains("\"items\":[]"),
        "a task is left"
    );
    kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(child).code, Some(0));
}
