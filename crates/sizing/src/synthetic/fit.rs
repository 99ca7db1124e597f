//! A profile that looks like a recorded trace, and its environments as patterns for new ones.

use std::collections::{HashMap, HashSet};

use super::{Maker, Profile, Template};
use crate::number::{Random, float, index, mix, share, whole};
use crate::stats::line;
use crate::trace::{Catalog, Event, Source, TraceError};
use crate::{Volume, detail};

/// Share of the parts that a variation has anew.
const NEW_PARTS: u64 = 3;
const OF_PARTS: u64 = 10;
const HOUR_US: u64 = 3_600_000_000;

/// What was found out about a trace.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// How it looks.
    pub profile: Profile,
    catalog: Catalog,
    /// Requests that ask for each pair of environments, as a pool to draw new programs from.
    pairs: Vec<[Option<u32>; 2]>,
}

/// What one pass over a trace counts.
#[derive(Default)]
struct Counts {
    requests: u64,
    uses: HashMap<[Option<u32>; 2], u64>,
    once_first_half: HashMap<[Option<u32>; 2], u64>,
    hours: [u64; 24],
    first_after_quarter: u64,
}

/// Finds a profile that gives traces like this one.
///
/// # Errors
/// The trace cannot be read, or has no requests.
pub fn fit(source: &dyn Source, seed: u64) -> Result<Fitted, TraceError> {
    let span_us = detail::span(source)?;
    let (first, last) = span_us;
    let days = detail::days(span_us);
    let mut counts = Counts::default();
    source.replay(&mut |event| {
        let Event::Request(request) = event else { return };
        let pair = request.uses.map(|asked| asked.map(|asked| asked.environment));
        let passed = share(request.at_us - first, (last - first).max(1));
        counts.requests += 1;
        counts.hours[index(request.at_us / HOUR_US % 24)] += 1;
        let uses = counts.uses.entry(pair).or_default();
        counts.first_after_quarter += u64::from(*uses == 0 && passed > 0.25);
        *uses += 1;
        if passed <= 0.5 {
            *counts.once_first_half.entry(pair).or_default() += 1;
        }
    })?;
    let mut ranked: Vec<([Option<u32>; 2], u64)> = counts.uses.iter().map(|(pair, uses)| (*pair, *uses)).collect();
    ranked.sort_unstable_by_key(|(pair, uses)| (std::cmp::Reverse(*uses), *pair));
    let few = ranked.iter().filter(|(_, uses)| *uses <= 2).map(|(_, uses)| uses).sum::<u64>();
    let busiest = counts.hours.iter().max().copied().unwrap_or(0);
    let quietest = counts.hours.iter().min().copied().unwrap_or(0);
    let profile = Profile {
        days: u32::try_from(whole(days.ceil())).unwrap_or(u32::MAX).clamp(1, 60),
        requests_per_day: float(counts.requests) / days,
        programs: ranked.iter().filter(|(_, uses)| *uses > 2).count().max(1),
        new_per_day: float(counts.first_after_quarter) / (0.75 * days).max(1.0 / 86_400.0) * (1.0 - share(few, counts.requests)),
        zipf: exponent(&ranked),
        drift_per_day: drift(&counts) / (days / 2.0).max(1.0),
        one_off: share(few, counts.requests),
        tenants: 1,
        night: share(busiest - quietest, busiest + quietest),
        seed,
    };
    Ok(Fitted {
        profile,
        catalog: source.catalog().clone(),
        pairs: ranked.into_iter().map(|(pair, _)| pair).collect(),
    })
}

/// The exponent of the Zipf law: the slope of uses over rank, both as logarithms, where there is more than noise.
fn exponent(ranked: &[([Option<u32>; 2], u64)]) -> f64 {
    let points: Vec<(f64, f64)> = ranked
        .iter()
        .enumerate()
        .filter(|(_, (_, uses))| *uses > 4)
        .map(|(at, (_, uses))| (float(at as u64 + 1).ln(), -float(*uses).ln()))
        .collect();
    // `line` never falls, so the points are turned over; the base is of no interest, so they are moved up.
    let lowest = points.iter().map(|(_, y)| *y).fold(0.0, f64::min);
    let moved: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, y - lowest + 1e3)).collect();
    line(&moved).1.clamp(0.0, 2.5)
}

/// Share of the tenth that is used most in the first half and no longer is in the second.
fn drift(counts: &Counts) -> f64 {
    let second = counts.uses.iter().map(|(pair, all)| {
        let first = counts.once_first_half.get(pair).copied().unwrap_or(0);
        (*pair, all - first)
    });
    let second: HashMap<_, _> = second.collect();
    let (one, other) = (top(&counts.once_first_half), top(&second));
    1.0 - share(one.intersection(&other).count() as u64, one.len().max(1) as u64)
}

fn top(uses: &HashMap<[Option<u32>; 2], u64>) -> HashSet<[Option<u32>; 2]> {
    let mut ranked: Vec<_> = uses.iter().collect();
    ranked.sort_unstable_by_key(|(pair, uses)| (std::cmp::Reverse(**uses), **pair));
    ranked.iter().take(uses.len().div_ceil(10)).map(|(pair, _)| **pair).collect()
}

impl Maker for Fitted {
    fn program(&self, random: &mut Random) -> [Option<u64>; 2] {
        let pair = self.pairs.get(random.below(self.pairs.len())).copied().unwrap_or_default();
        // The upper half tells variations of the same environment apart.
        let variation = random.next() << 32;
        pair.map(|environment| environment.map(|environment| variation | u64::from(environment)))
    }

    fn resolve(&self, volume: Volume, asked: u64, _day: f64) -> Template {
        let catalog = self.catalog.of(volume);
        let variation = asked >> 32;
        let at = index(asked & u64::from(u32::MAX));
        let Some(pattern) = catalog.environments().get(at) else {
            return Template::default();
        };
        let parts = pattern.parts.iter().map(|part| {
            let is_new = mix(variation ^ u64::from(*part)) % OF_PARTS < NEW_PARTS;
            let id = if is_new { format!("{part}+{variation:x}") } else { part.to_string() };
            (id, catalog.parts()[*part as usize])
        });
        Template {
            key: format!("{}+{variation:x}", pattern.key),
            label: pattern.label.clone(),
            own: pattern.own,
            parts: parts.collect(),
        }
    }
}
