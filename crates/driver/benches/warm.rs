//! What a cached run costs beside the user's own code, through the whole local driver with its sandbox.
//!
//! `cargo xtask test none` once, for the tools and the runner, then `cargo bench --package hybrid-cache-driver`.
//! `added` is the client's wall time minus the user's program; the phases say where it went. Python-only is also run in
//! turns with the bare interpreter.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod figures;
mod machine;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use figures::{Figures, load};
use hybrid_cache_model::Phase;
use machine::{Machine, Ran};
use tokio::runtime::Builder;

/// Runs of each scenario that the figures are taken from.
const TURNS: usize = 41;
/// The phases of a cached run; the last two are the user's.
const PHASES: [Phase; 7] = [
    Phase::Submit,
    Phase::Sandbox,
    Phase::Lookup,
    Phase::Lease,
    Phase::Start,
    Phase::UserCode,
    Phase::Drain,
];

fn added(ran: &Ran) -> Duration {
    let user_code = Duration::from_micros(ran.outcome.timeline.phase_us(Phase::UserCode));
    ran.wall.saturating_sub(user_code)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Runs the scenarios in turns, and prints the figures of each.
fn tell(machine: &Machine, names: &[&str]) {
    let scenarios: Vec<_> = names.iter().filter_map(|name| machine.warm(name)).collect();
    let mut reported = vec![(Figures::default(), vec![Figures::default(); PHASES.len()]); scenarios.len()];
    for _ in 0..TURNS {
        for (scenario, (whole, phases)) in scenarios.iter().zip(&mut reported) {
            let ran = machine.cached(&scenario.request);
            whole.push(ms(added(&ran)));
            for (phase, figures) in PHASES.iter().zip(phases) {
                figures.push(ms(Duration::from_micros(ran.outcome.timeline.phase_us(*phase))));
            }
        }
    }
    for (scenario, (whole, phases)) in scenarios.iter().zip(&reported) {
        println!("cached/{}/added, ms: {whole}, load {}", scenario.name, load());
        for (phase, figures) in PHASES.iter().zip(phases) {
            println!("    {:<18} {figures}", phase.label());
        }
    }
}

/// Python-only in turns with the bare interpreter on the same program.
fn tell_beside_direct(machine: &Machine) {
    let Some(scenario) = machine.warm("python-only") else {
        return;
    };
    let direct = machine.direct(&scenario.request);
    let (mut ours, mut bare, mut difference) = (Figures::default(), Figures::default(), Figures::default());
    for turn in 0..TURNS {
        // The one that goes first may profit or suffer from what was before.
        let (one, other) = if turn % 2 == 0 {
            let one = ms(machine.cached(&scenario.request).wall);
            (one, ms(direct.run()))
        } else {
            let other = ms(direct.run());
            (ms(machine.cached(&scenario.request).wall), other)
        };
        ours.push(one);
        bare.push(other);
        difference.push(one - other);
    }
    println!("cached/python-only beside the bare interpreter, ms, load {}", load());
    println!("    driver             {ours}");
    println!("    direct             {bare}");
    println!("    difference         {difference}");
    println!("    ratio of medians   {:.3}", ours.median() / bare.median());
}

fn warm(criterion: &mut Criterion) {
    // What `cargo xtask` runs tasks on.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let Some(machine) = Machine::open("cached runs", runtime) else {
        return;
    };
    tell(&machine, &["python-only", "system-only", "hybrid"]);
    tell_beside_direct(&machine);
    let Some(scenario) = machine.warm("system-only") else {
        return;
    };
    let mut group = criterion.benchmark_group("cached/system-only");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("added", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| added(&machine.cached(&scenario.request))).sum());
    });
    group.finish();
}

criterion_group!(benches, warm);
criterion_main!(benches);
