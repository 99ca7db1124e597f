//! How long the exact curve of a long trace takes.
//!
//! `cargo bench --package hybrid-cache-sizing`: one million requests over 2,000 environments of 20 to 300 parts, at most
//! 2 s on one core. `HUGE=1` adds ten million, at most 25 s and 1 GiB, and prints the most memory that was in use.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a benchmark that cannot be set up has nothing to measure, and its numbers are small"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hybrid_cache_sizing::curve::curve;
use hybrid_cache_sizing::trace::{Catalog, Environment, Event, Request, TraceError, Use};
use hybrid_cache_sizing::{Source, Volume, Weight};

const ENVIRONMENTS: usize = 2000;
const PARTS: usize = 6000;

/// Requests that are drawn while they are read, so that they take no memory.
struct Drawn {
    catalog: Catalog,
    requests: u64,
}

struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Small numbers more often: the density falls as one over the square root.
    fn skewed(&mut self, bound: usize) -> usize {
        let unit = self.next() as f64 / (1u64 << 31) as f64;
        ((unit * unit) * bound as f64) as usize
    }
}

impl Drawn {
    fn new(requests: u64) -> Drawn {
        let mut draw = Draw(7);
        let mut catalog = Catalog::default();
        let volume = catalog.volume_mut(Volume::Python);
        for at in 0..PARTS {
            volume.part(
                &at.to_string(),
                Weight::new(4096 * (1 + draw.next() % 5000), 1 + draw.next() % 400),
            );
        }
        for at in 0..ENVIRONMENTS {
            let count = 20 + draw.next() as usize % 281;
            let mut parts: Vec<u32> = (0..count * 2).map(|_| draw.skewed(PARTS) as u32).collect();
            parts.sort_unstable();
            parts.dedup();
            parts.truncate(count);
            let own = Weight::new(40_960, 12);
            volume.environment(Environment {
                key: at.to_string(),
                own,
                parts,
                ..Environment::default()
            });
        }
        Drawn { catalog, requests }
    }
}

impl Source for Drawn {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        let mut draw = Draw(11);
        for at in 0..self.requests {
            let environment = draw.skewed(ENVIRONMENTS) as u32;
            let asked = Use {
                environment,
                ..Use::default()
            };
            each(&Event::Request(Request {
                at_us: at * 1000,
                uses: [Some(asked), None],
                wait_us: None,
                held_us: 0,
            }));
        }
        Ok(())
    }
}

/// Most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Seconds that processors worked for this process, in user code, in hundredths.
fn worked_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    fields.split(' ').nth(11).unwrap().parse::<f64>().unwrap() / 100.0
}

fn curves(criterion: &mut Criterion) {
    let million = Drawn::new(1_000_000);
    // What the processor worked is the figure on a machine that others use as well.
    let before = worked_s();
    black_box(curve(&million, Volume::Python).unwrap());
    println!("1M requests: {:.2} s of one processor", worked_s() - before);
    let mut group = criterion.benchmark_group("curve");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.bench_function("1M requests, 2000 environments", |bench| {
        bench.iter(|| black_box(curve(&million, Volume::Python).unwrap()));
    });
    group.finish();
    if std::env::var_os("HUGE").is_some() {
        let begun = Instant::now();
        let before = worked_s();
        let huge = curve(&Drawn::new(10_000_000), Volume::Python).unwrap();
        let (seconds, worked_s) = (begun.elapsed().as_secs_f64(), worked_s() - before);
        println!(
            "10M requests: {seconds:.1} s, {worked_s:.1} s of one processor, peak {} MiB, exact: {}",
            peak_mib(),
            huge.is_exact()
        );
        println!(
            "hit rate at half of everything: {:.4}",
            huge.hit_rate(Weight::new(huge.union.bytes / 2, u64::MAX))
        );
    }
}

criterion_group!(benches, curves);
criterion_main!(benches);
