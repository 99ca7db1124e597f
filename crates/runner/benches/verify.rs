//! How fast `verify` reads a volume of a hundred environments, against a plain read of the same inodes.
//!
//! `cargo bench --package hybrid-cache-runner --bench verify`, as root: both begin with a cold page cache, each time. The
//! plain read opens every unique inode once, in the order of their numbers, with as many threads and the same block
//! size. Environments are made of small packages of this bench's own and of numpy, so that most inodes are shared.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../tests/python_support/mod.rs"]
mod python_support;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_runner::maintain::verify;
use python_support::Bench;

const ENVIRONMENTS: usize = 100;
const ROUNDS: usize = 5;
const BLOCK_BYTES: usize = 1 << 20;
/// Packages whose subsets the environments are, each beside numpy or not.
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

/// Every regular file below `folder`, by inode.
fn inodes(folder: &Path, found: &mut BTreeMap<(u64, u64), (PathBuf, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            inodes(&path, found);
        } else if metadata.is_file() {
            let known = (path, metadata.len());
            found.insert((metadata.dev(), metadata.ino()), known);
        }
    }
}

fn plain(files: &[PathBuf]) -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
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
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn main() {
    let Some(bench) = Bench::new() else { return };
    for at in 0..ENVIRONMENTS {
        let told = bench.prepare(&dependencies(at));
        assert!(told.path().contains("staging"), "{at} was there already");
    }
    let mut found = BTreeMap::new();
    inodes(&bench.volume().environments(), &mut found);
    inodes(&bench.volume().bytecode(), &mut found);
    let bytes: u64 = found.values().map(|(_, bytes)| bytes).sum();
    let files: Vec<PathBuf> = found.into_values().map(|(path, _)| path).collect();
    println!(
        "{ENVIRONMENTS} environments, {} unique inodes, {:.0} MB",
        files.len(),
        bytes as f64 / 1e6
    );
    let timed = |work: &dyn Fn()| -> Duration {
        cold();
        let started = Instant::now();
        work();
        started.elapsed()
    };
    let read = || timed(&|| assert_eq!(plain(&files), bytes));
    let check = || {
        timed(&|| {
            let report = verify(&bench.volume()).unwrap();
            assert!(report.is_clean(), "{report:?}");
        })
    };
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // The one that goes first may profit or suffer from what was before.
        let (read, check) = if round % 2 == 0 {
            let read = read();
            (read, check())
        } else {
            let check = check();
            (read(), check)
        };
        let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        println!(
            "plain read {:.0} MB/s, verify {:.0} MB/s, {:.2} of it",
            speed(read),
            speed(check),
            read.as_secs_f64() / check.as_secs_f64()
        );
        ratios.push(read.as_secs_f64() / check.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2} of the plain read's speed", ratios[ROUNDS / 2]);
}
