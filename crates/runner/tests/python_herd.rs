//! Many runner processes that need the same missing environment.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_model::FailureKind;

mod python_support;
use python_support::Bench;

const RUNNERS: usize = 32;
/// Time limit for all of them.
const LIMIT: Duration = Duration::from_secs(110);

fn start(bench: &Bench, number: usize) -> Child {
    let reported = File::create(bench.dir.path().join(format!("told-{number}"))).unwrap();
    let request = bench.dir.path().join("request.json");
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg("prepare")
        .stdin(File::open(request).unwrap())
        .stdout(reported)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs several preparations at once. Returns how long each waited for its environment, and its output.
fn prepare_at_once(bench: &Bench, count: usize) -> (Duration, Vec<String>) {
    let request = serde_json::to_vec(&bench.request("numpy,packaging")).unwrap();
    std::fs::write(bench.dir.path().join("request.json"), request).unwrap();
    let began = Instant::now();
    let mut running: Vec<Child> = (0..count).map(|number| start(bench, number)).collect();
    let reported = |number| std::fs::read_to_string(bench.dir.path().join(format!("told-{number}"))).unwrap();
    let mut all_ready = None;
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        if all_ready.is_none() && (0..count).all(|number| reported(number).contains(r#""event":"ready""#)) {
            all_ready = Some(began.elapsed());
        }
        if began.elapsed() > LIMIT {
            running.iter_mut().for_each(|child| drop(child.kill()));
            panic!("they do not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let reported = (0..count).map(reported).collect();
    (all_ready.unwrap_or_else(|| began.elapsed()), reported)
}

#[test]
fn thirty_two_runners_on_one_cold_environment_build_it_once() {
    let (Some(before), Some(alone), Some(together)) = (Bench::new(), Bench::new(), Bench::new()) else {
        return;
    };
    // Warm up tools and index first, so that neither measurement includes it.
    prepare_at_once(&before, 1);
    let (one, _) = prepare_at_once(&alone, 1);
    let (all, reported) = prepare_at_once(&together, RUNNERS);
    let said = |what: &str| reported.iter().filter(|reported| reported.contains(what)).count();
    assert_eq!(
        (said(r#""built""#), said(r#""event":"failed""#)),
        (1, 0),
        "{reported:?}"
    );
    assert_eq!(said(r#""event":"published""#), RUNNERS, "{reported:?}");
    // The target on an idle machine is 1.2; allow more on a busy one.
    println!(
        "one alone {one:?}, until {RUNNERS} are ready {all:?}: {:.2}",
        all.as_secs_f64() / one.as_secs_f64()
    );
    assert!(all < one * 4 + Duration::from_secs(10), "{all:?} against {one:?}");
}

#[test]
fn preparations_that_waited_for_a_failed_build_report_its_failure() {
    let Some(mut bench) = Bench::offline() else { return };
    // A slow uv that counts its calls, like with an index that does not answer.
    let (calls, slow) = (bench.dir.path().join("calls"), bench.dir.path().join("slow-uv"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = pip ] && {{ echo pip >>'{}'; sleep 1; }}\nexec '{}' \"$@\"\n",
        calls.display(),
        bench.tools.uv
    );
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.tools.uv = slow.to_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        let bench = &bench;
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.prepare("no-such-package").failure().kind))
            .collect();
        for one in all {
            assert_eq!(one.join().unwrap(), FailureKind::UnknownPackage);
        }
    });
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 1);
    bench.prepare("no-such-package").failure();
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 2);
}
