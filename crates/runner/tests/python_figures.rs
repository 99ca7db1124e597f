//! Figures with real packages: the size of an environment that shares numpy with nine others, and times.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::{CacheStatus, Phase};
use hybrid_cache_runner::maintenance::python::usage;
use hybrid_cache_runner::python::record::Installed;
use hybrid_cache_runner::python::{Lookup, pool};
use hybrid_cache_runner::store::measure::{Counter, DiskUsage};

mod python_support;
use python_support::Bench;

/// Small pure packages, one for each environment beside numpy.
const OTHERS: [&str; 10] = [
    "six",
    "idna",
    "certifi",
    "attrs",
    "packaging",
    "tomli",
    "zipp",
    "iniconfig",
    "toolz",
    "tabulate",
];
/// How many imports of each kind are timed.
const IMPORTS: usize = 20;
const MAX_OWN_BYTES: u64 = 4_000_000;
/// Most inodes of an environment's own: folders, and files written for it alone.
const MAX_OWN_INODES: u64 = 300;
/// Every name below `envs/<key>`, those of shared files and of links included: 1,050 of numpy's own files, 130 folders;
/// and every name of bytecode that no other environment links to.
const MAX_ENTRIES: u64 = 1_300;

#[test]
fn an_environment_that_shares_numpy_with_nine_others_is_small() {
    let Some(bench) = Bench::new() else { return };
    for (at, other) in OTHERS.iter().enumerate() {
        let dependencies = format!("numpy,{other}");
        let reported = bench.prepare(&dependencies);
        assert_eq!(reported.warnings(), Vec::<String>::new());
        if at > 0 {
            let CacheStatus::Built {
                downloaded_bytes,
                reused_bytes,
            } = reported.status()
            else {
                panic!("not built")
            };
            assert!(
                downloaded_bytes < 2_000_000 && reused_bytes > 30_000_000,
                "{downloaded_bytes} {reused_bytes}"
            );
        }
        let Lookup::Hit(leased) = bench.lookup(&dependencies) else {
            panic!("no hit")
        };
        let own = Counter::own(leased.path()).unwrap();
        let all = Counter::new().measure(leased.path()).unwrap();
        if at == 0 || at == 9 {
            let timeline = reported.timeline();
            for phase in Phase::ALL {
                if timeline.phase_us(phase) > 0 {
                    println!("{at} {:24} {:>8} us", phase.label(), timeline.phase_us(phase));
                }
            }
            println!("{at} own {own:?} all {all:?}");
        }
    }
    let shares = shares(&bench);
    println!("marginal of each: {shares:?}");
    for size in shares {
        assert!(size.bytes <= MAX_OWN_BYTES, "{} bytes of its own", size.bytes);
        assert!(size.inodes <= MAX_OWN_INODES, "{} inodes of its own", size.inodes);
        assert!(size.entries <= MAX_ENTRIES, "{} directory entries", size.entries);
    }
    for layer in usage(&bench.volume()).unwrap().layers {
        println!("{layer:?}");
    }
}

/// What each environment adds to the nine others: inodes that neither they nor their bytecode have.
fn shares(bench: &Bench) -> Vec<DiskUsage> {
    let folder = bench.volume().environments();
    let all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let pool = bench.volume().bytecode();
    let linked = |one: &Path| -> BTreeSet<PathBuf> {
        let links = pool::links(&pool, one).unwrap();
        links.into_iter().map(|link| pool.join(link.folder)).collect()
    };
    let marginal = |one: &Path| {
        let mut counter = Counter::new();
        let mut theirs = BTreeSet::new();
        for other in all.iter().filter(|other| *other != one) {
            counter.measure(other).unwrap();
            theirs.extend(linked(other));
        }
        let mut size = counter.measure(one).unwrap();
        for folder in linked(one).difference(&theirs) {
            size += counter.measure(folder).unwrap();
        }
        size
    };
    all.iter().map(|one| marginal(one)).collect()
}

#[test]
fn verifying_numpy_is_fast_and_importing_it_is_not_slower() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("numpy");
    let Lookup::Hit(leased) = bench.lookup("numpy") else {
        panic!("no hit")
    };
    let times: Vec<Duration> = (0..20)
        .map(|_| {
            let started = Instant::now();
            let checked = Installed::read(&leased.venv(), &bench.interpreter)
                .unwrap()
                .check(SystemTime::now())
                .unwrap();
            assert!(checked.files > 900);
            started.elapsed()
        })
        .collect();
    println!("verify: {:?}", median(times));
    // For comparison: ordinary bytecode, with paths, for all sources.
    let plain = bench.dir.path().join("plain");
    let uv = |arguments: &[&str]| {
        let mut command = Command::new(&bench.tools.uv);
        command
            .args(arguments)
            .envs(bench.tools.variables.iter().map(|(name, value)| (name, value)));
        command
            .env("UV_CACHE_DIR", bench.volume().uv_cache())
            .env("UV_NO_CONFIG", "1");
        assert!(command.output().unwrap().status.success());
    };
    let started = Instant::now();
    uv(&["venv", "--python", &bench.interpreter.path, plain.to_str().unwrap()]);
    let python = plain.join("bin/python");
    uv(&["pip", "install", "--python", python.to_str().unwrap(), "numpy"]);
    println!("plain uv, packages in its cache: {:?}", started.elapsed());
    uv(&[
        "pip",
        "install",
        "--compile-bytecode",
        "--reinstall",
        "--python",
        python.to_str().unwrap(),
        "numpy",
    ]);
    let [ours, theirs] = import_times([&leased.python(), &python]);
    println!("import numpy: ours {ours:?}, ordinary {theirs:?}");
    assert!(
        ours < theirs * 3 / 2 + Duration::from_millis(20),
        "{ours:?} against {theirs:?}"
    );
}

/// Median time of a process that imports numpy. The kinds alternate, so that load affects all equally.
fn import_times<const N: usize>(pythons: [&Path; N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..IMPORTS {
        for at in 0..N {
            let at = (at + turn) % N;
            let started = Instant::now();
            python_support::run(pythons[at], "import numpy");
            times[at].push(started.elapsed());
        }
    }
    times.map(median)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
