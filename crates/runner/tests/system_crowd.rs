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

