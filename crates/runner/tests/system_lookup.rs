//! Runs with a system volume: hits, misses, refusals, and no eviction while in use.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::protocol::{EXIT_MISSED, Environments, RunReport};
use hybrid_cache_model::{CacheReport, CacheStatus, End, FailureKind, Resolved, SystemKey};
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::maintenance::system::{gc, usage, verify};
use hybrid_cache_runner::store::lock::{Missing, Mode, attempt};
use hybrid_cache_runner::system::{IndexEntry, SystemVolume, index_entries};
use run_harness::Case;

/// A case whose system volume holds one package `git` with a program `hello`.
fn with_system(code: &str) -> (Case, SystemVolume, PathBuf, PathBuf) {
    let case = Case::new(code).change(|request| request.task.system_dependencies = "git".to_owned());
    let volume = SystemVolume::from_context(&case.request.context);
    let path = volume.root().join("store/0a-git");
    std::fs::create_dir_all(path.join("bin")).unwrap();
    std::fs::write(path.join("bin/hello"), "#!/bin/sh\necho hello from the store\n").unwrap();
    std::fs::set_permissions(path.join("bin/hello"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let task = case.request.task.check().unwrap();
    let key = SystemKey::new(&task.system, &case.request.context);
    volume.lay_out().unwrap();
    std::fs::create_dir_all(volume.roots_path(&key)).unwrap();
    std::os::unix::fs::symlink(&path, volume.roots_path(&key).join("0")).unwrap();
    std::fs::write(volume.lease_path(&key), "").unwrap();
    let paths = vec![path.display().to_string()];
    let entry = IndexEntry::new(&key, "test:1", vec!["git".to_owned()], paths.clone()).with_closure(paths);
    let index = volume.index_path(&key);
    std::fs::write(&index, entry.to_json().unwrap()).unwrap();
    (case, volume, index, path)
}

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(20)).unwrap()
}

const SAY_HELLO: &str = "import subprocess\nprint(subprocess.run(['hello'], capture_output=True, text=True).stdout)";

#[test]
fn a_hit_puts_the_store_paths_on_the_search_path() {
    let (case, _, _, path) = with_system(SAY_HELLO);
    let ran = case.run();
    assert_eq!(ran.text(), "hello from the store", "{}", ran.stderr);
    let Some(RunReport::Finished { cache, resolved, .. }) = ran.report else {
        panic!("{:?}", ran.report)
    };
    assert_eq!(
        cache,
        CacheReport {
            python: CacheStatus::NotAsked,
            system: CacheStatus::Hit
        }
    );
    assert_eq!(resolved.system, [path.display().to_string()]);
}

#[test]
fn an_entry_whose_store_path_is_gone_is_a_miss() {
    let (case, _, _, path) = with_system(SAY_HELLO);
    std::fs::remove_dir_all(path).unwrap();
    let ran = case.run();
    assert_eq!(ran.code, EXIT_MISSED, "{:?}", ran.report);
}

#[test]
fn an_unknown_layout_is_refused_and_left_untouched() {
    let (case, volume, _, _) = with_system(SAY_HELLO);
    let format = volume.own().join("FORMAT");
    std::fs::write(&format, "hybrid-cache system 999\n").unwrap();
    let ran = case.run();
    let End::Failed { failure } = ran.end() else {
        panic!("{:?}", ran.report)
    };
    assert_eq!(failure.kind, FailureKind::CacheFormat);
    assert!(failure.message.contains("hybrid-cache system 999"), "{failure}");
    assert_eq!(std::fs::read_to_string(format).unwrap(), "hybrid-cache system 999\n");
}

#[test]
fn a_prepared_environment_is_used_as_reported() {
    let (case, _, _, path) = with_system(SAY_HELLO);
    let built = CacheStatus::Built {
        downloaded_bytes: 7,
        reused_bytes: 8,
    };
    let cache = CacheReport {
        python: CacheStatus::NotAsked,
        system: built,
    };
    let prepared = |path: &Path| Environments::Prepared {
        python: None,
        system: vec![path.display().to_string()],
        cache,
        resolved: Resolved::default(),
    };
    let case = case.change(|request| request.environments = prepared(&path));
    let ran = case.run();
    assert_eq!(ran.text(), "hello from the store", "{}", ran.stderr);
    assert!(matches!(ran.report, Some(RunReport::Finished { cache: reported, .. }) if reported == cache));
    let case = case.change(|request| request.environments = prepared(Path::new("/no/such/path")));
    assert_eq!(
        case.run().code,
        EXIT_MISSED,
        "a path that was collected meanwhile is prepared once more"
    );
}

#[test]
fn a_prepared_environment_does_not_run_without_its_lease() {
    let (case, volume, index, path) = with_system(SAY_HELLO);
    let prepared = Environments::Prepared {
        python: None,
        system: vec![path.display().to_string()],
        cache: CacheReport {
            python: CacheStatus::NotAsked,
            system: CacheStatus::Hit,
        },
        resolved: Resolved::default(),
    };
    let case = case.change(|request| request.environments = prepared);
    let task = case.request.task.check().unwrap();
    let lease = volume.lease_path(&SystemKey::new(&task.system, &case.request.context));
    let evictor = attempt(&lease, Mode::Exclusive, Missing::Absent).unwrap().unwrap();
    let ran = case.run();
    assert_eq!((ran.code, ran.text().as_str()), (EXIT_MISSED, ""), "{:?}", ran.report);
    drop(evictor);
    assert_eq!(case.run().text(), "hello from the store");
    assert!(index_entries::evict(&volume, &index).unwrap());
    assert_eq!(case.run().code, EXIT_MISSED);
}

#[test]
fn nothing_is_evicted_while_a_task_uses_it() {
    let (case, volume, index, path) = with_system("print('up', flush=True)\nimport time\ntime.sleep(1.5)");
    let mut running = case.start();
    let mut up = [0; 3];
    std::io::Read::read_exact(running.child.stdout.as_mut().unwrap(), &mut up).unwrap();
    assert!(!index_entries::evict(&volume, &index).unwrap());
    assert!(index.exists() && path.exists());
    assert_eq!(*running.finish().end(), End::Exited { code: 0 });
    assert!(index_entries::evict(&volume, &index).unwrap());
    assert!(!index.exists());
    assert!(path.exists(), "only Nix deletes from its store");
    assert_eq!(case.run().code, EXIT_MISSED);
}

#[test]
fn damage_is_found_and_named() {
    let (_case, volume, index, path) = with_system(SAY_HELLO);
    assert!(verify(&volume, None, &deadline()).unwrap().is_clean());
    assert_eq!(usage(&volume).unwrap().system_sets, 1);
    let problem = |volume: &SystemVolume| verify(volume, None, &deadline()).unwrap().problems.remove(0).what;
    let roots = volume.roots();
    std::fs::rename(&roots, volume.root().join("away")).unwrap();
    assert!(problem(&volume).contains("a root is missing"));
    std::fs::rename(volume.root().join("away"), roots).unwrap();
    std::fs::remove_dir_all(path).unwrap();
    assert!(problem(&volume).contains("0a-git is missing"));
    std::fs::write(index, "{").unwrap();
    assert!(problem(&volume).contains("cannot be read"));
}

#[test]
fn leftovers_are_swept_and_without_nix_nothing_is_evicted() {
    let (_case, volume, index, _) = with_system(SAY_HELLO);
    for left in [
        "var/nix/builds/nix-7-1",
        "var/hybrid-cache/work/nix-7",
        "var/nix/gcroots/hybrid-cache/default/dead",
    ] {
        std::fs::create_dir_all(volume.root().join(left)).unwrap();
    }
    let report = gc(&volume, &BudgetRequest::from_settings(1, 0), None, &deadline()).unwrap();
    assert_eq!((report.swept, report.over_budget), (3, true));
    assert!(
        report.warnings[0].contains("no Nix program is given"),
        "{:?}",
        report.warnings
    );
    assert!(index.exists());
}
