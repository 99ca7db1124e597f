//! A recommendation in sentences.

use hybrid_cache_sizing::recommend::{Advice, Decided, Holder};
use hybrid_cache_sizing::{Recommendation, Volume};

use super::claim::claim_name;
use crate::units;

/// Why a rate is left out.
const NO_RATES: &str = "is unknown: the trace covers less than an hour";

/// Bytes as a float in whole bytes; intervals of sizes are floats.
fn bytes(value: f64) -> String {
    units::bytes(format!("{value:.0}").parse().unwrap_or(0))
}

/// What the sizes were computed from.
pub(super) fn origin(name: &str, found: &Recommendation) -> String {
    format!(
        "{name}: {} requests in {}",
        units::count(found.requests),
        span(found.days)
    )
}

/// A time in days, or shorter.
fn span(days: f64) -> String {
    if days >= 1.0 {
        return format!("{days:.1} days");
    }
    units::duration(days * 86_400e6)
}

/// What a claim is for.
pub(super) fn title(volume: Volume) -> &'static str {
    match volume {
        Volume::Python => "Python volume",
        Volume::System => "System volume",
    }
}

/// The size and what decides it, in one sentence.
pub(super) fn headline(found: &Recommendation, advice: &Advice) -> String {
    let order = format!("order {} GiB for {}", advice.claim.gib, claim_name(advice.volume));
    let size = units::bytes(advice.at.budget_bytes);
    let with = if advice.is_for_inodes {
        let inodes = advice.at.budget_bytes / found.targets.file_system.bytes_per_inode();
        format!(
            "at least {} inodes, as {size} of {} have",
            units::count(inodes),
            found.targets.file_system.name()
        )
    } else {
        format!("at least {size} of environments")
    };
    let targets = &found.targets;
    match advice.decided_by {
        Decided::Hit => format!("{order}: {} of requests hit with {with}", units::share(targets.hit)),
        Decided::P95 => format!(
            "{order}: 95 % of requests wait at most {} with {with}",
            units::duration(targets.p95_us.unwrap_or(0.0))
        ),
        Decided::Largest => format!(
            "{order}: the largest environment takes {} and {} inodes, and the targets are met with less",
            units::bytes(advice.largest.bytes),
            units::count(advice.largest.inodes)
        ),
        Decided::Best => format!(
            "no size reaches the targets; {order} comes within 0.1 points of the best hit rate, {}",
            units::share(advice.best_hit_rate)
        ),
    }
}

/// Why no size reaches the targets; `None` if one does.
pub(super) fn unreachable(found: &Recommendation, advice: &Advice) -> Option<String> {
    if advice.is_reached {
        return None;
    }
    let last = advice.curve.last();
    if advice.best_hit_rate < found.targets.hit {
        return Some(format!(
            "{} cannot be reached: of {} requests, {} are the first for their environment and {} are resolved again because of \
             their age, and those miss at any size. The best is {}.",
            units::share(found.targets.hit),
            units::count(advice.requests),
            units::count(advice.first),
            units::count(advice.due),
            units::share(advice.best_hit_rate)
        ));
    }
    Some(format!(
        "a 95th percentile of {} cannot be reached: even if nothing is ever evicted, it is {}.",
        units::duration(found.targets.p95_us.unwrap_or(0.0)),
        units::duration(last.map_or(0.0, |point| point.waits.p95_us))
    ))
}

/// What the claim is made of.
pub(super) fn parts(found: &Recommendation, advice: &Advice) -> Vec<(String, String)> {
    let claim = &advice.claim;
    let grown = claim
        .budget
        .bytes
        .saturating_sub(advice.at.budget_bytes + advice.rest.bytes);
    let mut parts = vec![("environments".to_owned(), units::bytes(advice.at.budget_bytes))];
    if advice.rest.bytes > 0 {
        parts.push(("outside of environments".to_owned(), units::bytes(advice.rest.bytes)));
    }
    if grown > 0 {
        parts.push((
            format!("growth over {:.0} days", advice.growth.days),
            units::bytes(grown),
        ));
    }
    parts.push((
        "being built at the same time".to_owned(),
        units::bytes(claim.building_bytes),
    ));
    parts.push((
        format!("headroom (at least {})", units::share(found.targets.headroom)),
        units::bytes(claim.headroom_bytes),
    ));
    parts.push((
        format!("the file system itself ({})", found.targets.file_system.name()),
        units::bytes(claim.file_system_bytes),
    ));
    parts
}

/// How sure the size is.
pub(super) fn certainty(advice: &Advice) -> Option<String> {
    let hit = advice.hit_interval?;
    let needs = advice.budget_interval.map(|budget| {
        let (low, high) = (bytes(budget.low), bytes(budget.high));
        format!(", and the hit rate asked for needs {low} to {high} of environments")
    });
    Some(format!(
        "over periods like this trace, the claim's hit rate lies between {} and {}{} (95 % intervals over blocks of time)",
        units::share(hit.low),
        units::share(hit.high),
        needs.unwrap_or_default()
    ))
}

/// What a little less costs.
pub(super) fn less(advice: &Advice) -> String {
    match advice.less {
        Some(less) => match less.s_per_day {
            Some(s_per_day) => format!(
                "with {} less for environments, tasks would wait {} longer a day",
                units::bytes(less.bytes),
                units::duration(s_per_day * 1e6)
            ),
            None => format!(
                "what {} less for environments would cost a day {NO_RATES}",
                units::bytes(less.bytes)
            ),
        },
        None => "the largest environment needs the whole size".to_owned(),
    }
}

/// Where the misses come from, and what they cost.
pub(super) fn misses(advice: &Advice) -> String {
    let all = advice.requests.max(1) as f64;
    let (first, due) = (advice.first as f64 / all, advice.due as f64 / all);
    let evicted = (1.0 - advice.on_claim.hit_rate - first - due).max(0.0);
    let rates = match (advice.on_claim.evictions_per_day, advice.fetched_bytes_per_day) {
        (Some(evictions), Some(fetched)) => format!("{evictions:.1} evictions and {} fetched a day", bytes(fetched)),
        _ => format!(
            "{} evictions; how many a day {NO_RATES}",
            units::count(advice.on_claim.evictions)
        ),
    };
    format!(
        "misses: {} first requests, {} resolved again because of their age, {} evicted before; {rates}",
        units::share(first),
        units::share(due),
        units::share(evicted)
    )
}

/// How many evictions a running task delays; `None` if there are none, or the trace does not show it.
pub(super) fn delayed(advice: &Advice) -> Option<String> {
    let delayed = advice
        .on_claim
        .delayed_evictions
        .filter(|_| advice.on_claim.evictions > 0)?;
    Some(format!(
        "{} of the {} evictions would have to wait for a running task that uses the environment; the next \
         environment is evicted instead",
        units::count(delayed),
        units::count(advice.on_claim.evictions)
    ))
}

/// A number of times a day.
pub(super) fn a_day(rate: Option<f64>, digits: usize) -> String {
    rate.map_or("–".to_owned(), |rate| format!("{rate:.digits$}"))
}

/// Whether bytes or inodes decide.
pub(super) fn inodes(found: &Recommendation, advice: &Advice) -> String {
    let there = units::count(found.targets.file_system.room(advice.claim.gib).inodes);
    let Some(alone) = advice.alone else {
        return format!("the claim has {there} inodes");
    };
    let decide = if advice.is_for_inodes {
        "inodes decide"
    } else {
        "bytes decide"
    };
    format!(
        "{decide}: the hit rate asked for needs {} and {} inodes; the claim has {there} inodes",
        units::bytes(alone.bytes),
        units::count(alone.inodes)
    )
}

/// How the working set grows.
pub(super) fn growth(advice: &Advice) -> Option<String> {
    let growth = &advice.growth;
    let (per_day, interval) = (growth.per_day?, growth.interval?);
    let month = |share: f64| units::share((share * 30.4).abs());
    if interval.high <= 0.0 {
        return Some("the working set does not grow".to_owned());
    }
    if interval.low <= 0.0 {
        let most = month(interval.high);
        return Some(format!(
            "growth is not distinguishable from chance: at most {most} a month"
        ));
    }
    let provided = if growth.days > 0.0 {
        format!("provided for {:.0} days", growth.days)
    } else {
        "not provided for; use --growth".to_owned()
    };
    Some(format!(
        "the working set grows by {} a month ({} to {}), {provided}",
        month(per_day),
        month(interval.low),
        month(interval.high)
    ))
}

/// An environment that keeps a volume from being smaller.
pub(super) fn holder(holder: &Holder) -> String {
    let rate = holder
        .requests_per_day
        .map(|rate| format!("{rate:.2} requests a day, "));
    format!(
        "{} ({}{})",
        holder.name,
        rate.unwrap_or_default(),
        units::bytes(holder.weight.bytes)
    )
}

/// What both volumes give together.
pub(super) fn together(found: &Recommendation) -> String {
    let joint = &found.together;
    let target = found.targets.hit;
    // A task that asks both misses if either does.
    let below = if found.is_reached() && joint.hit_rate < target {
        format!(
            "; that is below {}, which each volume reaches by itself: raise --hit to reach it with both",
            units::share(target)
        )
    } else {
        String::new()
    };
    format!(
        "both together: {} of tasks find everything in the caches; tasks wait {} in the median, {} at p95, {} at p99{below}",
        units::share(joint.hit_rate),
        units::duration(joint.waits.p50_us),
        units::duration(joint.waits.p95_us),
        units::duration(joint.waits.p99_us)
    )
}

/// What to know before trusting the sizes.
pub(super) fn warnings(found: &Recommendation, is_synthetic: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_synthetic {
        warnings.push(
            "this is a synthetic trace: sizes for your tasks need a trace of your tasks (`--trace FILE`)".to_owned(),
        );
    }
    let latency = &found.latency;
    if latency.measured_hits == 0 {
        warnings.push(format!(
            "the trace has no waiting times: a hit is assumed to wait {}",
            units::duration(latency.hit_us)
        ));
    }
    for advice in &found.volumes {
        let name = advice.volume.name();
        let cost = latency.cost(advice.volume);
        if cost.measured == 0 {
            warnings.push(format!(
                "{name}: the trace has no preparation times: one is assumed to take {} plus {} for each missing MiB",
                units::duration(cost.base_us),
                units::duration(cost.per_mib_us)
            ));
        }
        if advice.requests < 1000 {
            warnings.push(format!("{name}: only {} requests; record for longer", advice.requests));
        }
        if advice.first * 2 > advice.requests {
            warnings.push(format!("{name}: most requests are the first for their environment; the trace is too short, or caching does not help"));
        }
        if !advice.is_exact {
            warnings.push(format!(
                "{name}: too many different distances; sizes are rounded up by at most 0.05 %"
            ));
        }
        if advice.is_for_inodes {
            warnings.push(format!(
                "{name}: inodes decide the size; XFS would need less (`--file-system xfs`)"
            ));
        }
    }
    if !found.has_rates() {
        warnings.push(
            "the trace covers less than an hour, so there are no daily rates of evictions, waiting and fetched bytes"
                .to_owned(),
        );
    } else if found.days < 7.0 {
        warnings.push(format!(
            "the trace covers {}: a week includes weekends, and growth shows only in longer traces",
            span(found.days)
        ));
    }
    warnings
}
