//! Preparing system packages with a scripted double for Nix: locking, publishing, and collections.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::protocol::{Keep, Provider, SystemTools};
use hybrid_cache_model::{CacheStatus, FailureKind, Phase};
use hybrid_cache_runner::clock::Recorder;
use hybrid_cache_runner::ledger;
use hybrid_cache_runner::maintenance::system as maintenance;
use hybrid_cache_runner::prepare;
use hybrid_cache_runner::store::measure::{Counter, DiskUsage};

mod nix_double;
mod nobody;

use nix_double::{bench, deadline};

#[test]
fn the_first_builds_and_publishes_and_the_next_finds_it() {
    let bench = bench();
    let built = bench.prepare().unwrap();
    assert_eq!(
        built.status,
        CacheStatus::Built {
            downloaded_bytes: 120,
            reused_bytes: 3
        }
    );
    let root = bench.dir.path().display();
    assert_eq!(
        built.paths,
        [format!("{root}/store/0a-git"), format!("{root}/store/0b-gnumake")]
    );
    let found = bench.prepare().unwrap();
    assert_eq!((found.status, &found.paths), (CacheStatus::Hit, &built.paths));
    assert_eq!(bench.calls("build"), 1);
    let call = std::fs::read_to_string(bench.dir.path().join("calls")).unwrap();
    assert!(
        call.contains("github:NixOS/nixpkgs/1#git github:NixOS/nixpkgs/1#gnumake"),
        "{call}"
    );
    assert!(
        maintenance::verify(&bench.volume(), None, &deadline())
            .unwrap()
            .is_clean()
    );
    let left = std::fs::read_dir(bench.volume().state().join("work")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gc"]);
}

#[test]
fn concurrent_preparations_build_a_set_once() {
    let bench = bench();
    let built = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.prepare().unwrap().status))
            .collect();
        let statuses = all.into_iter().map(|one| one.join().unwrap());
        statuses.filter(|status| *status != CacheStatus::Hit).count()
    });
    assert_eq!((built, bench.calls("build"), bench.entries()), (1, 1, 1));
}

#[test]
fn waiting_for_another_build_has_a_deadline_and_a_row_on_the_timeline() {
    let mut bench = bench();
    std::thread::scope(|scope| {
        scope.spawn(|| bench.prepare().unwrap());
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while bench.calls("build") == 0 && std::time::Instant::now() < give_up {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let recorder = Recorder::start();
        assert_eq!(
            prepare::system::prepare(&bench.request, &recorder).unwrap().status,
            CacheStatus::Hit
        );
        assert!(recorder.timeline().phase_us(Phase::LockWait) > 10_000);
    });
    bench.request.context.system_source = "nixpkgs:2".to_owned();
    bench.request.deadline_ms = 50;
    assert_eq!(bench.prepare().unwrap_err().kind, FailureKind::Deadline);
    assert_eq!(bench.entries(), 1);
}

/// Prepares on a private file system and shows what a power cut leaves: unsynced data is lost.
const POWER_CUT: &str = r#"
mkfs.ext4 -q "$root.image" 64M >/dev/null && mount -o loop "$root.image" "$root" || exit 99
"$runner" prepare < "$root.request" || exit 1
cp --sparse=always "$root.image" "$root.cut"
umount "$root" && mount -o loop "$root.cut" "$root" || exit 1
ls "$root/var/hybrid-cache/tenants/default/index"
cat "$root/store/0a-git/bin/git"
umount "$root"
"#;

#[test]
fn a_power_cut_leaves_no_entry_of_packages_that_were_not_on_the_disk() {
    let bench = bench();
    let beside = |suffix: &str| format!("{}{suffix}", bench.dir.path().display());
    // The mounted volume hides the content of the folder.
    let mut request = bench.request.clone();
    let program = beside(".nix");
    std::fs::rename(bench.dir.path().join("nix"), &program).unwrap();
    request.system_tools.as_mut().unwrap().provider = Provider::Nix { program };
    std::fs::write(beside(".request"), serde_json::to_vec(&request).unwrap()).unwrap();
    let mut script = std::process::Command::new("unshare");
    script.args(["-m", "sh", "-c", POWER_CUT]);
    let script = script
        .env("runner", env!("CARGO_BIN_EXE_runner"))
        .env("root", bench.dir.path());
    let Ok(output) = script.output() else {
        println!("skipped: no unshare at hand");
        return;
    };
    for suffix in [".nix", ".request", ".image", ".cut"] {
        // Folders that could not be created are absent.
        drop(std::fs::remove_file(beside(suffix)));
    }
    if output.status.code() != Some(0) && output.stdout.is_empty() {
        println!("skipped: this user may not mount a file system of its own");
        return;
    }
    let reported = String::from_utf8_lossy(&output.stdout);
    assert!(reported.contains("\"event\":\"ready\""), "{reported}");
    let left = reported.lines().filter(|line| !line.starts_with('{'));
    let left: Vec<&str> = left.collect();
    assert!(
        matches!(left[..], [entry, "program"] if entry.ends_with(".json")),
        "{left:?}"
    );
}

#[test]
fn a_discarded_preparation_leaves_nothing_in_the_index() {
    let mut bench = bench();
    bench.request.keep = Keep::Discard;
    assert_eq!(bench.prepare().unwrap().status, CacheStatus::Bypassed);
    assert_eq!(bench.entries(), 0);
}

#[test]
fn a_full_volume_is_collected_once_and_tried_again() {
    let bench = bench();
    let rubbish = bench.dir.path().join("store/0d-rubbish");
    std::fs::create_dir_all(&rubbish).unwrap();
    std::fs::write(rubbish.join("f"), vec![7; 1 << 20]).unwrap();
    std::fs::write(bench.dir.path().join("full"), "").unwrap();
    assert!(matches!(bench.prepare().unwrap().status, CacheStatus::Built { .. }));
    assert_eq!((bench.calls("build"), bench.calls("store gc")), (2, 1));
}

#[test]
fn the_ledger_says_what_a_walk_finds() {
    let bench = bench();
    bench.prepare().unwrap();
    let reported = || {
        let mut all = DiskUsage::default();
        for layer in maintenance::usage(&bench.volume()).unwrap().layers {
            all += DiskUsage {
                bytes: layer.bytes,
                inodes: layer.inodes,
                entries: layer.entries,
            };
        }
        all
    };
    let walked = || {
        let mut counter = Counter::new();
        let mut all = DiskUsage::default();
        for folder in ["store", "var/nix", "var/hybrid-cache"] {
            all += counter.measure(&bench.dir.path().join(folder)).unwrap();
        }
        all
    };
    // The first call writes the ledger file, which is counted too.
    reported();
    assert_eq!(reported(), walked());
    std::fs::create_dir(bench.dir.path().join("store/0e-new")).unwrap();
    std::fs::write(bench.volume().state().join("ledger"), "rubbish").unwrap();
    reported();
    assert_eq!(reported(), walked());
    let open = ledger::open_system(&bench.volume(), std::time::Instant::now()).unwrap();
    assert_eq!(open.ledger.members().len(), 1);
    assert!(
        open.ledger.live().bytes < open.ledger.held().bytes,
        "0e-new is nobody's"
    );
    drop(open);
    // A build continues to write it, so its size so far was not saved.
    std::fs::write(bench.dir.path().join("store/0e-new/f"), vec![7; 1 << 20]).unwrap();
    reported();
    assert_eq!(reported(), walked());
}

#[test]
fn a_budget_evicts_the_least_recently_used_and_says_what_it_could_not() {
    let bench = bench();
    bench.prepare().unwrap();
    let tools = bench.request.system_tools.as_ref();
    let report = maintenance::gc(&bench.volume(), &BudgetRequest::from_settings(0, 1), tools, &deadline()).unwrap();
    assert_eq!(
        (report.evicted_system_sets, report.over_budget, bench.entries()),
        (1, true, 0)
    );
    let reported = serde_json::to_string(&MaintainReport::Gc(report)).unwrap();
    assert!(reported.contains("\"evicted_system_sets\":1"), "{reported}");
}

fn no_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_cannot_be_removed_does_not_stop_a_collection() {
    let bench = bench();
    bench.prepare().unwrap();
    let work = bench.volume().state().join("work");
    let [read_only, foreign] = ["killed", "foreign"].map(|name| work.join(name).join("folder"));
    for folder in [&read_only, &foreign] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("f"), "").unwrap();
        no_mode(folder, 0o555);
    }
    nobody::give(bench.dir.path());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&foreign, Some(0), None).unwrap();
    }
    let tools = bench.request.system_tools.as_ref();
    let collect = || maintenance::gc(&bench.volume(), &BudgetRequest::from_settings(0, 1), tools, &deadline());
    let report = nobody::run(collect).unwrap();
    assert_eq!((report.evicted_system_sets, bench.entries()), (1, 0), "{report:?}");
    assert!(!read_only.exists());
    assert_eq!(foreign.exists(), report.warnings.len() == 1, "{report:?}");
}

#[test]
fn nixs_cache_is_dropped_before_packages_and_an_unreachable_budget_evicts_none() {
    let bench = bench();
    bench.prepare().unwrap();
    let large = |name: &str| {
        let folder = bench.dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f"), vec![7; 2 << 20]).unwrap();
        folder
    };
    let fetched = large("var/hybrid-cache/nix-cache");
    let tools = bench.request.system_tools.as_ref().unwrap();
    let keep = || {
        std::fs::remove_file(bench.volume().state().join("ledger")).unwrap();
        let budget = BudgetRequest::from_settings(1 << 20, 0);
        maintenance::keep_within(&bench.volume(), &budget, tools, &deadline()).unwrap()
    };
    drop(ledger::open_system(&bench.volume(), std::time::Instant::now()).unwrap());
    let report = keep();
    assert_eq!(
        (bench.entries(), fetched.exists(), report.over_budget),
        (1, false, false),
        "{report:?}"
    );
    large("var/nix/db");
    let report = keep();
    assert_eq!(
        (bench.entries(), report.over_budget, report.warnings.len()),
        (1, true, 1),
        "{report:?}"
    );
}

#[test]
fn a_missing_nix_and_an_unknown_layout_publish_nothing() {
    let mut bench = bench();
    let program = Provider::Nix {
        program: "/no/such/nix".to_owned(),
    };
    let tools = bench.request.system_tools.clone().unwrap();
    bench.request.system_tools = Some(SystemTools {
        provider: program,
        ..tools
    });
    let failure = bench.prepare().unwrap_err();
    assert!(
        failure.kind == FailureKind::Tool && failure.message.contains("/no/such/nix"),
        "{failure}"
    );
    let format = bench.volume().state().join("FORMAT");
    std::fs::write(&format, "hybrid-cache system 999\n").unwrap();
    assert_eq!(bench.prepare().unwrap_err().kind, FailureKind::CacheFormat);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "hybrid-cache system 999\n");
    assert!(!Path::new("/no/such").exists());
}

#[test]
fn a_collection_works_on_a_full_volume() {
    let bench = bench();
    bench.prepare().unwrap();
    let work = bench.volume().state().join("work");
    let left = bench.volume().state().join(".ledger-1-1-1");
    let file = std::fs::File::create(&left).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    file.set_modified(long_ago).unwrap();
    nobody::give(bench.dir.path());
    // Like on a file system without free inodes.
    no_mode(&work, 0o555);
    let tools = bench.request.system_tools.as_ref();
    let collect = || maintenance::gc(&bench.volume(), &BudgetRequest::from_settings(0, 1), tools, &deadline());
    let report = nobody::run(collect);
    no_mode(&work, 0o755);
    let report = report.unwrap();
    assert_eq!((report.evicted_system_sets, report.warnings), (1, Vec::new()));
    assert!(!left.exists());
}

#[test]
fn keeping_a_budget_does_not_walk_the_store() {
    let bench = bench();
    bench.prepare().unwrap();
    let nix = bench.dir.path().join("var/nix/unreadable");
    std::fs::create_dir_all(&nix).unwrap();
    drop(ledger::open_system(&bench.volume(), std::time::Instant::now()).unwrap());
    nobody::give(bench.dir.path());
    no_mode(&nix, 0);
    let tools = bench.request.system_tools.as_ref().unwrap();
    let keep = || maintenance::keep_within(&bench.volume(), &BudgetRequest::from_settings(0, 0), tools, &deadline());
    let kept = nobody::run(keep);
    no_mode(&nix, 0o755);
    assert_eq!(kept.unwrap().evicted_system_sets, 0);
}
