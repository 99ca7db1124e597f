//! What else the machine did during a run: a line for every form of the report, and whether it was too much.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::host_noise::HostNoise;
use hybrid_cache_model::sample::{RunRecord, Sample};

use crate::stats::as_f64;
use crate::units;

/// Share of a cached sample's time from which waiting counts as high. A cached run is a chain of processes that hardly wait for each
/// other, so most of this is other work. First runs unpack and compile in parallel and wait for themselves.
const CPU_LIMIT: f64 = 0.25;
const IO_LIMIT: f64 = 0.10;
const MEMORY_LIMIT: f64 = 0.05;
/// The same for threads of the measuring process, on a kernel without pressure.
const RUN_DELAY_LIMIT: f64 = 0.10;
/// Share of cached samples with a high value from which a run counts as disturbed.
const DISTURBED_SHARE: f64 = 0.10;

/// A share of a sample's time, by a counter of the kernel.
struct Counter {
    /// The name in a line.
    name: &'static str,
    /// What happens, in a sentence about samples.
    what: &'static str,
    of: fn(&HostNoise) -> Option<u64>,
    /// Share from which it is high; `None` if that is not judged.
    limit: Option<f64>,
}

const COUNTERS: [Counter; 5] = [
    Counter {
        name: "CPU pressure",
        what: "programs waited for a processor",
        of: |noise| noise.cpu_some_us,
        limit: Some(CPU_LIMIT),
    },
    Counter {
        name: "I/O pressure",
        what: "programs waited for the disk",
        of: |noise| noise.io_some_us,
        limit: None,
    },
    Counter {
        name: "all stopped for I/O",
        what: "everything waited for the disk",
        of: |noise| noise.io_full_us,
        limit: Some(IO_LIMIT),
    },
    Counter {
        name: "memory pressure",
        what: "programs waited for memory",
        of: |noise| noise.memory_some_us,
        limit: Some(MEMORY_LIMIT),
    },
    Counter {
        name: "run-queue delay of the bench",
        what: "the measuring process waited for a processor",
        of: |noise| noise.run_delay_us,
        limit: None,
    },
];

/// The counter that stands in for pressure on a kernel without it.
const INSTEAD_OF_PRESSURE: Counter = Counter {
    limit: Some(RUN_DELAY_LIMIT),
    ..COUNTERS[4]
};

/// A counter's share of the time of one sample; `None` if the kernel does not have it.
fn share(noise: &HostNoise, counter: &Counter) -> Option<f64> {
    let us = (counter.of)(noise)?;
    // The kernel rounds, so a share may be a little above 1.
    (noise.window_us > 0).then(|| (as_f64(us) / as_f64(noise.window_us)).min(1.0))
}

/// The counters of all samples, with the samples' time as weights: the share of the whole time, and the largest of a sample.
fn whole(noises: &[&HostNoise], counter: &Counter) -> Option<(f64, f64)> {
    let known: Vec<(u64, f64)> = noises
        .iter()
        .filter_map(|noise| Some((noise.window_us, share(noise, counter)?)))
        .collect();
    weighted(&known)
}

/// The mean with these weights, and the largest value; `None` without weight.
fn weighted(values: &[(u64, f64)]) -> Option<(f64, f64)> {
    let total: f64 = values.iter().map(|(us, _)| as_f64(*us)).sum();
    let sum: f64 = values.iter().map(|(us, share)| as_f64(*us) * share).sum();
    let most = values.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    (total > 0.0).then(|| (sum / total, most))
}

/// Samples that tell other work from ours: cached ones, because first runs wait for themselves; all if there are none.
fn telling(record: &RunRecord) -> (&'static str, Vec<&Sample>) {
    let cached = |sample: &&Sample| sample.temperature == Temperature::Cached;
    let samples: Vec<&Sample> = record.samples.iter().filter(cached).collect();
    match samples.is_empty() {
        true => ("samples", record.samples.iter().collect()),
        false => ("cached samples", samples),
    }
}

/// The line without its name, such as `CPU pressure 12.0 % of the time of cached samples (up to 61.0 %), …`; `None` for a run without
/// samples.
pub(crate) fn line(record: &RunRecord) -> Option<String> {
    let (which, samples) = telling(record);
    if samples.is_empty() {
        return None;
    }
    let noises: Vec<&HostNoise> = samples.iter().filter_map(|sample| sample.noise.as_ref()).collect();
    let steal = |sample: &&Sample| Some((sample.wall_us, sample.steal?));
    let steal = weighted(&samples.iter().filter_map(steal).collect::<Vec<_>>());
    let shares = COUNTERS.iter().map(|counter| (counter.name, whole(&noises, counter)));
    let mut parts: Vec<String> = Vec::new();
    let mut absent = Vec::new();
    for (name, value) in shares.chain([("steal", steal)]) {
        match value {
            Some((mean, most)) if parts.is_empty() => parts.push(format!(
                "{name} {} of the time of {which} (up to {})",
                units::share(mean),
                units::share(most)
            )),
            Some((mean, _)) => parts.push(format!("{name} {}", units::share(mean))),
            None => absent.push(name),
        }
    }
    match noises
        .iter()
        .filter_map(|noise| noise.throttled)
        .reduce(u64::saturating_add)
    {
        Some(0) => parts.push("no throttling".to_owned()),
        Some(times) => parts.push(format!("throttled {times}×")),
        None => absent.push("throttling"),
    }
    match frequencies(&noises) {
        Some((slowest, fastest)) => parts.push(format!("{slowest:.2} to {fastest:.2} GHz")),
        None => absent.push("frequency"),
    }
    if noises.is_empty() {
        // A record from before: nobody looked, so nothing can be said about its kernel.
        parts.push("nothing else was recorded".to_owned());
    } else if !absent.is_empty() {
        parts.push(format!("not reported by this kernel: {}", absent.join(", ")));
    }
    Some(parts.join(", "))
}

/// The lowest and the highest frequency, in GHz.
fn frequencies(noises: &[&HostNoise]) -> Option<(f64, f64)> {
    let slowest = noises.iter().filter_map(|noise| noise.slowest_khz).min()?;
    let fastest = noises.iter().filter_map(|noise| noise.fastest_khz).max()?;
    Some((as_f64(slowest) / 1e6, as_f64(fastest) / 1e6))
}

/// What is shown with one sample: `CPU pressure 12.0 %, steal 0.3 %`; empty if nothing is known.
pub(crate) fn of_sample(sample: &Sample) -> String {
    let known = sample.noise.iter().flat_map(|noise| {
        let shares = COUNTERS.iter().map(|counter| (counter.name, share(noise, counter)));
        shares.filter_map(|(name, share)| Some(format!("{name} {}", units::share(share?))))
    });
    let steal = sample.steal.map(|steal| format!("steal {}", units::share(steal)));
    let throttled = sample.noise.as_ref().and_then(|noise| noise.throttled);
    let throttled = throttled
        .filter(|times| *times > 0)
        .map(|times| format!("throttled {times}×"));
    known.chain(steal).chain(throttled).collect::<Vec<_>>().join(", ")
}

/// What disturbed a run, in a phrase; `None` if nothing did, or if nobody looked.
pub(crate) fn disturbed(record: &RunRecord) -> Option<String> {
    let cached: Vec<&HostNoise> = record
        .samples
        .iter()
        .filter(|sample| sample.temperature == Temperature::Cached)
        .filter_map(|sample| sample.noise.as_ref())
        .collect();
    let without_pressure = cached.iter().all(|noise| noise.cpu_some_us.is_none());
    let fallback = without_pressure.then_some(&INSTEAD_OF_PRESSURE);
    let high = |counter: &Counter| {
        let limit = counter.limit?;
        let shares: Vec<f64> = cached.iter().filter_map(|noise| share(noise, counter)).collect();
        let above = shares.iter().filter(|share| **share > limit).count();
        if above == 0 || as_f64(above as u64) < DISTURBED_SHARE * as_f64(cached.len() as u64) {
            return None;
        }
        let most = shares.iter().copied().fold(0.0, f64::max);
        Some(format!(
            "{} for more than {} of the time during {above} of {} cached samples (up to {})",
            counter.what,
            units::share(limit),
            cached.len(),
            units::share(most)
        ))
    };
    let mut causes: Vec<String> = COUNTERS.iter().chain(fallback).filter_map(high).collect();
    let all = record.samples.iter().filter_map(|sample| sample.noise.as_ref());
    let throttled = all
        .filter(|noise| noise.throttled.is_some_and(|times| times > 0))
        .count();
    if throttled > 0 {
        causes.push(format!(
            "processors were slowed down by heat during {throttled} of {} samples",
            record.samples.len()
        ));
    }
    (!causes.is_empty()).then(|| causes.join("; "))
}
