//! The Python volume after killed preparations, a full disk, a read-only folder, and evictions.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::protocol::PrepareRequest;
use hybrid_cache_model::{CacheStatus, FailureKind, Tenant};
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::ledger;
use hybrid_cache_runner::maintenance::python::{gc, usage, verify};
use hybrid_cache_runner::python::environment::touch;
use hybrid_cache_runner::python::{Lookup, PythonVolume};

mod python_support;
use python_support::{Bench, prepare};

const ONE_BYTE: &BudgetRequest = &BudgetRequest {
    bytes: Some(1),
    inodes: None,
    is_claim: false,
    claim_bytes: None,
};
const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// When to kill preparations: a text of an event, and the delay after it in milliseconds.
const KILLS: [(&str, u64); 12] = [
    ("lock_wait", 0),
    ("python_venv", 0),
    ("python_install", 0),
    ("python_install", 80),
    ("python_install", 250),
    ("python_install", 500),
    ("python_verify", 0),
    ("ready", 0),
    ("python_bytecode", 60),
    ("python_publish", 0),
    ("python_publish", 3),
    ("python_publish", 20),
];

/// `runner prepare` as a process, with its events in a pipe.
fn process(bench: &Bench, request: &PrepareRequest) -> Command {
    let mut command = Command::new(RUNNER);
    let request = request_file(bench, "request.json", request);
    command
        .arg("prepare")
        .stdin(std::fs::File::open(request).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

fn request_file(bench: &Bench, name: &str, request: &PrepareRequest) -> PathBuf {
    let path = bench.dir.path().join(name);
    std::fs::write(&path, serde_json::to_vec(request).unwrap()).unwrap();
    path
}

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(60)).unwrap()
}

fn count(path: &Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

/// Kills a preparation `delay_ms` after an event that contains `mark`.
fn kill_at(bench: &Bench, request: &PrepareRequest, mark: &str, delay_ms: u64) {
    let mut child = process(bench, request).spawn().unwrap();
    let events = BufReader::new(child.stdout.take().unwrap());
    let seen = events.lines().any(|line| line.unwrap().contains(mark));
    assert!(seen, "the preparation ended without {mark}");
    std::thread::sleep(Duration::from_millis(delay_ms));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_preparation_killed_at_any_moment_leaves_nothing_incomplete_visible() {
    let Some(bench) = Bench::new() else { return };
    let dependencies = "numpy,packaging";
    let request = bench.request(dependencies);
    for (mark, delay_ms) in KILLS {
        kill_at(&bench, &request, mark, delay_ms);
        let report = verify(&bench.volume()).unwrap();
        let bad = |path: &str| !path.contains("/staging/");
        let bad: Vec<_> = report.problems.iter().filter(|problem| bad(&problem.path)).collect();
        assert!(bad.is_empty(), "killed {delay_ms} ms after {mark}: {bad:?}");
        let published = matches!(bench.lookup(dependencies), Lookup::Hit(_));
        println!(
            "killed {delay_ms} ms after {mark}: {} environments, published: {published}",
            report.environments
        );
        if published {
            bench.run(dependencies, "import numpy, packaging");
            std::fs::remove_dir_all(bench.volume().requests()).unwrap();
        }
    }
    let reported = prepare(&request);
    assert_eq!(reported.warnings(), Vec::<String>::new());
    bench.run(dependencies, "import numpy, packaging");
    let report = verify(&bench.volume()).unwrap();
    assert!(report.is_clean() && report.environments == 1, "{report:?}");
}

#[test]
fn uv_does_not_outlive_a_killed_preparation() {
    let Some(bench) = Bench::new() else { return };
    let mut child = process(&bench, &bench.request("numpy,scipy")).spawn().unwrap();
    let root = bench.root().to_str().unwrap().to_owned();
    let uv_runs = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let command = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let texts = processes
            .map(command)
            .map(|text| String::from_utf8_lossy(&text).into_owned());
        texts
            .into_iter()
            .any(|text| text.contains("install") && text.contains(&root))
    };
    let wait_until = |wanted: bool| {
        let give_up = Instant::now() + Duration::from_secs(20);
        while uv_runs() != wanted && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(uv_runs(), wanted);
    };
    wait_until(true);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(false);
}

#[test]
fn a_leased_environment_is_not_evicted_and_the_least_recently_used_goes_first() {
    let Some(bench) = Bench::new() else { return };
    for dependencies in ["six", "idna", "zipp"] {
        bench.prepare(dependencies);
        // The file system's clock ticks every few milliseconds, so pause to get distinct times of use.
        std::thread::sleep(Duration::from_millis(20));
    }
    let volume = bench.volume();
    let Lookup::Hit(six) = bench.lookup("six") else {
        panic!("six is no hit")
    };
    // Ignore staging folders, which are swept some time after they were handed out.
    let mut counted = ledger::open_python(&volume, Instant::now()).unwrap().ledger.held();
    counted += usage::beside(&volume).unwrap();
    let report = gc(
        &volume,
        &BudgetRequest {
            inodes: Some(counted.inodes - 2),
            ..BudgetRequest::default()
        },
        None,
        &deadline(),
    )
    .unwrap();
    assert_eq!((report.evicted_environments, report.kept_in_use), (1, 1), "{report:?}");
    assert!(matches!(bench.lookup("idna"), Lookup::Miss) && matches!(bench.lookup("zipp"), Lookup::Hit(_)));
    assert!(six.python().exists() && report.freed_inodes > 10 && report.dangling_requests == 1);
    let all = gc(&volume, ONE_BYTE, Some(&bench.tools), &deadline()).unwrap();
    assert!(all.over_budget && all.warnings.is_empty(), "{all:?}");
    assert!(matches!(bench.lookup("six"), Lookup::Hit(_)));
    drop(six);
    gc(&volume, ONE_BYTE, Some(&bench.tools), &deadline()).unwrap();
    assert_eq!(count(&volume.environments()), 0);
    assert!(verify(&volume).unwrap().is_clean());
    // uv still works after its cache has lost wheels.
    let CacheStatus::Built { downloaded_bytes, .. } = bench.prepare("six").status() else {
        panic!("not built")
    };
    assert!(downloaded_bytes > 0);
    bench.run("six", "import six");
}

#[test]
fn a_budget_in_the_request_is_kept() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("idna");
    let mut request = bench.request("six");
    std::thread::sleep(Duration::from_millis(20));
    request.budgets.python.inodes = Some(usage::usage(&bench.volume()).unwrap().volume_inodes("python"));
    let reported = prepare(&request);
    assert!(
        reported.warnings()[0].contains("evicted to stay in the budget"),
        "{:?}",
        reported.warnings()
    );
    assert!(matches!(bench.lookup("idna"), Lookup::Miss));
}

#[test]
fn touching_makes_the_most_recently_used() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let Lookup::Hit(leased) = bench.lookup("six") else {
        panic!("no hit")
    };
    let lease = leased.path().join(".lease");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(&lease).unwrap().set_modified(long_ago).unwrap();
    let relative = leased
        .path()
        .strip_prefix(bench.root())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    touch(bench.volume().lease(&relative).unwrap().path()).unwrap();
    assert!(lease.metadata().unwrap().modified().unwrap().elapsed().unwrap() < Duration::from_secs(60));
}

/// Prepares the requests one after the other on a private file system; `None` if this user may not mount.
fn inside_mount(bench: &Bench, options: &str, requests: &[PrepareRequest]) -> Option<String> {
    let mut script = Command::new("unshare");
    script.args(["-m", "sh", "-c"]).arg(
        "mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 99; shift 2; runner=$0; \
         for request; do \"$runner\" prepare <\"$request\"; done",
    );
    script.arg(RUNNER).arg(options).arg(bench.root());
    for (at, request) in requests.iter().enumerate() {
        script.arg(request_file(bench, &format!("{at}.json"), request));
    }
    let output = script.output().ok()?;
    if output.status.code() == Some(99) {
        println!("skipped: this user may not mount");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_full_disk_is_reported_as_disk_full() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("numpy");
    for options in ["size=20m", "size=48m", "size=400m,nr_inodes=1500"] {
        let Some(reported) = inside_mount(&bench, options, std::slice::from_ref(&request)) else {
            return;
        };
        assert!(reported.contains(r#""kind":"disk_full""#), "{options}: {reported}");
    }
}

#[test]
fn a_full_disk_causes_an_eviction_and_the_build_continues() {
    let Some(bench) = Bench::new() else { return };
    // Each takes 67 MB, so the second fits only after the first is evicted.
    let requests = [bench.request("numpy"), bench.request("numpy<2.4")];
    let Some(reported) = inside_mount(&bench, "size=120m", &requests) else {
        return;
    };
    assert!(reported.contains("environments were evicted"), "{reported}");
    assert_eq!(reported.matches(r#""event":"published""#).count(), 2, "{reported}");
}

#[test]
fn a_read_only_volume_is_reported_and_still_serves_lookups() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("idna");
    let Some(reported) = inside_mount(&bench, "ro,size=1m", &[request]) else {
        return;
    };
    assert!(
        reported.contains(r#""kind":"cache_access""#) && reported.contains("read-only"),
        "{reported}"
    );
    let missing = PythonVolume::open_read(&bench.dir.path().join("nowhere"), &Tenant::default()).unwrap_err();
    assert_eq!(missing.kind, FailureKind::CacheAccess);
}
