//! Several at once on one system volume, with a scripted double in Nix's place: waiting, failing, and damage that one
//! of them still uses.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod nix_double;

use std::time::{Duration, Instant};

use hybrid_cache_model::{CacheStatus, FailureKind};
use hybrid_cache_runner::maintain::system as maintain;
use hybrid_cache_runner::store::lock::{self, Missing, Mode};
use hybrid_cache_runner::system::{IndexEntry, content};
use nix_double::{bench, patience};

#[test]
fn those_that_waited_for_a_build_that_failed_take_its_failure_over() {
    let bench = bench();
    std::fs::write(bench.dir.path().join("broken"), "").unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.prepare().unwrap_err().kind))
            .collect();
        for one in all {
            assert_eq!(one.join().unwrap(), FailureKind::UnknownSystemPackage);
        }
    });
    assert_eq!(bench.calls("build"), 1);
    // Who comes later tries again.
    std::fs::remove_file(bench.dir.path().join("broken")).unwrap();
    assert!(matches!(bench.prepare().unwrap().status, CacheStatus::Built { .. }));
}

#[test]
fn a_full_volume_waits_for_the_builds_at_work_and_is_collected_then() {
    let bench = bench();
    bench.volume().lay_out().unwrap();
    let rubbish = bench.dir.path().join("store/0d-rubbish");
    std::fs::create_dir_all(&rubbish).unwrap();
    std::fs::write(rubbish.join("f"), vec![7; 1 << 20]).unwrap();
    std::fs::write(bench.dir.path().join("full"), "").unwrap();
    let store = bench.volume().lock_path("store");
    let other = lock::attempt(&store, Mode::Shared, Missing::Create).unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_secs(7));
            drop(other);
        });
        assert!(matches!(bench.prepare().unwrap().status, CacheStatus::Built { .. }));
    });
}

#[test]
fn a_build_lets_a_collection_that_waits_go_first() {
    let mut bench = bench();
    bench.volume().lay_out().unwrap();
    let wanted = bench.volume().lock_path("collection");
    let waiting = lock::attempt(&wanted, Mode::Exclusive, Missing::Create)
        .unwrap()
        .unwrap();
    bench.request.deadline_ms = 4_000;
    assert_eq!(bench.prepare().unwrap_err().kind, FailureKind::Deadline);
    drop(waiting);
    bench.request.deadline_ms = 20_000;
    bench.prepare().unwrap();
}
