//! How a volume fills: the size of new environments, how fast they arrive, and when the volume is full at that rate.
//!
//! An environment is new at its first request. It adds what no earlier environment had. The trace is divided into blocks of equal
//! time, and intervals come from resampling those blocks: bursts of new environments make them wide.

use std::collections::HashSet;

use serde::Serialize;

use crate::number::{float, index, whole};
pub use crate::stats::Interval;
use crate::stats::{central, resamples};
use crate::trace::{Event, Source, TraceError, Volume, VolumeCatalog};
use crate::weight::Weight;

const DAY_US: f64 = 86_400e6;
/// Number of blocks of time if the trace is long enough; blocks are days if there are at least this many.
const FEWEST_BLOCKS: u64 = 8;
/// Shortest trace, in days, that shows a rate: an hour.
pub(crate) const SHORTEST_DAYS: f64 = 1.0 / 24.0;

/// A number and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The observed value.
    pub value: f64,
    /// The interval; `None` if the trace is too short for one.
    pub interval: Option<Interval>,
}

/// How a volume fills.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pace {
    /// Days from the first request to the last.
    pub days: f64,
    /// Environments that were new while the trace was recorded.
    pub new_environments: u64,
    /// Bytes that each of them added on average; `None` if there are none.
    pub bytes_each: Option<Estimate>,
    /// Inodes that each of them added on average; `None` if there are none.
    pub inodes_each: Option<Estimate>,
    /// Bytes that were added each day; `None` if the trace is too short.
    pub bytes_per_day: Option<Estimate>,
    /// Inodes that were added each day; `None` if the trace is too short.
    pub inodes_per_day: Option<Estimate>,
}

/// Days until a volume is full at the observed rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Full {
    /// At the observed rate; `None` if nothing was added.
    pub days: Option<f64>,
    /// At the upper end of the rate's interval; `None` if that rate is 0, or without an interval.
    pub at_least_days: Option<f64>,
    /// At the lower end of the rate's interval; `None` means perhaps never.
    pub at_most_days: Option<f64>,
    /// True if the inodes run out before the bytes do.
    pub by_inodes: bool,
}

/// What was added in one block of time.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    new: u64,
    added: Weight,
}

impl Pace {
    /// Measures how one volume fills. Reads the trace twice.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn measure(source: &dyn Source, volume: Volume) -> Result<Pace, TraceError> {
        let mut ends: Option<(u64, u64)> = None;
        source.replay(&mut |event| {
            if let Event::Request(request) = event {
                let first = ends.map_or(request.at_us, |(first, _)| first);
                ends = Some((first, request.at_us));
            }
        })?;
        let (first_us, last_us) = ends.unwrap_or_default();
        let span_us = last_us.saturating_sub(first_us);
        let days = float(span_us) / DAY_US;
        let count = index(whole(days.floor())).max(index(FEWEST_BLOCKS));
        let mut blocks = vec![Block::default(); count];
        let mut seen = SeenParts::new(source.catalog().volume(volume));
        source.replay(&mut |event| match event {
            Event::Resident(of, environment) if *of == volume => drop(seen.add(*environment)),
            Event::Resident(..) => {}
            Event::Request(request) => {
                let Some(added) = request.on(volume).and_then(|asked| seen.add(asked.environment)) else {
                    return;
                };
                let place = float(request.at_us.saturating_sub(first_us)) / float(span_us.max(1)) * float(count as u64);
                let block = &mut blocks[index(whole(place.floor())).min(count - 1)];
                block.new += 1;
                block.added += added;
            }
        })?;
        Ok(Pace::from_blocks(&blocks, days))
    }

    fn from_blocks(blocks: &[Block], days: f64) -> Pace {
        let new_environments = blocks.iter().map(|block| block.new).sum();
        let is_long = days >= SHORTEST_DAYS;
        let each = |pick: fn(&Block) -> u64| {
            let mean = |blocks: &mut dyn Iterator<Item = &Block>| {
                let (sum, new) = blocks.fold((0u64, 0), |(sum, new), block| {
                    (sum.saturating_add(pick(block)), new + block.new)
                });
                (new > 0).then(|| float(sum) / float(new))
            };
            Some(Estimate {
                value: mean(&mut blocks.iter())?,
                interval: is_long
                    .then(|| resamples(blocks.len()).filter_map(|drawn| mean(&mut drawn.iter().map(|at| &blocks[*at]))))
                    .and_then(|values| central(values.collect())),
            })
        };
        let per_day = |pick: fn(&Block) -> u64| {
            let rate =
                |blocks: &mut dyn Iterator<Item = &Block>| blocks.map(|block| float(pick(block))).sum::<f64>() / days;
            is_long.then(|| Estimate {
                value: rate(&mut blocks.iter()),
                interval: central(
                    resamples(blocks.len())
                        .map(|drawn| rate(&mut drawn.iter().map(|at| &blocks[*at])))
                        .collect(),
                ),
            })
        };
        Pace {
            days,
            new_environments,
            bytes_each: each(|block| block.added.bytes),
            inodes_each: each(|block| block.added.inodes),
            bytes_per_day: per_day(|block| block.added.bytes),
            inodes_per_day: per_day(|block| block.added.inodes),
        }
    }

    /// When this much space is used up. Inodes of a file system that counts none never run out. `None` if the trace is too short.
    pub fn until_full(&self, room: Weight, counts_inodes: bool) -> Option<Full> {
        let full = |free: u64, rate: Estimate, by_inodes: bool| {
            let days = |rate: f64| (rate > 0.0).then(|| float(free) / rate);
            Full {
                days: days(rate.value),
                at_least_days: rate.interval.and_then(|interval| days(interval.high)),
                at_most_days: rate.interval.and_then(|interval| days(interval.low)),
                by_inodes,
            }
        };
        let bytes = full(room.bytes, self.bytes_per_day?, false);
        let inodes = full(room.inodes, self.inodes_per_day?, true);
        let sooner = |one: Full, other: Full| one.days.unwrap_or(f64::INFINITY) < other.days.unwrap_or(f64::INFINITY);
        Some(if counts_inodes && sooner(inodes, bytes) {
            inodes
        } else {
            bytes
        })
    }
}

/// The environments and parts that were used so far.
struct SeenParts<'a> {
    catalog: &'a VolumeCatalog,
    environments: HashSet<u32>,
    parts: HashSet<u32>,
}

impl<'a> SeenParts<'a> {
    fn new(catalog: &'a VolumeCatalog) -> SeenParts<'a> {
        SeenParts {
            catalog,
            environments: HashSet::new(),
            parts: HashSet::new(),
        }
    }

    /// What an environment adds; `None` if it was used before.
    fn add(&mut self, environment: u32) -> Option<Weight> {
        if !self.environments.insert(environment) {
            return None;
        }
        let of = self.catalog.environments().get(environment as usize)?;
        let new = of.parts.iter().filter(|part| self.parts.insert(**part));
        let parts = new.filter_map(|part| self.catalog.parts().get(*part as usize).copied());
        Some(parts.sum::<Weight>() + of.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Environment, Recorded, Request, Use};

    const MIB: u64 = 1 << 20;

    /// A trace with one new environment every `every_h` hours for `days` days: 1 MiB of its own and a shared part of 10 MiB.
    fn steady(days: u64, every_h: u64) -> Recorded {
        let mut recorded = Recorded::default();
        let python = recorded.catalog.volume_mut(Volume::Python);
        let shared = python.part("shared", Weight::new(10 * MIB, 100));
        let mut add = |number: u64| {
            python.environment(Environment {
                key: number.to_string(),
                label: String::new(),
                own: Weight::new(MIB, 10),
                parts: vec![shared],
            })
        };
        recorded.events.push(Event::Resident(Volume::Python, add(u64::MAX)));
        for hour in (0..=days * 24).step_by(index(every_h)) {
            let environment = add(hour);
            for minute in 0..3 {
                let asked = Use {
                    environment,
                    ..Use::default()
                };
                recorded.events.push(Event::Request(Request {
                    at_us: (hour * 60 + minute) * 60_000_000,
                    uses: [Some(asked), None],
                    wait_us: None,
                    held_us: 0,
                }));
            }
        }
        recorded
    }

    #[test]
    fn a_new_environment_adds_only_new_parts_and_the_rate_gives_the_date_when_the_volume_is_full() {
        let pace = Pace::measure(&steady(30, 6), Volume::Python).unwrap();
        assert_eq!(pace.new_environments, 121);
        // The shared part was there before the first request.
        assert_eq!(pace.bytes_each.unwrap().value, float(MIB));
        let rate = pace.bytes_per_day.unwrap();
        assert!((rate.value / float(4 * MIB) - 1.0).abs() < 0.02, "{rate:?}");
        let interval = rate.interval.unwrap();
        assert!(interval.low <= rate.value && rate.value <= interval.high, "{rate:?}");
        let full = pace.until_full(Weight::new(400 * MIB, 1 << 40), true).unwrap();
        assert!((full.days.unwrap() - 100.0).abs() < 2.0 && !full.by_inodes, "{full:?}");
        assert!(full.at_least_days.unwrap() <= full.days.unwrap() && full.days.unwrap() <= full.at_most_days.unwrap());
        // The trace adds 40 inodes a day.
        let full = pace.until_full(Weight::new(400 * MIB, 400), true).unwrap();
        assert!((full.days.unwrap() - 10.0).abs() < 0.5 && full.by_inodes, "{full:?}");
        assert!(!pace.until_full(Weight::new(400 * MIB, 0), false).unwrap().by_inodes);
    }

    #[test]
    fn a_burst_of_new_environments_makes_the_interval_wide() {
        let mut bursty = steady(30, 720);
        let mut steady = steady(30, 6);
        let python = bursty.catalog.volume_mut(Volume::Python);
        for number in 0..120 {
            let environment = python.environment(Environment {
                key: format!("burst-{number}"),
                own: Weight::new(MIB, 10),
                ..Environment::default()
            });
            let asked = Use {
                environment,
                ..Use::default()
            };
            bursty.events.insert(
                4,
                Event::Request(Request {
                    at_us: 3 * 3_600_000_000,
                    uses: [Some(asked), None],
                    wait_us: None,
                    held_us: 0,
                }),
            );
        }
        let width = |recorded: &mut Recorded| {
            let rate = Pace::measure(recorded, Volume::Python).unwrap().bytes_per_day.unwrap();
            let interval = rate.interval.unwrap();
            (interval.high - interval.low) / rate.value
        };
        let (wide, narrow) = (width(&mut bursty), width(&mut steady));
        assert!(wide > 5.0 * narrow, "{wide} {narrow}");
    }

    #[test]
    fn a_trace_of_minutes_or_without_misses_gives_no_growth() {
        let mut short = steady(1, 24);
        short.events.truncate(4);
        let pace = Pace::measure(&short, Volume::Python).unwrap();
        assert!(pace.bytes_per_day.is_none() && pace.until_full(Weight::new(1, 1), true).is_none());
        assert!(pace.bytes_each.is_some());
        let pace = Pace::measure(&steady(3, 6), Volume::System).unwrap();
        assert_eq!((pace.new_environments, pace.bytes_each), (0, None));
        let full = pace.until_full(Weight::new(1, 1), true).unwrap();
        assert_eq!((full.days, full.at_least_days, full.at_most_days), (None, None, None));
        assert_eq!(Pace::measure(&Recorded::default(), Volume::Python).unwrap().days, 0.0);
    }
}
