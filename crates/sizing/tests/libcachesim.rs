//! Hit counts against an independent simulator, PyPI's `libcachesim`, where objects share no parts.
//!
//! `pip install libcachesim` into any environment and name its interpreter in `LIBCACHESIM_PYTHON`; the default is `python3`.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "all of this is test code, and its numbers are small"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hybrid_cache_sizing::curve::curve;
use hybrid_cache_sizing::trace::{Environment, Event, Recorded, Request, Use};
use hybrid_cache_sizing::{Volume, Weight};

const OBJECTS: u64 = 3000;
const REQUESTS: usize = 60_000;

fn python() -> String {
    std::env::var("LIBCACHESIM_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn is_there() -> bool {
    let found = Command::new(python())
        .args(["-c", "import libcachesim"])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// Requests for objects without parts, popular ones more often, and each object's size.
fn drawn(size_of: fn(u64) -> u64) -> (Vec<u64>, Vec<u64>) {
    let sizes = (0..OBJECTS).map(size_of).collect();
    let mut state = 42u64;
    let mut unit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let asked = (0..REQUESTS)
        .map(|_| (unit().powi(3) * OBJECTS as f64) as u64)
        .collect();
    (sizes, asked)
}

fn simulated(sizes: &[u64], asked: &[u64], budgets: &[u64]) -> Vec<u64> {
    let budgets: Vec<String> = budgets.iter().map(u64::to_string).collect();
    let mut input = budgets.join(" ");
    for object in asked {
        write!(input, "\n{object} {}", sizes[*object as usize]).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lru_hits.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn compared(test: &str, size_of: fn(u64) -> u64) {
    if !is_there() {
        println!(
            "skipped: {test}: {} has no libcachesim; `pip install libcachesim` brings it",
            python()
        );
        return;
    }
    let (sizes, asked) = drawn(size_of);
    let mut recorded = Recorded::default();
    let volume = recorded.catalog.volume_mut(Volume::Python);
    for (object, size) in sizes.iter().enumerate() {
        let (key, own) = (object.to_string(), Weight::new(*size, 1));
        volume.environment(Environment {
            key,
            own,
            ..Environment::default()
        });
    }
    recorded.events = asked
        .iter()
        .map(|object| {
            let asked = Use {
                environment: *object as u32,
                ..Use::default()
            };
            Event::Request(Request {
                uses: [Some(asked), None],
                ..Request::default()
            })
        })
        .collect();
    let curve = curve(&recorded, Volume::Python).unwrap();
    let (largest, union) = (curve.largest.bytes, curve.union.bytes);
    // Ten sizes from the largest object to nearly everything; below it the two differ by design.
    let budgets: Vec<u64> = (0..10).map(|at| largest + (union - largest) * at * at / 90).collect();
    let found: Vec<u64> = budgets
        .iter()
        .map(|budget| curve.hits(Weight::new(*budget, u64::MAX)).requests)
        .collect();
    let expected = simulated(&sizes, &asked, &budgets);
    println!("{test}: {found:?} hits of {REQUESTS} at {budgets:?} bytes");
    assert_eq!(found, expected);
    assert!(found.is_sorted() && found[9] > found[0]);
}

#[test]
fn objects_of_equal_size_hit_as_often_as_in_libcachesim() {
    compared("objects_of_equal_size_hit_as_often_as_in_libcachesim", |_| 4096);
}

#[test]
fn objects_of_different_sizes_hit_as_often_as_in_libcachesim() {
    compared("objects_of_different_sizes_hit_as_often_as_in_libcachesim", |object| {
        1 + object.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_003
    });
}
