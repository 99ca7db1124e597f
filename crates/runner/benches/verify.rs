//! Compares `verify` on a volume of a hundred environments with a plain read of the same inodes.
//!
//! `cargo bench --package hybrid-cache-runner --bench verify`, as root, because both start with a cold page cache each
//! time. The plain read opens every unique inode once, in the order of their numbers, with as many threads and the same
//! block size. It knows their paths beforehand. A second plain read finds them itself, like a copy of the volume, and
//! so reads every folder and link, as `verify` must. Environments consist of small generated packages and numpy, so
//! that most inodes are shared.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../tests/python_support/mod.rs"]
mod python_support;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hybrid_cache_runner::maintenance::python::verify;
use hybrid_cache_runner::maintenance::python::verify::THREADS;
use python_support::Bench;

const ENVIRONMENTS: usize = 100;
const ROUNDS: usize = 6;
const BLOCK_BYTES: usize = 1 << 20;
/// The packages whose subsets form the environments, with or without numpy.
const PACKAGES: [&str; 6] = ["six", "idna", "packaging", "attrs", "zipp", "toolz"];

/// The environment number `at`: one of the 64 subsets, with another of three large packages.
fn dependencies(at: usize) -> String {
    let small = PACKAGES.iter().enumerate().filter(|(bit, _)| at & (1 << bit) != 0);
    let mut names: Vec<&str> = small.map(|(_, name)| *name).collect();
    names.push(if at < 64 { "numpy" } else { "pandas" });
    names.join(",")
}

fn cold() {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// Every regular file below `folder`, by inode: the first of its names.
fn inodes(folder: &Path, found: &mut BTreeMap<u64, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            inodes(&entry.path(), found);
        } else if kind.is_file() {
            found.entry(entry.ino()).or_insert_with(|| entry.path());
        } else {
            std::fs::read_link(entry.path()).unwrap();
        }
    }
}

/// The same below several folders, by as many threads as `verify` has.
fn find(folders: &[PathBuf]) -> Vec<PathBuf> {
    let next = AtomicUsize::new(0);
    let found = std::thread::scope(|scope| {
        let walk = || {
            let mut found = BTreeMap::new();
            while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                inodes(folder, &mut found);
            }
            found
        };
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(walk)).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect::<BTreeMap<_, _>>()
    });
    found.into_values().collect()
}

/// The entries of `folder`.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())
}

fn plain(files: &[PathBuf]) -> u64 {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let read = || {
            let mut block = vec![0; BLOCK_BYTES];
            let mut bytes = 0;
            while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut file = std::fs::File::open(path).unwrap();
                loop {
                    match file.read(&mut block).unwrap() {
                        0 => break,
                        read => bytes += read as u64,
                    }
                }
            }
            bytes
        };
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(read)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn main() {
    let Some(bench) = Bench::new() else { return };
    for at in 0..ENVIRONMENTS {
        let reported = bench.prepare(&dependencies(at));
        assert!(reported.path().contains("staging"), "{at} was there already");
    }
    let (environments, bytecode) = (bench.volume().environments(), bench.volume().bytecode());
    let folders: Vec<PathBuf> = entries(&environments)
        .chain(entries(&bytecode).flat_map(|pool| entries(&pool).collect::<Vec<_>>()))
        .collect();
    let files = find(&folders);
    let bytes = plain(&files);
    println!(
        "{ENVIRONMENTS} environments, {} unique files, {:.0} MB, {THREADS} threads",
        files.len(),
        bytes as f64 / 1e6
    );
    let timed = |work: &dyn Fn()| -> f64 {
        cold();
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    };
    let read = || timed(&|| assert_eq!(plain(&files), bytes));
    let found = || timed(&|| assert_eq!(plain(&find(&folders)), bytes));
    let check = || {
        timed(&|| {
            let report = verify(&bench.volume()).unwrap();
            assert!(report.is_clean(), "{report:?}");
        })
    };
    let (mut of_read, mut of_found) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Alternate the order, because going first may be an advantage or a disadvantage.
        let [mut read_s, mut found_s, mut check_s] = [0.0; 3];
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => read_s = read(),
                1 => found_s = found(),
                _ => check_s = check(),
            }
        }
        let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;
        println!(
            "plain read {:.0} MB/s, with folders {:.0} MB/s, verify {:.0} MB/s: {:.2} and {:.2} of them",
            speed(read_s),
            speed(found_s),
            speed(check_s),
            read_s / check_s,
            found_s / check_s
        );
        of_read.push(read_s / check_s);
        of_found.push(found_s / check_s);
    }
    for (name, mut ratios) in [("a plain read", of_read), ("one with folders", of_found)] {
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ROUNDS - 1]);
        println!(
            "verify has {:.2} [{least:.2}, {most:.2}] of the speed of {name}",
            ratios[ROUNDS / 2]
        );
    }
}
