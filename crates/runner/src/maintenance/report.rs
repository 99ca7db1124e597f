//! Limits and warnings that the reports on both volumes share.

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::GcReport;

use crate::store::measure::DiskUsage;

/// How many problems of one object are listed; the rest is counted.
pub const MAX_PROBLEMS: usize = 20;

/// The warning for a budget that is exceeded by what cannot be evicted, so that eviction is useless.
pub fn nothing_to_evict(volume: &str, fixed: DiskUsage) -> String {
    format!(
        "the {volume} volume is over its budget with {} bytes that no eviction frees: nothing was evicted",
        fixed.bytes
    )
}

/// Adds a warning once. A file that cannot be removed, such as another user's, does not stop the rest.
pub fn warn(report: &mut GcReport, failure: &Failure) {
    let warning = failure.to_string();
    if !report.warnings.contains(&warning) {
        report.warnings.push(warning);
    }
}
