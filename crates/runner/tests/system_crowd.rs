//! Concurrent preparations on one system volume, with a scripted double for Nix: waiting, failures, and damage in use.

mod nix_double;

use std::time::{Duration, Instant};

use hybrid_cache_model::{CacheStatus, FailureKind};
use hybrid_cache_runner::maintenance::system as maintenance;
use hybrid_cache_runner::store::lock::{self, Missing, Mode};
use hybrid_cache_runner::system::{IndexEntry, path_hashes};
use nix_double::{bench, deadline};

#[test]
fn preparations_that_waited_for_a_failed_build_report_its_failure() {
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
    // A later preparation tries again.
    std::fs::remove_file(bench.dir.path().join("broken")).unwrap();
    assert!(matches!(bench.prepare().unwrap().status, CacheStatus::Built { .. }));
}

#[test]
fn a_full_volume_waits_for_running_builds_and_is_then_collected() {
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

#[test]
fn a_damaged_path_in_use_by_another_set_is_not_registered_again() {
    let bench = bench();
    let other = bench.of_tenant("team-a");
    for one in [&bench, &other] {
        one.prepare().unwrap();
        path_hashes::record(&one.volume(), &one.key()).unwrap();
    }
    let tools = bench.request.system_tools.as_ref().unwrap();
    let task = lock::attempt(&bench.volume().lease_path(&bench.key()), Mode::Shared, Missing::Absent).unwrap();
    std::fs::write(bench.root().join("store/0a-git/bin/git"), "prxgram\n").unwrap();
    maintenance::repair(&bench.volume(), Some(tools), &deadline()).unwrap();
    let refused = other.prepare().unwrap_err();
    assert_eq!(refused.kind, FailureKind::CacheDamaged, "{refused}");
    assert!(refused.message.contains("0a-git"), "{refused}");
    drop(task);
    assert!(matches!(other.prepare().unwrap().status, CacheStatus::Built { .. }));
    let made = std::fs::read_to_string(bench.root().join("store/0a-git/bin/git")).unwrap();
    assert_eq!(made, "program\n");
}

#[test]
fn a_damage_mark_outlives_running_builds_and_a_recording() {
    let bench = bench();
    bench.prepare().unwrap();
    let (volume, key) = (bench.volume(), bench.key());
    let index = volume.index_path(&key);
    let is_marked = || IndexEntry::read_marked(&index, &key).unwrap().unwrap().damaged;
    // Large enough that hashing takes a while.
    let large = std::fs::File::create(bench.root().join("store/0a-git/large")).unwrap();
    large.set_len(256 << 20).unwrap();
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| path_hashes::record(&volume, &key));
        std::thread::sleep(Duration::from_millis(100));
        let entry = IndexEntry::read(&index, &key).unwrap().unwrap();
        let marked = IndexEntry { damaged: true, ..entry };
        std::fs::write(&index, marked.to_json().unwrap()).unwrap();
        recording.join().unwrap().unwrap();
    });
    assert!(is_marked());
    let tools = bench.request.system_tools.as_ref().unwrap();
    let build = lock::attempt(&volume.lock_path("store"), Mode::Shared, Missing::Absent).unwrap();
    assert!(build.is_some());
    let began = Instant::now();
    let refused = maintenance::clear_damaged(&volume, &key, tools, &deadline()).unwrap_err();
    assert!(refused.message.contains("being built"), "{refused}");
    assert!(is_marked() && began.elapsed() < Duration::from_secs(15));
    drop(build);
    maintenance::clear_damaged(&volume, &key, tools, &deadline()).unwrap();
    assert!(!index.exists());
}
