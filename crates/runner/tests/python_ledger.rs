//! The ledger of the Python volume: it agrees with a walk of the volume, and eviction uses it.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::Tenant;
use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::UsageReport;
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::ledger;
use hybrid_cache_runner::maintenance::python::usage::{self, usage as measured};
use hybrid_cache_runner::maintenance::python::{gc, keep_within, make_room, verify};
use hybrid_cache_runner::python::{Lookup, PythonVolume};
use hybrid_cache_runner::store::measure::{Counter, DiskUsage};

mod nobody;
mod python_support;
use python_support::{Bench, prepare};

/// The folders of the volume that hold its layers.
const FOLDERS: [&str; 9] = [
    "uv",
    "bytecode",
    "trash",
    "ledger",
    "tenants/default/envs",
    "tenants/default/requests",
    "tenants/default/staging",
    "tenants/default/uv",
    "tenants/default/bytecode",
];

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(60)).unwrap()
}

/// The result of a walk, each inode once, without locks, whose content changes all the time.
fn walked(bench: &Bench) -> DiskUsage {
    let mut counter = Counter::new();
    let mut all = DiskUsage::default();
    for folder in FOLDERS {
        all += counter.measure(&bench.root().join(folder)).unwrap();
    }
    all
}

/// The same from `usage`.
fn reported(bench: &Bench) -> DiskUsage {
    let mut all = DiskUsage::default();
    for layer in measured(&bench.volume()).unwrap().layers {
        if layer.layer != "python/locks" {
            all += DiskUsage {
                bytes: layer.bytes,
                inodes: layer.inodes,
                entries: layer.entries,
            };
        }
    }
    all
}

fn assert_agrees(bench: &Bench, when: &str) {
    // The first call may write the ledger file, which is counted too.
    reported(bench);
    assert_eq!(reported(bench), walked(bench), "{when}");
}

/// What counts against a budget.
fn counted(bench: &Bench) -> DiskUsage {
    let mut all = ledger::open_python(&bench.volume(), Instant::now())
        .unwrap()
        .ledger
        .held();
    all += usage::beside(&bench.volume()).unwrap();
    all
}

/// The environment of a request, last used the given number of seconds ago.
fn used(bench: &Bench, dependencies: &str, ago_s: u64) -> std::path::PathBuf {
    let Lookup::Hit(leased) = bench.lookup(dependencies) else {
        panic!("{dependencies} is no hit")
    };
    let at = SystemTime::now() - Duration::from_secs(ago_s);
    let lease = std::fs::File::open(leased.path().join(".lease")).unwrap();
    lease.set_modified(at).unwrap();
    leased.path().to_owned()
}

/// Removes times of use from the ledger, which otherwise only increase.
fn forget_ledger(bench: &Bench) {
    std::fs::remove_file(bench.root().join("ledger")).unwrap();
}

#[test]
fn the_ledger_says_what_a_walk_finds() {
    let Some(bench) = Bench::new() else { return };
    for dependencies in ["packaging", "packaging,six", "idna,six"] {
        bench.prepare(dependencies);
        assert_agrees(&bench, dependencies);
    }
    forget_ledger(&bench);
    assert_agrees(&bench, "rebuilt");
    std::fs::write(bench.root().join("ledger"), "hybrid-cache ledger 1 5\nrubbish\n").unwrap();
    assert_agrees(&bench, "damaged");
    // An environment is removed without the ledger.
    std::fs::remove_dir_all(used(&bench, "packaging", 0)).unwrap();
    assert_agrees(&bench, "after a removal");
    // uv's cache loses its wheels, but the environments keep the files.
    std::fs::remove_dir_all(bench.root().join("uv")).unwrap();
    forget_ledger(&bench);
    assert_agrees(&bench, "without uv's cache");
    let open = ledger::open_python(&bench.volume(), Instant::now()).unwrap();
    let loose = open
        .ledger
        .parts()
        .values()
        .filter(|part| part.name.starts_with("loose/"))
        .count();
    // Only six is in both.
    assert_eq!((loose, open.ledger.members().len()), (1, 2));
}

#[test]
fn a_measured_part_is_not_measured_again() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let before = reported(&bench);
    let environment = used(&bench, "six", 0);
    std::fs::write(environment.join("venv/big"), vec![1; 1 << 20]).unwrap();
    assert_eq!(reported(&bench).bytes, before.bytes, "it was walked");
    forget_ledger(&bench);
    assert!(reported(&bench).bytes >= before.bytes + (1 << 20));
}

/// Kinds of parts, by prefix of their names.
fn part(bench: &Bench, beginning: &str) -> std::path::PathBuf {
    let open = ledger::open_python(&bench.volume(), Instant::now()).unwrap();
    let mut names = open.ledger.parts().values().map(|part| &part.name);
    bench
        .root()
        .join(names.find(|name| name.starts_with(beginning)).unwrap())
}

#[test]
fn bytecode_added_during_a_refresh_belongs_to_its_environment() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let (pooled, aside) = (part(&bench, "bytecode/"), bench.dir.path().join("aside"));
    forget_ledger(&bench);
    // The refresh lists the pool before the folder exists, and the environment afterwards.
    std::fs::rename(&pooled, &aside).unwrap();
    drop(ledger::open_python(&bench.volume(), Instant::now()).unwrap());
    std::fs::rename(&aside, &pooled).unwrap();
    let open = ledger::open_python(&bench.volume(), Instant::now()).unwrap();
    assert_eq!(open.ledger.unused(), []);
    drop(open);
    gc(&bench.volume(), &BudgetRequest::default(), None, &deadline()).unwrap();
    assert!(pooled.is_dir());
    assert_agrees(&bench, "after a collection");
}

#[test]
fn a_wheel_added_during_a_refresh_counts_once() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let (wheel, aside) = (part(&bench, "uv/archive"), bench.dir.path().join("aside"));
    forget_ledger(&bench);
    std::fs::rename(&wheel, &aside).unwrap();
    drop(ledger::open_python(&bench.volume(), Instant::now()).unwrap());
    std::fs::rename(&aside, &wheel).unwrap();
    assert_agrees(&bench, "with the wheel back");
    let open = ledger::open_python(&bench.volume(), Instant::now()).unwrap();
    assert!(
        open.ledger
            .parts()
            .values()
            .all(|part| !part.name.starts_with("loose/"))
    );
}

#[test]
fn concurrent_writers_leave_a_consistent_ledger() {
    let Some(bench) = Bench::new() else { return };
    let all = ["six", "idna", "packaging", "zipp", "six,idna", "six,zipp"];
    std::thread::scope(|scope| {
        for dependencies in all {
            let bench = &bench;
            scope.spawn(move || assert_eq!(bench.prepare(dependencies).warnings(), Vec::<String>::new()));
        }
    });
    let text = std::fs::read_to_string(bench.root().join("ledger")).unwrap();
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
    assert_agrees(&bench, "after six at once");
    assert_eq!(measured(&bench.volume()).unwrap().environments, 6);
}

#[test]
fn the_least_recently_used_go_one_by_one_until_the_rest_fits() {
    let Some(bench) = Bench::new() else { return };
    for (dependencies, ago_s) in [("six", 300), ("idna", 500), ("zipp", 100), ("packaging", 400)] {
        bench.prepare(dependencies);
        used(&bench, dependencies, ago_s);
    }
    forget_ledger(&bench);
    let volume = bench.volume();
    let held = ledger::open_python(&volume, Instant::now()).unwrap().ledger.held();
    for (shortage, expected) in [(0, 0), (1, 1), (1, 1)] {
        let held = counted(&bench);
        let budget = BudgetRequest {
            bytes: Some(held.bytes - shortage),
            inodes: Some(u64::MAX),
            is_claim: false,
            claim_bytes: None,
        };
        let report = keep_within(&volume, &budget).unwrap();
        assert_eq!(
            (report.evicted_environments, report.over_budget),
            (expected, false),
            "{report:?}"
        );
    }
    // The two least recently used ones are gone, with the parts that only they used.
    for (dependencies, stays) in [("six", true), ("idna", false), ("zipp", true), ("packaging", false)] {
        assert_eq!(
            matches!(bench.lookup(dependencies), Lookup::Hit(_)),
            stays,
            "{dependencies}"
        );
    }
    assert_agrees(&bench, "after evictions");
    let open = ledger::open_python(&volume, Instant::now()).unwrap();
    assert!(open.ledger.unused().is_empty() && open.ledger.held().bytes < held.bytes);
    drop(open);
    assert!(verify(&volume).unwrap().is_clean());
}

#[test]
fn usage_reports_what_an_eviction_frees_and_what_is_unused() {
    let Some(bench) = Bench::new() else { return };
    for (dependencies, ago_s) in [("six,idna", 300), ("six", 100)] {
        bench.prepare(dependencies);
        used(&bench, dependencies, ago_s);
    }
    forget_ledger(&bench);
    let volume = bench.volume();
    let held = || ledger::open_python(&volume, Instant::now()).unwrap().ledger.held();
    let before = measured(&volume).unwrap();
    let [both, six] = before.largest.as_slice() else {
        panic!("{:?}", before.largest)
    };
    assert!(
        both.packages[0].starts_with("idna==") && six.packages[0].starts_with("six=="),
        "{before:?}"
    );
    assert!(six.bytes > six.frees_bytes, "six itself is in both");
    let budget = BudgetRequest {
        bytes: Some(counted(&bench).bytes - 1),
        ..BudgetRequest::from_settings(0, 0)
    };
    let (full, evicted) = (held(), keep_within(&volume, &budget).unwrap().evicted_environments);
    let freed = (full.bytes - held().bytes, full.inodes - held().inodes);
    assert_eq!((evicted, freed), (1, (both.frees_bytes, both.frees_inodes)));
    // The other one is removed without the ledger, so its own parts are garbage now.
    let garbage = |report: &UsageReport| report.garbage_of("python").unwrap().bytes;
    let (alone, removed) = (measured(&volume).unwrap(), used(&bench, "six", 0));
    std::fs::remove_dir_all(removed).unwrap();
    let after = measured(&volume).unwrap();
    assert!(after.largest.is_empty());
    assert!(garbage(&after) > garbage(&alone) && garbage(&after) - garbage(&alone) <= alone.largest[0].bytes);
}

#[test]
fn an_environment_in_use_is_skipped_without_waiting() {
    let Some(bench) = Bench::new() else { return };
    for (dependencies, ago_s) in [("six", 300), ("idna", 200), ("zipp", 100)] {
        bench.prepare(dependencies);
        used(&bench, dependencies, ago_s);
    }
    forget_ledger(&bench);
    let Lookup::Hit(_six) = bench.lookup("six") else {
        panic!("no hit")
    };
    let volume = bench.volume();
    let held = counted(&bench);
    let budget = BudgetRequest::from_settings(0, held.inodes - 1);
    let began = Instant::now();
    let report = keep_within(&volume, &budget).unwrap();
    assert_eq!((report.evicted_environments, report.kept_in_use), (1, 1), "{report:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(matches!(bench.lookup("idna"), Lookup::Miss) && matches!(bench.lookup("zipp"), Lookup::Hit(_)));
}

#[test]
fn without_a_budget_a_share_of_the_disk_is_the_budget() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let report = keep_within(&bench.volume(), &BudgetRequest::default()).unwrap();
    assert!(report.evicted_environments == 0 && !report.over_budget);
    let none = BudgetRequest::from_settings(0, 0);
    assert_eq!(none, BudgetRequest::default());
    let all = BudgetRequest { bytes: Some(0), ..none };
    assert_eq!(
        gc(&bench.volume(), &all, None, &deadline())
            .unwrap()
            .evicted_environments,
        1
    );
}

#[test]
fn a_preparation_sweeps_what_killed_ones_left() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let left = ["uv/.tmpAbCdEf", "trash/gone-1", "tenants/default/staging/make-1"].map(|name| bench.root().join(name));
    for folder in &left {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("f"), "x").unwrap();
    }
    std::fs::write(left[2].join(".maker"), "").unwrap();
    let reported = prepare(&bench.request("idna"));
    assert_eq!(reported.warnings(), Vec::<String>::new());
    let there: Vec<&Path> = left
        .iter()
        .map(AsRef::as_ref)
        .filter(|path: &&Path| path.exists())
        .collect();
    assert_eq!(there, Vec::<&Path>::new());
}

#[test]
fn leftovers_are_not_reported_as_damage() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("six");
    let staged = bench.root().join("tenants/default/staging/make-1");
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::write(staged.join(".maker"), "").unwrap();
    std::fs::create_dir_all(bench.root().join("trash/gone-1")).unwrap();
    let request = bench.root().join("tenants/default/requests/none");
    std::os::unix::fs::symlink("../envs/none", request).unwrap();
    let report = verify(&bench.volume()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.left_overs.len(), 3, "{report:?}");
}

/// A volume of the user nobody with two handmade environments, the first used longest ago.
fn two_by_hand() -> (tempfile::TempDir, PythonVolume) {
    let folder = tempfile::tempdir().unwrap();
    let volume = PythonVolume::open_write(folder.path(), &Tenant::default()).unwrap();
    for (name, ago_s) in [("old", 500), ("new", 100)] {
        let environment = volume.environments().join(name);
        std::fs::create_dir_all(&environment).unwrap();
        let lease = std::fs::File::create(environment.join(".lease")).unwrap();
        lease
            .set_modified(SystemTime::now() - Duration::from_secs(ago_s))
            .unwrap();
    }
    drop(ledger::open_python(&volume, Instant::now()).unwrap());
    nobody::give(folder.path());
    (folder, volume)
}

fn no_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn uvs_indexes_are_dropped_before_environments_and_an_unreachable_budget_evicts_none() {
    let (_folder, volume) = two_by_hand();
    let large = |name: &str| {
        let folder = volume.uv_cache().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f"), vec![7; 2 << 20]).unwrap();
        folder
    };
    let index = large("simple-v18");
    std::fs::write(volume.uv_cache().join(".lock"), "").unwrap();
    let keep = || {
        std::fs::remove_file(volume.root().join("ledger")).unwrap();
        keep_within(&volume, &BudgetRequest::from_settings(1 << 20, 0)).unwrap()
    };
    let report = keep();
    assert_eq!(
        (report.evicted_environments, report.over_budget),
        (0, false),
        "{report:?}"
    );
    assert!(!index.exists());
    large("wheels-v5");
    let report = keep();
    assert_eq!(
        (report.evicted_environments, report.over_budget, report.warnings.len()),
        (0, true, 1),
        "{report:?}"
    );
}

const NOTHING: &BudgetRequest = &BudgetRequest {
    bytes: Some(0),
    inodes: None,
    is_claim: false,
    claim_bytes: None,
};

#[test]
fn an_environment_that_cannot_be_evicted_does_not_stop_the_others() {
    let (_folder, volume) = two_by_hand();
    let [old, new] = ["old", "new"].map(|name| volume.environments().join(name));
    no_mode(&old.join(".lease"), 0o444);
    let report = nobody::run(|| gc(&volume, NOTHING, None, &deadline())).unwrap();
    assert!(old.exists() && !new.exists());
    assert_eq!(
        (report.evicted_environments, report.warnings.len()),
        (1, 1),
        "{report:?}"
    );
    assert!(report.warnings[0].contains("old/.lease"), "{report:?}");
}

#[test]
fn an_empty_volume_stays_usable_after_maintenance() {
    let folder = tempfile::tempdir().unwrap();
    let volume = PythonVolume::open_read(folder.path(), &Tenant::default()).unwrap();
    measured(&volume).unwrap();
    gc(&volume, &BudgetRequest::default(), None, &deadline()).unwrap();
    assert!(verify(&volume).unwrap().is_clean());
    PythonVolume::open_write(folder.path(), &Tenant::default()).unwrap();
}

#[test]
fn keeping_a_budget_walks_neither_staging_nor_trash() {
    let (folder, volume) = two_by_hand();
    let unreadable = volume.staging().join("make-1");
    std::fs::create_dir_all(&unreadable).unwrap();
    nobody::give(folder.path());
    no_mode(&unreadable, 0);
    let report = nobody::run(|| keep_within(&volume, &BudgetRequest::from_settings(0, 0)));
    no_mode(&unreadable, 0o755);
    assert_eq!(report.unwrap().evicted_environments, 0);
}

#[test]
fn a_budget_enforced_by_another_process_is_reported_as_exceeded() {
    let (_folder, volume) = two_by_hand();
    let held = ledger::open_python(&volume, Instant::now()).unwrap();
    assert!(held.is_ours());
    let report = keep_within(&volume, NOTHING).unwrap();
    assert!(report.over_budget && report.evicted_environments == 0, "{report:?}");
    drop(held);
    let kept = keep_within(&volume, NOTHING).unwrap();
    assert!(kept.over_budget && kept.warnings.len() == 1, "{kept:?}");
}

#[test]
fn a_file_among_the_tenants_is_ignored() {
    let (_folder, volume) = two_by_hand();
    std::fs::write(volume.root().join("tenants/notes"), "").unwrap();
    assert_eq!(measured(&volume).unwrap().environments, 2);
}

#[test]
fn space_is_freed_on_a_volume_too_full_for_a_folder() {
    let (_folder, volume) = two_by_hand();
    // No folder can be created there, like on a file system without free inodes.
    assert!(volume.trash().is_dir());
    let left = volume.root().join(".ledger-1-1-1");
    std::fs::write(&left, "").unwrap();
    make_room(&volume, 1).unwrap();
    assert!(left.exists(), "its writer may be at work");
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(&left).unwrap().set_modified(long_ago).unwrap();
    make_room(&volume, 1).unwrap();
    assert!(!left.exists());
}

#[test]
fn built_wheels_that_no_preparation_takes_now_leave_a_full_volume() {
    let (_folder, volume) = two_by_hand();
    let cache = volume.own().join("uv");
    let [old, new] = ["old", "new"].map(|key| cache.join("built-wheels").join(key));
    for wheel in [&old, &new] {
        std::fs::create_dir_all(wheel).unwrap();
    }
    std::fs::write(cache.join(".lock"), "").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
    // Not all of a file system is ever free.
    make_room(&volume, 1).unwrap();
    assert!(!old.exists() && new.exists());
}
