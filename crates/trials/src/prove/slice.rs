//! The part of a trace that is replayed, made smaller.

use std::collections::HashMap;

use hybrid_cache_sizing::{Event, Source, Volume, Weight};

use crate::error::TrialError;

/// Requests of a trace that are looked at for a slice: more do not fit memory for sure.
const MOST_LOOKED_AT: usize = 2_000_000;
/// What a stand-in takes at least: of a wheel its folders, metadata, one module and its bytecode.
pub fn least(volume: Volume) -> Weight {
    match volume {
        Volume::Python => Weight::new(10 * 4096, 10),
        Volume::System => Weight::new(2 * 4096, 2),
    }
}

/// How much is replayed at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Distinct environments.
    pub environments: usize,
    /// Requests.
    pub requests: usize,
    /// Bytes of all environments together.
    pub bytes: u64,
}

/// A request of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// For which environment of the slice.
    pub environment: u32,
    /// True if it is resolved again because of its age.
    pub is_due: bool,
}

/// An environment of the slice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// Its place in the slice.
    pub number: u32,
    /// Its tenant: two environments of the same parts belong to different ones.
    pub tenant: u32,
    /// Its parts.
    pub parts: Vec<u32>,
}

/// Requests of one volume, one behind the other.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The requests.
    pub requests: Vec<Asked>,
    /// The environments that they ask for.
    pub environments: Vec<Made>,
    /// What each part is to take, already made smaller. Parts that always occur together are one.
    pub parts: Vec<Weight>,
    /// The factor by which parts were made smaller.
    pub scale: f64,
}

impl Slice {
    /// The busiest stretch of the trace that keeps within the bounds. `None` if nothing was asked of the volume.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn cut(source: &dyn Source, volume: Volume, bounds: &Bounds) -> Result<Option<Slice>, TrialError> {
        let mut all: Vec<Asked> = Vec::new();
        source
            .replay(&mut |event| {
                let Event::Request(request) = event else { return };
                if let Some(on) = request.on(volume).filter(|_| all.len() < MOST_LOOKED_AT) {
                    all.push(Asked {
                        at_us: request.at_us,
                        environment: on.environment,
                        // Sets of system packages do not age.
                        is_due: on.is_due && volume == Volume::Python,
                    });
                }
            })
            .map_err(|error| TrialError::Other(error.to_string()))?;
        let (begin, end) = busiest(&all, bounds);
        if begin == end {
            return Ok(None);
        }
        Ok(Some(Slice::from_requests(
            source,
            volume,
            &all[begin..end],
            bounds.bytes,
        )))
    }

    fn from_requests(source: &dyn Source, volume: Volume, asked: &[Asked], most_bytes: u64) -> Slice {
        let catalog = source.catalog().volume(volume);
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut kept = Vec::new();
        let mut requests = Vec::with_capacity(asked.len());
        for one in asked {
            let next = narrow(kept.len());
            let is_first = !numbers.contains_key(&one.environment);
            let number = *numbers.entry(one.environment).or_insert(next);
            if is_first {
                kept.push(one.environment);
            }
            requests.push(Asked {
                environment: number,
                // What the slice has not seen before is a first request, whatever its age.
                is_due: one.is_due && !is_first,
                ..*one
            });
        }
        // One without parts still is something of its own.
        let mut users: HashMap<Part, Vec<u32>> = HashMap::new();
        for (number, environment) in (0..).zip(&kept) {
            let found = &catalog.environments()[*environment as usize];
            let parts = found.parts.iter().map(|part| Part::Shared(*part));
            let alone = found.parts.is_empty().then_some(Part::Own(*environment));
            for part in parts.chain(alone) {
                users.entry(part).or_default().push(number);
            }
        }
        let weight = |part: &Part| match part {
            Part::Shared(part) => catalog.parts()[*part as usize],
            Part::Own(environment) => catalog.weight(*environment),
        };
        let mut groups: HashMap<Vec<u32>, Weight> = HashMap::new();
        for (part, used_by) in users {
            *groups.entry(used_by).or_default() += weight(&part);
        }
        let mut groups: Vec<(Vec<u32>, Weight)> = groups.into_iter().collect();
        groups.sort_by(|one, other| one.0.cmp(&other.0));
        let union: u64 = groups.iter().map(|(_, weight)| weight.bytes).sum();
        let scale = (most_bytes as f64 / union.max(1) as f64).min(1.0);
        let mut environments = vec![Vec::new(); kept.len()];
        for (number, (used_by, _)) in (0..).zip(&groups) {
            used_by
                .iter()
                .for_each(|environment| environments[*environment as usize].push(number));
        }
        Slice {
            requests,
            environments: with_tenants(environments),
            parts: groups
                .iter()
                .map(|(_, weight)| scaled(*weight, scale).max(least(volume)))
                .collect(),
            scale,
        }
    }

    /// What all parts together are to take.
    pub fn union(&self) -> Weight {
        self.parts.iter().copied().sum()
    }
}

/// No slice has so many environments that their number is cut.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Something that environments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Shared(u32),
    Own(u32),
}

/// So many times as much, rounded.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, which is what is wanted"
)]
pub fn times(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).round() as u64
}

fn scaled(weight: Weight, scale: f64) -> Weight {
    let times = |value: u64| times(value, scale);
    Weight::new(times(weight.bytes).next_multiple_of(4096), times(weight.inodes))
}

/// Environments of the same parts would be one, so each of them gets a tenant of its own.
fn with_tenants(environments: Vec<Vec<u32>>) -> Vec<Made> {
    let mut seen: HashMap<Vec<u32>, u32> = HashMap::new();
    (0..)
        .zip(environments)
        .map(|(number, parts)| {
            let count = seen.entry(parts.clone()).or_default();
            *count += 1;
            Made {
                number,
                tenant: *count - 1,
                parts,
            }
        })
        .collect()
}

/// The stretch with the most requests within the bounds: its beginning and its end.
fn busiest(all: &[Asked], bounds: &Bounds) -> (usize, usize) {
    let mut inside: HashMap<u32, usize> = HashMap::new();
    let (mut begin, mut best) = (0, (0, 0));
    for (at, asked) in all.iter().enumerate() {
        *inside.entry(asked.environment).or_default() += 1;
        while inside.len() > bounds.environments.max(1) || at + 1 - begin > bounds.requests.max(1) {
            let gone = all[begin].environment;
            if let Some(count) = inside.get_mut(&gone) {
                *count -= 1;
                if *count == 0 {
                    inside.remove(&gone);
                }
            }
            begin += 1;
        }
        if at + 1 - begin > best.1 - best.0 {
            best = (begin, at + 1);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use hybrid_cache_sizing::synthetic::{generate, preset};

    use super::*;

    fn bounds(environments: usize, requests: usize) -> Bounds {
        Bounds {
            environments,
            requests,
            bytes: 300 << 20,
        }
    }

    #[test]
    fn the_busiest_stretch_is_within_its_bounds() {
        let asked = |numbers: &[u32]| -> Vec<Asked> {
            let asked = |(at, environment): (usize, &u32)| Asked {
                at_us: at as u64,
                environment: *environment,
                is_due: false,
            };
            numbers.iter().enumerate().map(asked).collect()
        };
        let all = asked(&[1, 2, 3, 2, 3, 3, 4, 1, 4]);
        assert_eq!(busiest(&all, &bounds(2, 100)), (1, 6));
        assert_eq!(busiest(&all, &bounds(2, 3)), (1, 4));
        assert_eq!(busiest(&all, &bounds(9, 100)), (0, 9));
        assert_eq!(busiest(&[], &bounds(9, 100)), (0, 0));
    }

    #[test]
    fn a_slice_keeps_who_shares_what_and_is_as_small_as_wanted() {
        let trace = generate(&preset("team").unwrap());
        let slice = Slice::cut(&trace, Volume::Python, &bounds(12, 200)).unwrap().unwrap();
        assert!(slice.requests.len() <= 200 && slice.environments.len() <= 12);
        assert!(slice.requests.len() > 40, "{}", slice.requests.len());
        let union = slice.union().bytes;
        assert!(slice.scale < 1.0 && union < 320 << 20, "{union} {}", slice.scale);
        let different: std::collections::HashSet<&Made> = slice.environments.iter().collect();
        assert_eq!(different.len(), slice.environments.len());
        // Parts that the same environments have are one.
        let mut users = vec![Vec::new(); slice.parts.len()];
        for (number, made) in slice.environments.iter().enumerate() {
            assert!(!made.parts.is_empty());
            made.parts.iter().for_each(|part| users[*part as usize].push(number));
        }
        let distinct: std::collections::HashSet<&Vec<usize>> = users.iter().collect();
        assert_eq!(distinct.len(), users.len());
    }
}
