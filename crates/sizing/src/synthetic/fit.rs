//! Fits a profile to a recorded trace, and uses its environments as patterns for new ones.

use std::collections::{HashMap, HashSet};

use super::maker::{Maker, Template};
use super::profile::Profile;
use crate::number::{Random, float, index, mix, share, whole};
use crate::stats::line;
use crate::trace::{Catalog, Event, Source, TraceError};
use crate::{Volume, detail};

/// New parts of a variation: `NEW_PARTS` of every `OF_PARTS`.
const NEW_PARTS: u64 = 3;
const OF_PARTS: u64 = 10;
const HOUR_US: u64 = 3_600_000_000;

/// The result of fitting a trace.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Profile of the trace.
    pub profile: Profile,
    catalog: Catalog,
    /// Pairs of environments of all requests, a pool from which new programs are drawn.
    pairs: Vec<[Option<u32>; 2]>,
}

/// Identifies a program: its requests on both volumes.
type Key = [Option<u64>; 2];

/// What one pass over a trace counts.
#[derive(Default)]
struct Counts {
    requests: u64,
    programs: HashMap<Key, ProgramHistory>,
    hours: [u64; 24],
}

/// The history of a program.
#[derive(Clone, Copy, Default)]
struct ProgramHistory {
    uses: u64,
    uses_in_first_half: u64,
    first_us: u64,
    last_us: u64,
    environments: [Option<u32>; 2],
}

impl ProgramHistory {
    /// True for a program whose uses lie within a day, and that was not used again for at least a day.
    fn is_one_off(&self, end_us: u64) -> bool {
        self.last_us - self.first_us < 24 * HOUR_US && self.last_us + 24 * HOUR_US < end_us
    }
}

/// Fits a profile that generates traces like this one.
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
        counts.requests += 1;
        counts.hours[index(request.at_us / HOUR_US % 24)] += 1;
        let key = request.uses.map(|asked| asked.map(|asked| asked.request));
        let seen = counts.programs.entry(key).or_default();
        if seen.uses == 0 {
            seen.first_us = request.at_us;
        }
        seen.uses += 1;
        seen.uses_in_first_half += u64::from(request.at_us - first <= (last - first) / 2);
        seen.last_us = request.at_us;
        seen.environments = request.uses.map(|asked| asked.map(|asked| asked.environment));
    })?;
    let mut ranked: Vec<(Key, ProgramHistory)> = counts.programs.iter().map(|(key, seen)| (*key, *seen)).collect();
    ranked.sort_unstable_by_key(|(key, seen)| (std::cmp::Reverse(seen.uses), *key));
    let once: u64 = ranked
        .iter()
        .filter(|(_, seen)| seen.is_one_off(last))
        .map(|(_, seen)| seen.uses)
        .sum();
    let lasting: Vec<(Key, ProgramHistory)> = ranked
        .iter()
        .filter(|(_, seen)| !seen.is_one_off(last))
        .copied()
        .collect();
    let quarter_us = first + (last - first) / 4;
    let early = lasting.iter().filter(|(_, seen)| seen.first_us <= quarter_us).count();
    let busiest = counts.hours.iter().max().copied().unwrap_or(0);
    let quietest = counts.hours.iter().min().copied().unwrap_or(0);
    let profile = Profile {
        days: u32::try_from(whole(days.ceil())).unwrap_or(u32::MAX).clamp(1, 60),
        requests_per_day: float(counts.requests) / days,
        programs: early.max(1),
        new_per_day: float((lasting.len() - early) as u64) / (0.75 * days),
        zipf: exponent(&lasting),
        drift_per_day: drift(&lasting) / (days / 2.0).max(1.0),
        one_off: share(once, counts.requests),
        // Each environment already belongs to a tenant.
        tenants: 1,
        night: share(busiest - quietest, busiest + quietest),
        seed,
    };
    Ok(Fitted {
        profile,
        catalog: source.catalog().clone(),
        pairs: ranked.into_iter().map(|(_, seen)| seen.environments).collect(),
    })
}

/// The exponent of the Zipf law: the slope of uses over rank, both as logarithms, at ranks that double. With all ranks, the rarely
/// used ones would have the most weight, although they have few uses and depend on chance.
fn exponent(ranked: &[(Key, ProgramHistory)]) -> f64 {
    let ranks = std::iter::successors(Some(1usize), |rank| Some(rank * 2)).take_while(|rank| *rank <= ranked.len());
    let points: Vec<(f64, f64)> = ranks
        .map(|rank| (float(rank as u64).ln(), -float(ranked[rank - 1].1.uses).ln()))
        .collect();
    // `line` never begins below zero, so the points are moved up.
    let lowest = points.iter().map(|(_, y)| *y).fold(0.0, f64::min);
    let moved: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, y - lowest + 1e3)).collect();
    line(&moved).1.clamp(0.0, 2.5)
}

/// Share of the most used tenth of the first half that is no longer in the most used tenth of the second.
fn drift(ranked: &[(Key, ProgramHistory)]) -> f64 {
    let top = |uses: fn(&ProgramHistory) -> u64| -> HashSet<Key> {
        let mut by_uses: Vec<(u64, Key)> = ranked.iter().map(|(key, seen)| (uses(seen), *key)).collect();
        by_uses.sort_unstable_by_key(|(uses, key)| (std::cmp::Reverse(*uses), *key));
        by_uses
            .iter()
            .take(ranked.len().div_ceil(10))
            .map(|(_, key)| *key)
            .collect()
    };
    let (one, other) = (
        top(|seen| seen.uses_in_first_half),
        top(|seen| seen.uses - seen.uses_in_first_half),
    );
    1.0 - share(one.intersection(&other).count() as u64, one.len().max(1) as u64)
}

impl Maker for Fitted {
    fn program(&self, random: &mut Random) -> [Option<u64>; 2] {
        let pair = self
            .pairs
            .get(random.below(self.pairs.len()))
            .copied()
            .unwrap_or_default();
        // The upper half distinguishes variations of the same environment.
        let variation = random.next() << 32;
        pair.map(|environment| environment.map(|environment| variation | u64::from(environment)))
    }

    fn resolve(&self, volume: Volume, asked: u64, _day: f64) -> Template {
        let catalog = self.catalog.volume(volume);
        let variation = asked >> 32;
        let at = index(asked & u64::from(u32::MAX));
        let Some(pattern) = catalog.environments().get(at) else {
            return Template::default();
        };
        let parts = pattern.parts.iter().map(|part| {
            let is_new = mix(variation ^ u64::from(*part)) % OF_PARTS < NEW_PARTS;
            let id = if is_new {
                format!("{part}+{variation:x}")
            } else {
                part.to_string()
            };
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
