//! Computes the size of each volume from a trace and targets, with the reasons.

mod advice;
mod growth;
mod recommendation;

use crate::detail;
use crate::latency::measure;
use crate::trace::{Source, TraceError, Volume};
use crate::weight::Weight;

pub use growth::Growth;
pub use recommendation::{Advice, Alternative, Decided, Holder, Joint, Less, Point, Recommendation, Targets, Waits};

/// Finds the size of each volume.
///
/// # Errors
/// The trace has no requests, or cannot be read.
pub fn recommend(source: &dyn Source, targets: &Targets) -> Result<Recommendation, TraceError> {
    let latency = measure(source)?;
    let span_us = detail::span(source)?;
    let days = detail::days(span_us);
    let mut volumes = Vec::new();
    for volume in Volume::ALL {
        volumes.extend(advice::advise(source, volume, targets, &latency)?);
    }
    let budget = |volume: Volume| {
        let advice = volumes.iter().find(|advice: &&Advice| advice.volume == volume);
        advice.map_or(Weight::MAX, |advice| {
            advice::budget(advice.on_claim.budget_bytes, targets.file_system)
        })
    };
    let found = detail::together(source, Volume::ALL.map(budget), &latency)?;
    Ok(Recommendation {
        targets: *targets,
        requests: found.requests,
        days,
        latency,
        volumes,
        together: Joint {
            hit_rate: crate::number::share(found.hits, found.requests),
            waits: advice::waits(&found.waits),
            wait_s_per_day: detail::per_day(found.wait_s, days),
        },
    })
}

/// The largest number of bytes being built at one time, for a volume whose environments may use this budget.
///
/// # Errors
/// The trace has no requests, or cannot be read.
pub fn building_bytes(source: &dyn Source, volume: Volume, budget: Weight) -> Result<u64, TraceError> {
    let found = detail::detail(source, volume, &[budget], (0, 0), &measure(source)?)?;
    Ok(found.sizes.first().map_or(0, |size| size.building_bytes))
}
