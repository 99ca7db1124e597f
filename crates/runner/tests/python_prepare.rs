//! Preparing with a real uv: results, sharing, and errors.

use std::time::{Duration, Instant};

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::protocol::{Keep, PrepareEvent, PrepareRequest};
use hybrid_cache_model::{CacheStatus, FailureKind, Tenant};
use hybrid_cache_runner::maintenance::python::verify;
use hybrid_cache_runner::python::{Lookup, PythonVolume};
use hybrid_cache_runner::store::stage::{LEASE, abandoned};

mod python_support;
use python_support::{Bench, prepare, prepare_observed, run};

fn count(path: &std::path::Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn a_cold_build_becomes_a_hit() {
    let Some(bench) = Bench::new() else { return };
    std::fs::create_dir_all(bench.root()).unwrap();
    assert!(matches!(bench.lookup("idna"), Lookup::Miss));
    let reported = bench.prepare("idna");
    let CacheStatus::Built {
        downloaded_bytes,
        reused_bytes,
    } = reported.status()
    else {
        panic!("not built")
    };
    assert!(
        downloaded_bytes > 100_000 && reused_bytes == 0,
        "{downloaded_bytes} {reused_bytes}"
    );
    assert_eq!(reported.warnings(), Vec::<String>::new());
    assert!(reported.path().starts_with("tenants/default/staging/"));
    let Lookup::Hit(leased) = bench.lookup("idna") else {
        panic!("no hit")
    };
    assert!(leased.resolved().unwrap()[0].starts_with("idna=="));
    assert!(
        bench
            .run("idna", "import idna; print(idna.__cached__)")
            .contains("/envs/")
    );
    let again = bench.prepare("idna");
    assert_eq!(again.status(), CacheStatus::Hit);
    assert!(again.path().starts_with("tenants/default/envs/"));
    let report = verify(&bench.volume()).unwrap();
    assert!(
        report.is_clean() && report.environments == 1 && report.files > 5,
        "{report:?}"
    );
}

#[test]
fn a_preparation_says_why_nothing_was_evicted_to_keep_the_budget() {
    let Some(bench) = Bench::new() else { return };
    let request = PrepareRequest {
        budgets: Budgets {
            python: BudgetRequest::from_settings(1, 0),
            ..Budgets::default()
        },
        ..bench.request("idna")
    };
    let warnings = prepare(&request).warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("that no eviction frees"),
        "{warnings:?}"
    );
}

#[test]
fn two_requests_for_the_same_content_share_one_environment() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("idna");
    let reported = bench.prepare("idna>=2");
    assert_eq!(reported.warnings(), Vec::<String>::new());
    let CacheStatus::Built {
        downloaded_bytes,
        reused_bytes,
    } = reported.status()
    else {
        panic!("not built")
    };
    assert!(
        downloaded_bytes == 0 && reused_bytes > 100_000,
        "{downloaded_bytes} {reused_bytes}"
    );
    assert_eq!(count(&bench.volume().requests()), 2);
    assert_eq!(count(&bench.volume().environments()), 1);
}

#[test]
fn the_order_of_requirements_does_not_change_the_content() {
    let Some(bench) = Bench::new() else { return };
    // idna is a dependency in one request and named in the other, so both have the same files and environment.
    bench.prepare("jsonschema,six");
    bench.prepare("six,attrs,jsonschema");
    assert_eq!(count(&bench.volume().environments()), 1);
}

#[test]
fn a_task_runs_from_staging_while_it_is_published() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.root();
    let reported = prepare_observed(&bench.request("idna"), |event| {
        if let PrepareEvent::Ready { python: Some(path), .. } = event {
            let volume = PythonVolume::open_read(&root, &Tenant::default()).unwrap();
            let leased = volume.lease(path).unwrap();
            assert_eq!(
                run(&leased.python(), "import idna; print(idna.encode('a').decode())"),
                "a"
            );
            // Hold the lease beyond publishing, like a task that is still running.
            std::mem::forget(leased);
        }
    });
    // The path in staging still works through the link that publishing created.
    assert_eq!(reported.warnings(), Vec::<String>::new());
    let staged = bench.root().join(reported.path());
    assert_eq!(run(&staged.join("venv/bin/python"), "import idna.codec; print(1)"), "1");
    assert!(staged.is_symlink() && bench.volume().lease(&reported.path()).is_ok());
    assert_eq!(
        staged
            .join(LEASE)
            .canonicalize()
            .unwrap()
            .parent()
            .unwrap()
            .parent()
            .unwrap(),
        bench.volume().environments().canonicalize().unwrap()
    );
}

#[test]
fn discarding_stops_at_ready_and_publishes_nothing() {
    let Some(bench) = Bench::new() else { return };
    let mut request = bench.request("idna");
    request.keep = Keep::Discard;
    let reported = prepare(&request);
    assert_eq!(reported.status(), CacheStatus::Bypassed);
    assert!(bench.root().join(reported.path()).join("venv/bin/python").exists());
    assert_eq!(count(&bench.volume().environments()), 0);
    assert!(matches!(bench.lookup("idna"), Lookup::Miss));
}

#[test]
fn a_stale_request_is_resolved_again() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("idna");
    let mut request = bench.request("idna");
    request.context.max_age_s = 0;
    std::thread::sleep(Duration::from_millis(20));
    assert!(matches!(
        prepare(&request).status(),
        CacheStatus::Built {
            downloaded_bytes: 0,
            ..
        }
    ));
    assert_eq!(count(&bench.volume().environments()), 1);
}

#[test]
fn eight_concurrent_preparations_build_once() {
    let Some(bench) = Bench::new() else { return };
    let statuses: Vec<CacheStatus> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.prepare("idna").status())).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let built = statuses
        .iter()
        .filter(|status| matches!(status, CacheStatus::Built { .. }))
        .count();
    let hit = statuses.iter().filter(|status| **status == CacheStatus::Hit).count();
    assert_eq!((built, hit), (1, 7), "{statuses:?}");
}

#[test]
fn two_publishers_of_one_environment_do_not_disturb_each_other() {
    let Some(bench) = Bench::new() else { return };
    for _ in 0..5 {
        let requests = ["six", "six>=1", "six>=1.1", "six>=1.2"];
        std::thread::scope(|scope| {
            for dependencies in requests {
                let bench = &bench;
                scope.spawn(move || assert_eq!(bench.prepare(dependencies).warnings(), Vec::<String>::new()));
            }
        });
        for dependencies in requests {
            bench.run(dependencies, "import six");
        }
        assert_eq!(count(&bench.volume().environments()), 1);
        std::fs::remove_dir_all(bench.volume().requests()).unwrap();
        std::fs::remove_dir_all(bench.volume().environments()).unwrap();
    }
}

#[test]
fn contradictions_unknown_names_and_missing_wheels_are_reported_in_uvs_words() {
    let Some(bench) = Bench::new() else { return };
    for (dependencies, kind, words) in [
        (
            "idna<3,idna>=3",
            FailureKind::Unsatisfiable,
            "you require idna<3 and idna>=3",
        ),
        (
            "no-such-package-of-hybrid-cache",
            FailureKind::UnknownPackage,
            "was not found in the package registry",
        ),
        (
            "idna==99.99",
            FailureKind::Unsatisfiable,
            "there is no version of idna==99.99",
        ),
        ("pycairo==1.20.0", FailureKind::NoWheel, "no usable wheels"),
    ] {
        let reported = bench.prepare(dependencies);
        let failure = reported.failure();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    assert_eq!(
        count(&bench.volume().staging()),
        0,
        "a failure leaves nothing in staging"
    );
    assert!(verify(&bench.volume()).unwrap().is_clean());
}

#[test]
fn an_unreachable_index_is_reported_quickly() {
    let Some(bench) = Bench::new() else { return };
    let mut request = bench.request("idna");
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let tools = request.python_tools.as_mut().unwrap();
    tools.variables.retain(|(name, _)| !name.contains("PROXY"));
    tools.variables.push(("HTTPS_PROXY".into(), format!("http://{dead}")));
    tools.variables.push(("HTTP_PROXY".into(), format!("http://{dead}")));
    let started = Instant::now();
    let reported = prepare(&request);
    assert_eq!(reported.failure().kind, FailureKind::Offline, "{}", reported.failure());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_deadline_kills_uv_and_leaves_no_files() {
    let Some(bench) = Bench::new() else { return };
    let mut request = bench.request("numpy");
    request.deadline_ms = 150;
    let reported = prepare(&request);
    assert_eq!(reported.failure().kind, FailureKind::Deadline, "{}", reported.failure());
    assert_eq!(count(&bench.volume().staging()), 0);
    assert!(abandoned(&bench.volume().staging()).unwrap().is_empty());
}

#[test]
fn a_failing_system_side_ends_the_python_side() {
    let Some(bench) = Bench::new() else { return };
    let mut request = bench.request("numpy,pandas,scipy");
    request.task.system_dependencies = "gcc".into();
    let reported = prepare(&request);
    assert!(
        reported.failure().message.contains("no system side"),
        "{}",
        reported.failure()
    );
    let unpacked = count(&bench.volume().uv_cache().join("archive-v0"));
    assert!(unpacked < 3, "uv went on to {unpacked} wheels");
    assert_eq!(count(&bench.volume().staging()), 0);
}

#[test]
fn another_layout_is_refused_and_left_alone() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("idna");
    std::fs::write(bench.root().join("FORMAT"), "hybrid-cache python 1\n").unwrap();
    let reported = prepare(&request);
    assert_eq!(reported.failure().kind, FailureKind::CacheFormat);
    assert_eq!(count(&bench.root()), 1);
}
