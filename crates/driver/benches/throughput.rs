//! Thirty cached tasks at once against thirty bare interpreters at once, on the same program.
//!
//! How to run it: see `warm.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod figures;
mod machine;

use criterion::{Criterion, criterion_group, criterion_main};
use figures::{Figures, load};
use machine::Machine;
use tokio::runtime::Builder;

const AT_ONCE: usize = 30;
const TURNS: usize = 9;

fn throughput(_: &mut Criterion) {
    // What the service runs tasks on.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let Some(machine) = Machine::open("throughput", runtime) else {
        return;
    };
    let Some(scenario) = machine.warm("python-only") else {
        return;
    };
    let direct = machine.direct(&scenario.request);
    let (mut ours, mut bare, mut share) = (Figures::default(), Figures::default(), Figures::default());
    for turn in 0..TURNS {
        let (one, other) = if turn % 2 == 0 {
            let one = machine.cached_at_once(&scenario.request, AT_ONCE);
            (one, direct.run_at_once(AT_ONCE))
        } else {
            let other = direct.run_at_once(AT_ONCE);
            (machine.cached_at_once(&scenario.request, AT_ONCE), other)
        };
        ours.push(one.as_secs_f64() * 1e3);
        bare.push(other.as_secs_f64() * 1e3);
        share.push(other.as_secs_f64() / one.as_secs_f64());
    }
    println!(
        "throughput of {AT_ONCE} at once, ms until the last has ended, load {}",
        load()
    );
    println!("    driver             {ours}");
    println!("    direct             {bare}");
    println!("    direct / driver    {share}");
}

criterion_group!(benches, throughput);
criterion_main!(benches);
