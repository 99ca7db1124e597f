//! What the reports for both volumes have in common.

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::GcReport;

use crate::store::measure::DiskUsage;

/// Problems that are told of one object; of the others the number.
pub const MAX_PROBLEMS: usize = 20;

/// Why nothing is evicted to keep a budget that what cannot be evicted exceeds: that would come to nothing.
pub fn nothing_to_evict(volume: &str, fixed: DiskUsage) -> String {
    format!(
        "the {volume} volume is over its budget with {} bytes that no eviction frees: nothing was evicted",
        fixed.bytes
    )
}

/// What cannot be removed, such as another user's, holds up nothing else; each is told once.
pub fn warn(report: &mut GcReport, failure: &Failure) {
    let warning = failure.to_string();
    if !report.warnings.contains(&warning) {
        report.warnings.push(warning);
    }
}
