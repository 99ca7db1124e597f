//! The lock of an outcome: which hashes it has, and what becomes of it when it is submitted again.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::PathBuf;

use hybrid_cache_model::protocol::{PrepareEvent, PrepareRequest};
use hybrid_cache_model::{CacheStatus, PythonRequest, RequestKey, Resolved, TaskSpec, Tenant};
use hybrid_cache_runner::python::{Lookup, PythonVolume};

mod python_support;
use python_support::wheel::{Wheel, hash_of};
use python_support::{Bench, prepare_observed};

fn request(bench: &Bench, dependencies: &str, file: &str) -> PrepareRequest {
    let plain = bench.request(dependencies);
    PrepareRequest {
        task: TaskSpec {
            requirements_file: file.to_owned(),
            ..plain.task
        },
        ..plain
    }
}

/// Prepares, and gives what the cache did and what was resolved.
fn prepared(request: &PrepareRequest) -> (CacheStatus, Resolved) {
    let ready = std::sync::Mutex::new(None);
    let reported = prepare_observed(request, |event| {
        if let PrepareEvent::Ready { cache, resolved, .. } = event {
            *ready.lock().unwrap() = Some((cache.python, resolved.clone()));
        }
    });
    reported.warnings();
    ready.into_inner().unwrap().unwrap()
}

/// Where the environment of a request is.
fn environment(bench: &Bench, request: &PrepareRequest) -> PathBuf {
    let task = request.task.check().unwrap();
    let key = RequestKey::new(&PythonRequest::of(&task, &request.context));
    let volume = PythonVolume::open_read(&bench.root(), &Tenant::default()).unwrap();
    match volume.lookup(&key, std::time::Duration::from_secs(3600)).unwrap() {
        Lookup::Hit(leased) => leased.path().to_owned(),
        other => panic!("no hit: {other:?}"),
    }
}

#[test]
fn a_lock_names_every_package_with_its_hash_and_gives_the_same_environment() {
    let Some(bench) = Bench::new() else { return };
    let asked = request(&bench, "jsonschema<5", "six");
    let (status, resolved) = prepared(&asked);
    assert!(matches!(status, CacheStatus::Built { .. }), "{status:?}");
    assert!(resolved.python.len() > 3, "{resolved:?}");
    let lacking: Vec<_> = resolved
        .python
        .iter()
        .filter(|pin| resolved.python_hashes.get(*pin).is_none_or(|hashes| hashes.len() != 1))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}: {resolved:?}");
    assert_eq!(
        resolved.python_version.as_deref(),
        Some(bench.interpreter.version.as_str())
    );
    let lock = resolved.lock().unwrap();
    let locked = request(&bench, "", &lock);
    let task = locked.task.check().unwrap();
    assert!(task.options.require_hashes, "{lock}");
    assert_eq!(task.requirements.len(), resolved.python.len());
    // Its hashes are verified, so it is another request; its files are the same, so it is the same environment.
    let (_, again) = prepared(&locked);
    assert_eq!(again, resolved);
    assert_eq!(environment(&bench, &asked), environment(&bench, &locked));
    let (status, again) = prepared(&locked);
    assert_eq!((status, again), (CacheStatus::Hit, resolved));
}

#[test]
fn only_the_hash_of_the_file_that_was_installed_is_in_a_lock() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("aaa", "1.0").file("aaa.py", "").write(&bench.wheels());
    Wheel::new("bbb", "2.0").file("bbb.py", "").write(&bench.wheels());
    let (_, resolved) = prepared(&request(&bench, "aaa,bbb", ""));
    let hash = |name, version| vec![hash_of(&bench.wheels(), name, version)];
    assert_eq!(resolved.python_hashes["aaa==1.0"], hash("aaa", "1.0"));
    assert_eq!(resolved.python_hashes["bbb==2.0"], hash("bbb", "2.0"));
    // A file that changed on the index since is not installed from the lock.
    let lock = resolved.lock().unwrap();
    Wheel::new("bbb", "2.0")
        .file("bbb.py", "changed = 1")
        .write(&bench.wheels());
    let locked = request(&bench, "", &lock);
    let reported = python_support::prepare(&locked);
    let reported = reported.failure().to_string();
    assert!(
        reported.contains("Hash mismatch") || reported.contains("hash"),
        "{reported}"
    );
}
