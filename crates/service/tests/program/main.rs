//! The container's program as a process: the settings that it refuses, and a task on a cluster that outlives it.
//!
//! The cluster is the one that `KUBECONFIG` leads to, with the driver's configuration in the file that
//! `HYBRID_CACHE_KUBE_CONFIG` names; `cargo xtask test` sets both. Without them the test says `skipped: …` and ends.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use process::{Program, ended};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Time for a pod on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn invalid_settings_are_refused_with_the_exit_codes_of_xtask() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = file("driver.json", "{}");
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    let data = folder.path().to_str().unwrap();
    for (arguments, code, said) in [
        (vec!["--help"], 0, "usage: "),
        (vec![], 2, "--driver-config is missing"),
        (vec!["--driver-config", &config, "--liste", "x"], 2, "--liste"),
        (vec!["--driver-config", &absent], 2, "absent: No such file"),
        (vec!["--driver-config", &config], 2, "missing field"),
        (
            vec!["--driver-config", &config, "--listen", "0.0.0.0:0"],
            2,
            "there is no token",
        ),
        (vec!["--probe", "127.0.0.1:1"], 1, "127.0.0.1:1: "),
    ] {
        let arguments = [arguments.as_slice(), &["--data-dir", data]].concat();
        let (found, text) = ended(if arguments[0] == "--probe" {
            &arguments[..2]
        } else {
            &arguments
        });
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

struct Cluster {
    kubeconfig: PathBuf,
    config: PathBuf,
}

fn cluster(test: &str) -> Option<Cluster> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let found = path("KUBECONFIG").zip(path("HYBRID_CACHE_KUBE_CONFIG"));
    if found.is_none() {
        println!("skipped: {test}: KUBECONFIG and HYBRID_CACHE_KUBE_CONFIG name no cluster");
    }
    let (kubeconfig, config) = found?;
    Some(Cluster { kubeconfig, config })
}

impl Cluster {
    fn start(&self, data: &Path, token: &Path) -> Program {
        let flags = [
            ("--listen", "127.0.0.1:0"),
            ("--driver-config", self.config.to_str().unwrap()),
            ("--kubeconfig", self.kubeconfig.to_str().unwrap()),
            ("--data-dir", data.to_str().unwrap()),
            ("--token-file", token.to_str().unwrap()),
        ];
        Program::start(&flags.map(|(name, value)| [name, value]).concat())
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {} s: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_task_on_a_cluster_outlives_a_killed_service_and_runs_once() {
    let Some(cluster) = cluster("a_task_on_a_cluster_outlives_a_killed_service_and_runs_once") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("token"));
    let token = "t".repeat(64);
    std::fs::write(&file, &token).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let first = cluster.start(&data, &file);
    assert_eq!(ended(&["--probe", &first.address]).0, Some(0));
    let (status, _) = first.ask("GET", "/api/v1/tasks", None, &Value::Null);
    assert_eq!(status, 401, "without the token");
    let ask = |program: &Program, method: &str, path: &str, body: &Value| -> Value {
        let (status, answer) = program.ask(method, path, Some(&token), body);
        assert!(status < 300, "{status} {answer}");
        answer
    };
    let code = "import time, uuid\nprint(uuid.uuid4(), flush=True)\ntime.sleep(8)\nprint('end')";
    let saved = ask(&first, "POST", "/api/v1/tasks/submit", &json!({"pythonCode": code}));
    let task = format!("/api/v1/tasks/{}", saved["id"].as_str().unwrap());
    ask(&first, "POST", &format!("{task}/run"), &Value::Null);
    wait_for("it runs", || {
        ask(&first, "GET", &task, &Value::Null)["state"] == "running"
    });
    std::thread::sleep(Duration::from_secs(2));
    first.end(Signal::KILL);
    let second = cluster.start(&data, &file);
    wait_for("its end", || {
        ask(&second, "GET", &task, &Value::Null)["state"] == "ended"
    });
    let reported = ask(&second, "GET", &task, &Value::Null);
    assert_eq!(
        (&reported["end"], &reported["exitCode"]),
        (&json!("exited"), &json!(0)),
        "{reported}"
    );
    let printed = reported["output"]["stdout"]
        .as_str()
        .unwrap_or_else(|| panic!("{reported}"));
    let lines: Vec<_> = printed.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].len() == 36 && lines[1] == "end",
        "it ran once: {printed}"
    );
    assert_eq!(second.end(Signal::TERM), Some(0));
}
