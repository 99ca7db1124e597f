//! Computes the size of one volume: candidates, the smallest that is enough, and details of its neighbours.

use super::growth::Growth;
use super::recommendation::{Advice, Alternative, Decided, Holder, Less, Point, Targets, Waits};
use crate::claim::{FileSystem, GIB, Needs, default_budget, neighbours};
use crate::curve::{Curve, curve};
use crate::delayed::{self, Delayed};
use crate::detail::{AtSize, Detail, detail, per_day};
use crate::latency::Latency;
use crate::number::{float, share, whole};
use crate::stats::{Durations, Interval, central, resamples};
use crate::trace::{Source, TraceError, Volume};
use crate::weight::Weight;

/// Number of sizes on a curve.
const SIZES: u64 = 64;
/// Maximum number of environments that are named.
const HOLDERS: usize = 6;
/// Largest difference from the best hit rate at which a size counts as the best.
const NEARLY_BEST: f64 = 0.001;
/// Smallest reduction, in bytes, that says something about the size.
const LEAST_STEP: u64 = 16 << 20;
/// Smallest number of requests in the trace that gives an interval.
const FEWEST_REQUESTS: u64 = 100;

/// The advice for one volume; `None` if no request uses the volume.
pub(super) fn advise(
    source: &dyn Source,
    volume: Volume,
    targets: &Targets,
    latency: &Latency,
) -> Result<Option<Advice>, TraceError> {
    let curve = curve(source, volume)?;
    if curve.requests == 0 {
        return Ok(None);
    }
    let settled = settle(source, volume, targets, latency, &curve)?;
    let chosen = settled.bytes;
    let claim = settled.needs.claim(held(chosen, targets.file_system, &curve));
    let kept_on = |gib| kept_bytes(gib, targets.file_system, settled.needs.rest);
    let claimed = kept_on(claim.gib);
    let on_claim = |gib: Option<u64>| gib.map(|gib| (gib, kept_on(gib)));
    let (smaller, larger) = neighbours(claim.gib);
    let (smaller, larger) = (on_claim(smaller), on_claim(larger));
    let largest = least_bytes(curve.largest, targets.file_system);
    let everything = least_bytes(curve.union, targets.file_system).max(chosen);
    let less = chosen.saturating_sub(GIB).max(largest.min(chosen));
    let mut sizes = settled.grid;
    sizes.extend([less, chosen, claimed]);
    sizes.extend(smaller.iter().chain(&larger).map(|(_, bytes)| *bytes));
    sizes.sort_unstable();
    sizes.dedup();
    let place = |bytes: u64| sizes.binary_search(&bytes).unwrap_or_default();
    let between = (place(less), place(chosen));
    let close = look(source, volume, &mut sizes.clone(), between, targets, latency)?;
    let budgets: Vec<Weight> = close.sizes.iter().map(|size| size.budget).collect();
    let around = Around {
        curve: &curve,
        close: &close,
        delayed: delayed::delayed(source, volume, &budgets)?,
        file_system: targets.file_system,
    };
    let (at, on_claim) = (around.point(chosen), around.point(claimed));
    let has_interval = curve.requests >= FEWEST_REQUESTS;
    Ok(Some(Advice {
        volume,
        requests: curve.requests,
        first: curve.first,
        due: curve.due,
        environments: source.catalog().volume(volume).environments().len(),
        largest: curve.largest,
        union: curve.union,
        rest: settled.needs.rest,
        is_reached: settled.decided_by != Decided::Best,
        decided_by: settled.decided_by,
        best_hit_rate: curve.best_hit_rate(),
        hit_interval: has_interval.then_some(Interval {
            low: on_claim.hit_low,
            high: on_claim.hit_high,
        }),
        budget_interval: budget_interval(&close, targets.hit, everything)
            .filter(|_| has_interval && settled.decided_by != Decided::Best),
        fetched_bytes_per_day: around.fetched_per_day(claimed),
        less: around.cost(less, chosen),
        alone: alone(&curve, targets.hit),
        is_for_inodes: alone(&curve, targets.hit)
            .is_some_and(|alone| alone.inodes.saturating_mul(inode_bytes(targets.file_system)) > alone.bytes),
        held_up_by: holders(source, volume, &close),
        smaller: smaller.map(|(gib, bytes)| around.alternative(gib, bytes)),
        larger: larger.map(|(gib, bytes)| around.alternative(gib, bytes)),
        curve: around.points(everything),
        is_exact: curve.is_exact(),
        at,
        on_claim,
        claim,
        growth: settled.growth,
    }))
}

/// The bytes and the inodes that reach the hit rate, each without a limit of the other.
fn alone(curve: &Curve, hit: f64) -> Option<Weight> {
    Some(Weight::new(curve.smallest(hit, 0)?, curve.fewest_inodes(hit)?))
}

/// Usage of environments with this budget in bytes: on ext4 with the inodes that belong to it, on XFS with those that the
/// environments have.
fn held(bytes: u64, file_system: FileSystem, curve: &Curve) -> Weight {
    match file_system {
        FileSystem::Ext4 => budget(bytes, file_system),
        FileSystem::Xfs => Weight::new(
            bytes,
            whole(float(bytes) * share(curve.union.inodes, curve.union.bytes)),
        ),
    }
}

/// Bytes of a claim that environments may use under the default budget.
fn kept_bytes(gib: u64, file_system: FileSystem, rest: Weight) -> u64 {
    default_budget(file_system.room_of(gib * GIB))
        .saturating_sub(rest)
        .bytes
}

/// The chosen size, and what its claim needs in addition.
struct Settled {
    decided_by: Decided,
    bytes: u64,
    growth: Growth,
    needs: Needs,
    grid: Vec<u64>,
}

/// Examines sizes across the whole range, and chooses one.
fn settle(
    source: &dyn Source,
    volume: Volume,
    targets: &Targets,
    latency: &Latency,
    curve: &Curve,
) -> Result<Settled, TraceError> {
    let file_system = targets.file_system;
    let largest = least_bytes(curve.largest, file_system);
    let grid = grid(largest, least_bytes(curve.union, file_system));
    let by_hit = curve.smallest(targets.hit, inode_bytes(file_system));
    let nearly_best = curve.smallest(curve.best_hit_rate() - NEARLY_BEST, inode_bytes(file_system));
    let mut sizes = grid.clone();
    sizes.extend(by_hit.into_iter().chain(nearly_best).map(|bytes| bytes.max(largest)));
    let rough = look(source, volume, &mut sizes, (0, 0), targets, latency)?;
    let (decided_by, bytes) = choose(&rough, by_hit, nearly_best, largest, targets);
    let growth = Growth::estimate(&rough.block_used_bytes, rough.days(), targets.growth_days);
    let there = rough.sizes.iter().find(|size| size.budget.bytes >= bytes);
    let needs = Needs {
        file_system,
        rest: source.catalog().volume(volume).rest,
        building_bytes: there.map_or(0, |size| size.building_bytes),
        headroom: targets.headroom,
        growth: growth.factor,
    };
    Ok(Settled {
        decided_by,
        bytes,
        growth,
        needs,
        grid,
    })
}

/// Bytes of budget for each inode of the budget.
fn inode_bytes(file_system: FileSystem) -> u64 {
    match file_system {
        FileSystem::Ext4 => file_system.bytes_per_inode(),
        // XFS creates inodes when needed, and the claim has space for them.
        FileSystem::Xfs => 0,
    }
}

/// The budget in bytes and inodes of a volume with this many bytes.
pub(super) fn budget(bytes: u64, file_system: FileSystem) -> Weight {
    Weight::new(bytes, bytes.checked_div(inode_bytes(file_system)).unwrap_or(u64::MAX))
}

/// The smallest budget in bytes at which both numbers fit.
fn least_bytes(weight: Weight, file_system: FileSystem) -> u64 {
    weight.bytes.max(weight.inodes.saturating_mul(inode_bytes(file_system)))
}

/// Sizes from the largest environment to the sum of all, evenly spaced.
fn grid(largest: u64, everything: u64) -> Vec<u64> {
    let width = everything.saturating_sub(largest);
    (0..=SIZES)
        .map(|at| largest + whole(float(width) * float(at) / float(SIZES)))
        .collect()
}

fn look(
    source: &dyn Source,
    volume: Volume,
    sizes: &mut Vec<u64>,
    between: (usize, usize),
    targets: &Targets,
    latency: &Latency,
) -> Result<Detail, TraceError> {
    sizes.sort_unstable();
    sizes.dedup();
    let budgets: Vec<Weight> = sizes.iter().map(|bytes| budget(*bytes, targets.file_system)).collect();
    detail(source, volume, &budgets, between, latency)
}

/// The smallest size that meets the targets, and which target decides it.
fn choose(
    rough: &Detail,
    by_hit: Option<u64>,
    nearly_best: Option<u64>,
    largest: u64,
    targets: &Targets,
) -> (Decided, u64) {
    let best = (Decided::Best, nearly_best.unwrap_or(largest).max(largest));
    let Some(by_hit) = by_hit else { return best };
    let is_fast = |size: &&AtSize| {
        targets
            .p95_us
            .is_none_or(|most_us| waits(&size.waits).p95_us <= most_us)
    };
    // A percentile is known only at the examined sizes; the hit rate is known at every size.
    let mut enough = rough
        .sizes
        .iter()
        .filter(|size| size.budget.bytes >= by_hit.max(largest));
    match enough.find(is_fast).map(|size| size.budget.bytes) {
        None => best,
        Some(bytes) if bytes > by_hit.max(largest) => (Decided::P95, bytes),
        Some(bytes) if by_hit < largest => (Decided::Largest, bytes),
        Some(bytes) => (Decided::Hit, bytes),
    }
}

/// Percentiles of some durations.
pub(super) fn waits(durations: &Durations) -> Waits {
    let quantile = |share| durations.quantile_us(share).unwrap_or(0.0);
    Waits {
        p50_us: quantile(0.5),
        p95_us: quantile(0.95),
        p99_us: quantile(0.99),
    }
}

/// Everything that is known about a volume's sizes.
struct Around<'a> {
    curve: &'a Curve,
    close: &'a Detail,
    delayed: Delayed,
    file_system: FileSystem,
}

impl Around<'_> {
    fn size(&self, bytes: u64) -> Option<&AtSize> {
        self.close.sizes.iter().find(|size| size.budget.bytes == bytes)
    }

    /// The curve up to a size; larger examined sizes give no better result.
    fn points(&self, most: u64) -> Vec<Point> {
        let sizes = self.close.sizes.iter().map(|size| size.budget.bytes);
        sizes
            .filter(|bytes| *bytes <= most)
            .map(|bytes| self.point(bytes))
            .collect()
    }

    fn fetched_per_day(&self, bytes: u64) -> Option<f64> {
        per_day(float(self.size(bytes)?.fetched_bytes), self.close.days())
    }

    /// The additional waiting time of tasks if the budget is reduced; `None` if the reduction is too small.
    fn cost(&self, less: u64, chosen: u64) -> Option<Less> {
        let bytes = chosen - less;
        let wait_s = |bytes| self.size(bytes).map_or(0.0, |size| size.wait_s);
        let longer_s = wait_s(less) - wait_s(chosen);
        (bytes >= LEAST_STEP).then(|| Less {
            bytes,
            s_per_day: per_day(longer_s.max(0.0), self.close.days()),
        })
    }

    fn delayed(&self, size: &AtSize) -> Option<u64> {
        let sizes = &self.close.sizes;
        let at = sizes.partition_point(|one| one.budget.bytes < size.budget.bytes);
        let found = self.delayed.evictions.get(at).copied();
        found.filter(|_| self.delayed.known > 0)
    }

    fn alternative(&self, gib: u64, bytes: u64) -> Alternative {
        Alternative {
            gib,
            at: self.point(bytes),
        }
    }

    fn point(&self, bytes: u64) -> Point {
        let Some(size) = self.size(bytes) else {
            return Point::default();
        };
        let hits = self.curve.hits(budget(bytes, self.file_system));
        let days = self.close.days();
        let hit_rate = share(hits.requests, self.curve.requests);
        let interval = hit_interval(self.close, size);
        Point {
            budget_bytes: bytes,
            hit_rate,
            byte_hit_rate: share(hits.bytes, self.curve.bytes),
            hit_low: interval.map_or(hit_rate, |interval| interval.low),
            hit_high: interval.map_or(hit_rate, |interval| interval.high),
            waits: waits(&size.waits),
            wait_s_per_day: per_day(size.wait_s, days),
            evictions: hits.evictions,
            evictions_per_day: per_day(float(hits.evictions), days),
            delayed_evictions: self.delayed(size),
        }
    }
}

/// The interval of the hit rate of one size, resampled from blocks of the trace.
fn hit_interval(close: &Detail, size: &AtSize) -> Option<Interval> {
    let rates = resamples(close.block_requests.len()).map(|drawn| {
        let sum = |of: &[u64]| drawn.iter().map(|block| of[*block]).sum::<u64>();
        share(sum(&size.block_hits), sum(&close.block_requests))
    });
    central(rates.collect())
}

/// The interval of the budget that meets the hit rate, resampled from blocks of the trace, up to the next examined size.
fn budget_interval(close: &Detail, hit: f64, everything: u64) -> Option<Interval> {
    let needed = resamples(close.block_requests.len()).map(|drawn| {
        let sum = |of: &[u64]| drawn.iter().map(|block| of[*block]).sum::<u64>();
        let requests = sum(&close.block_requests);
        let enough = close
            .sizes
            .partition_point(|size| share(sum(&size.block_hits), requests) < hit);
        let bytes = close.sizes.get(enough).map_or(everything, |size| size.budget.bytes);
        float(bytes.min(everything))
    });
    central(needed.collect())
}

fn holders(source: &dyn Source, volume: Volume, close: &Detail) -> Vec<Holder> {
    let catalog = source.catalog().volume(volume);
    let named = close.between.iter().take(HOLDERS);
    let holder = |(environment, requests): &(u32, u64)| Holder {
        name: catalog.environments()[*environment as usize].shown().to_owned(),
        requests_per_day: per_day(float(*requests), close.days()),
        weight: catalog.weight(*environment),
    };
    named.map(holder).collect()
}
