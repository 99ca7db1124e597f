//! Shared bytecode: it is reproducible, removed when unused, and environments work without it.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Phase;
use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::protocol::PrepareEvent;
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::maintenance::python::{gc, usage, verify};
use hybrid_cache_runner::python::Lookup;
use hybrid_cache_runner::python::bytecode::{self, Compiled, Sources};
use hybrid_cache_runner::python::content::Content;
use hybrid_cache_runner::python::pool::{self, Link, PYCACHE, Pool};
use hybrid_cache_runner::python::record::{Installed, site};
use hybrid_cache_runner::store::lock::Mode;
use hybrid_cache_runner::store::measure::Counter;

mod python_support;
use python_support::{Bench, prepare_observed, run};

const NO_LIMIT: &BudgetRequest = &BudgetRequest {
    bytes: Some(u64::MAX),
    inodes: Some(u64::MAX),
    is_claim: false,
    claim_bytes: None,
};

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(300)).unwrap()
}

fn links(bench: &Bench, dependencies: &str) -> Vec<Link> {
    let Lookup::Hit(leased) = bench.lookup(dependencies) else {
        panic!("{dependencies} is no hit")
    };
    pool::links(&bench.volume().bytecode(), leased.path()).unwrap()
}

/// Every bytecode file below `folder`, with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "content" {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// An environment of one wheel `a`, made by hand from `(path, RECORD hash, content)`; an empty hash means that the file
/// is not listed.
fn by_hand(bench: &Bench, files: &[(&str, &str, &str)]) -> (PathBuf, Installed) {
    let environment = bench.volume().environments().join("e");
    let site = environment.join("venv").join(site(&bench.interpreter));
    let mut record = "a-1.0.dist-info/RECORD,,\n".to_owned();
    for (path, hash, content) in files {
        std::fs::create_dir_all(site.join(path).parent().unwrap()).unwrap();
        std::fs::write(site.join(path), content).unwrap();
        if !hash.is_empty() {
            record += &format!("{path},sha256={hash},{}\n", content.len());
        }
    }
    std::fs::create_dir_all(site.join("a-1.0.dist-info")).unwrap();
    std::fs::write(site.join("a-1.0.dist-info/RECORD"), record).unwrap();
    let installed = Installed::read(&environment.join("venv"), &bench.interpreter).unwrap();
    (environment, installed)
}

fn provide(bench: &Bench, pool: &Pool, installed: &Installed) -> Compiled {
    let work = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let content = Content::take(installed).unwrap();
    let sources = Sources {
        installed,
        tree: &content.tree,
        listing: &content.listing,
        interpreter: &bench.interpreter,
    };
    bytecode::provide(pool, &sources, work.path(), &deadline()).unwrap()
}

#[test]
fn compiling_again_gives_the_same_bytes() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("numpy,idna");
    let Lookup::Hit(leased) = bench.lookup("numpy,idna") else {
        panic!("no hit")
    };
    let first = contents(&bench.volume().bytecode());
    let again = bench.dir.path().join("again");
    let pool = Pool {
        path: again.clone(),
        ..Pool::from_volume(&bench.volume())
    };
    for link in links(&bench, "numpy,idna") {
        std::fs::remove_file(link.path).unwrap();
    }
    let installed = Installed::read(&leased.venv(), &bench.interpreter).unwrap();
    let compiled = provide(&bench, &pool, &installed);
    let again = contents(&again);
    assert!(
        compiled.reused == 0 && compiled.compiled == again.len() && again.len() > 100,
        "{compiled:?}"
    );
    assert_eq!(first.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    let differing: Vec<_> = first
        .iter()
        .filter(|(path, content)| again[*path] != **content)
        .collect();
    assert!(
        differing.is_empty(),
        "{:?}",
        differing.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
}

#[test]
fn failed_bytecode_keeps_the_pool_locked_until_the_environment_is_published() {
    let Some(bench) = Bench::new() else { return };
    let volume = bench.volume();
    // A file where a folder should be.
    std::fs::write(volume.bytecode().join(&bench.interpreter.abi), "").unwrap();
    let size = std::sync::Mutex::new(Vec::new());
    let reported = prepare_observed(&bench.request("six"), |event| {
        let PrepareEvent::Phase { phase, .. } = event else {
            return;
        };
        let alone = pool::lock(&volume, Mode::Exclusive, Instant::now()).is_ok();
        size.lock().unwrap().push((*phase, alone));
    });
    let (warnings, size) = (reported.warnings(), size.into_inner().unwrap());
    assert!(warnings[0].contains("incomplete bytecode"), "{warnings:?}");
    assert_eq!(size.last(), Some(&(Phase::PythonPublish, false)), "{size:?}");
}

#[test]
fn two_environments_link_to_the_same_folders() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("packaging");
    bench.prepare("packaging,six");
    let folders = |dependencies: &str| -> Vec<PathBuf> {
        let mut folders: Vec<_> = links(&bench, dependencies)
            .into_iter()
            .map(|link| link.folder)
            .collect();
        folders.sort();
        folders
    };
    let (one, two) = (folders("packaging"), folders("packaging,six"));
    assert!(
        !one.is_empty() && one.iter().all(|folder| two.contains(folder)),
        "{one:?} {two:?}"
    );
    assert_eq!(two.len(), one.len() + 1, "six lies in site-packages itself");
    let cached = bench.run("packaging", "import packaging.version as v; print(v.__cached__)");
    assert!(Path::new(&cached).exists(), "{cached}");
    let layers = usage(&bench.volume()).unwrap().layers;
    let pool = layers.iter().find(|layer| layer.layer == "python/bytecode").unwrap();
    assert!(pool.bytes > 100_000 && pool.inodes > 10, "{pool:?}");
}

#[test]
fn unused_bytecode_is_removed_unless_a_publisher_holds_the_pool() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("packaging");
    bench.prepare("six");
    let volume = bench.volume();
    assert_eq!(gc(&volume, NO_LIMIT, None, &deadline()).unwrap().orphans, 0);
    let before = contents(&volume.bytecode()).len();
    let Lookup::Hit(leased) = bench.lookup("packaging") else {
        panic!("no hit")
    };
    std::fs::remove_dir_all(leased.path()).unwrap();
    let publisher = pool::lock(&volume, Mode::Shared, Instant::now()).unwrap();
    assert_eq!(gc(&volume, NO_LIMIT, None, &deadline()).unwrap().orphans, 0);
    drop(publisher);
    assert!(gc(&volume, NO_LIMIT, None, &deadline()).unwrap().orphans > 0);
    let after = contents(&volume.bytecode()).len();
    assert!(after == 1 && before > 10, "{before} {after}");
    assert!(verify(&volume).unwrap().is_clean());
    bench.run("six", "import six");
    assert_eq!(bench.prepare("packaging").warnings(), Vec::<String>::new());
    assert_eq!(contents(&volume.bytecode()).len(), before);
}

#[test]
fn an_environment_without_its_bytecode_works_and_verify_reports_it() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("packaging");
    std::fs::remove_dir_all(bench.volume().bytecode()).unwrap();
    let problems = verify(&bench.volume()).unwrap().problems;
    assert!(!problems.is_empty(), "nothing found");
    for problem in problems {
        assert!(
            problem.path.ends_with(PYCACHE) && problem.what.contains("bytecode"),
            "{problem:?}"
        );
    }
    bench.run("packaging", "import packaging.version");
}

#[test]
fn a_wheels_own_bytecode_is_replaced_by_bytecode_from_its_sources() {
    let Some(bench) = Bench::new() else { return };
    let own = format!("a/{PYCACHE}/one.{}.pyc", bench.interpreter.abi);
    let files = [
        ("a/__init__.py", "1", ""),
        ("a/one.py", "2", "x = 1"),
        ("a/two.py", "3", "x = 2"),
        (own.as_str(), "4", "shipped"),
        ("b/__init__.py", "5", ""),
    ];
    let (environment, installed) = by_hand(&bench, &files);
    let volume = bench.volume();
    for expected in [(0, 4), (4, 0)] {
        let compiled = provide(&bench, &Pool::from_volume(&volume), &installed);
        assert_eq!((compiled.reused, compiled.compiled), expected);
    }
    let shipped = environment.join("venv").join(&installed.site).join(&own);
    assert_ne!(std::fs::read(&shipped).unwrap(), b"shipped");
    assert_eq!(pool::links(&volume.bytecode(), &environment).unwrap().len(), 2);
    installed.check(std::time::SystemTime::now()).unwrap();
}

#[test]
fn sources_on_disk_are_compiled_whatever_a_record_lists() {
    let Some(bench) = Bench::new() else { return };
    let files = [
        ("a/__init__.py", "1", ""),
        ("a/broken.py", "2", "def"),
        ("a/unlisted.py", "", ""),
        ("a/both.py", "4", "x = 1"),
    ];
    let (_, installed) = by_hand(&bench, &files);
    let volume = bench.volume();
    let compiled = provide(&bench, &Pool::from_volume(&volume), &installed);
    assert_eq!((compiled.compiled, compiled.skipped), (3, 1));
    assert_eq!(contents(&volume.bytecode()).len(), 3);
    installed.check(std::time::SystemTime::now()).unwrap();
    let python = Path::new(&bench.interpreter.path);
    let site = installed.venv.join(&installed.site);
    run(
        python,
        &format!("import sys; sys.path.insert(0, {site:?}); import a.both, a.unlisted"),
    );
}

#[test]
fn sweeping_while_others_publish_leaves_no_link_dangling() {
    let Some(bench) = Bench::new() else { return };
    let volume = bench.volume();
    let all = &BudgetRequest {
        inodes: Some(1),
        ..*NO_LIMIT
    };
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let running: Vec<_> = ["packaging", "packaging,six", "packaging,idna"]
                .into_iter()
                .map(|dependencies| scope.spawn(|| assert!(bench.prepare(dependencies).warnings().is_empty())))
                .collect();
            while running.iter().any(|thread| !thread.is_finished()) {
                gc(&volume, all, None, &deadline()).unwrap();
                let problems = verify(&volume).unwrap().problems;
                let dangling: Vec<_> = problems
                    .iter()
                    .filter(|problem| problem.what.contains("bytecode"))
                    .collect();
                assert!(dangling.is_empty(), "{dangling:?}");
            }
        });
    }
    // A child that another test forks holds copies of this process's locks until its exec, and `gc` keeps what is locked.
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        gc(&volume, all, None, &deadline()).unwrap();
        let left = contents(&volume.bytecode()).len();
        if left == 0 {
            break;
        }
        assert!(Instant::now() < give_up, "{left} folders of bytecode are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_eviction_counts_the_bytecode_that_it_frees() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("packaging");
    std::thread::sleep(Duration::from_millis(20));
    bench.prepare("six");
    let volume = bench.volume();
    gc(&volume, NO_LIMIT, None, &deadline()).unwrap();
    let total = Counter::new().measure(&bench.root()).unwrap().inodes;
    let Lookup::Hit(leased) = bench.lookup("packaging") else {
        panic!("no hit")
    };
    // All its inodes, including those shared with uv's cache, because no other environment has them.
    let mut counter = Counter::new();
    let mut needed = counter.measure(leased.path()).unwrap().inodes;
    for link in links(&bench, "packaging") {
        needed += counter.measure(&volume.bytecode().join(link.folder)).unwrap().inodes;
    }
    drop(leased);
    let enough = &BudgetRequest {
        inodes: Some(total - needed),
        ..*NO_LIMIT
    };
    let report = gc(&volume, enough, None, &deadline()).unwrap();
    assert!(report.evicted_environments == 1 && !report.over_budget, "{report:?}");
    assert!(matches!(bench.lookup("packaging"), Lookup::Miss) && matches!(bench.lookup("six"), Lookup::Hit(_)));
}
