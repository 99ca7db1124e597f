//! `bench --service-url`: what it refuses, and a whole run against the real service.

use std::io::BufReader;
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{ended, no_tools, wait, wait_until, xtask};
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

/// A service and a folder for what is measured through it.
pub struct Stand {
    folder: tempfile::TempDir,
    pub service: Child,
    address: String,
    /// Kept open: a service that nobody listens to could not say a word.
    _told: BufReader<ChildStderr>,
}

impl Stand {
    /// Starts the service.
    pub fn new() -> Stand {
        let folder = tempfile::tempdir().unwrap();
        let (service, address, reported) = listening(&file_in(&folder, "served"));
        Stand {
            folder,
            service,
            address,
            _told: reported,
        }
    }

    pub fn path(&self, name: &str) -> String {
        file_in(&self.folder, name)
    }

    /// Starts `bench --service-url` with a scenario of this text; the report goes to the folder `out`.
    pub fn bench(&self, scenario: &str, out: &str, more: &[&str]) -> Child {
        let url = format!("http://{}", self.address);
        let name = scenario
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("name: "))
            .unwrap();
        let file = self.path(&format!("{name}.yaml"));
        std::fs::write(&file, scenario).unwrap();
        let mut command = xtask(&[
            "bench",
            "--service-url",
            &url,
            "--scenario",
            &file,
            "--out",
            &self.path(out),
        ]);
        command.args(["--cache-dir", &self.path("beside")]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn report(&self, out: &str) -> Value {
        let text = std::fs::read(format!("{}/report.json", self.path(out))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// What the service says of its tasks.
    pub fn tasks(&self) -> String {
        ask(&self.address, "GET", "/api/v1/tasks", "")
    }

    /// Ends the service as an operator does, after checking that no task is left.
    fn end(self) {
        assert!(self.tasks().contains("\"items\":[]"), "tasks are left");
        kill_process(Pid::from_child(&self.service), Signal::TERM).unwrap();
        assert_eq!(wait(self.service).code, Some(0));
    }
}

fn file_in(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

#[test]
fn an_address_that_cannot_be_asked_is_refused_with_the_next_step() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    ended(&["bench", "--service-url", &url])
        .with(4, &[&url, "does not answer", "hint: start it with `cargo xtask serve`"]);
    ended(&["bench", "--service-url", "localhost:8000"]).with(2, &["http://", "hint: give scheme, host and port"]);
    ended(&["bench", "--service-url", &url, "--driver", "kube"]).with(2, &["--driver", "cannot be used with"]);
    ended(&["bench", "--service-url", &url, "--first-runs", "2"]).with(2, &["--first-runs", "cannot be used with"]);
    ended(&["bench", "--token-file", "x"]).with(2, &["--service-url"]);
}

#[test]
fn a_service_is_measured_beside_its_driver_and_left_as_it_was() {
    if no_tools("a_service_is_measured_beside_its_driver_and_left_as_it_was") {
        return;
    }
    let stand = Stand::new();
    let measure = |scenario: &str, out: &str, more: &[&str]| {
        let done = wait(stand.bench(scenario, out, more));
        (stand.report(out), done)
    };

    let (cold, done) = measure(SCENARIO, "cold", &["--cached-runs", "4", "--uncached-runs", "1"]);
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
    let (warm, done) = measure(SCENARIO, "warm", &["--cached-runs", "3", "--no-peers"]);
    done.with(0, &[]);
    assert!(
        done.stdout
            .contains("there is no first run: the service's caches already held"),
        "{}",
        done.stdout
    );
    assert_eq!(warm["samples"][0]["verdict"], "wrong_temperature");

    let (_, done) = measure(BROKEN, "broken", &["--cached-runs", "1", "--no-peers"]);
    done.with(5, &["2 of 2 runs failed"]);

    stand.end();
}

#[test]
fn a_service_that_ends_in_the_middle_leaves_what_was_measured() {
    if no_tools("a_service_that_ends_in_the_middle_leaves_what_was_measured") {
        return;
    }
    let stand = Stand::new();
    let mut bench = stand.bench(SCENARIO, "out", &["--no-peers", "--cached-runs", "100000"]);
    let out = stand.path("out");
    let samples = || std::fs::read_to_string(format!("{out}/samples.jsonl")).unwrap_or_default();
    wait_until(&mut bench, "three samples", || samples().lines().count() >= 3);
    kill_process(Pid::from_child(&stand.service), Signal::KILL).unwrap();
    wait(bench).with(4, &["does not answer", "samples were taken before"]);
    let report = stand.report("out");
    assert_eq!(report["completion"], "interrupted");
    assert!(report["samples"].as_array().unwrap().len() >= 3);
    wait(stand.service);
}

#[test]
fn interrupted_it_cancels_and_deletes_the_task_under_way() {
    if no_tools("interrupted_it_cancels_and_deletes_the_task_under_way") {
        return;
    }
    let endless = SCENARIO
        .replace("import idna; print('works')", "import time; time.sleep(300)")
        .replace("name: small", "name: endless");
    let stand = Stand::new();
    let mut bench = stand.bench(&endless, "out", &["--no-peers"]);
    wait_until(&mut bench, "a running task", || {
        stand.tasks().contains("\"state\":\"running\"")
    });
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    wait(bench).with(130, &["interrupted: 0 samples are kept"]);
    stand.end();
}
