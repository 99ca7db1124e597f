//! Reports as a container's termination message, which Kubernetes bounds.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PrepareReport};
use serde::Serialize;

/// Kubernetes truncates a longer termination message.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Writes a report other than a `RunReport` as this container's termination message, shortened to Kubernetes' limit.
///
/// # Errors
/// The file cannot be written.
pub fn leave_message(path: &Path, report: &mut impl Shorten) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(report)?;
    while text.len() > MAX_MESSAGE_BYTES && report.shorten() {
        text = serde_json::to_vec(report)?;
    }
    File::create(path)?.write_all(&text)
}

/// A report that can be shortened.
pub trait Shorten: Serialize {
    /// Leaves out the least important part; false if nothing more can be left out.
    fn shorten(&mut self) -> bool;
}

impl Shorten for PrepareReport {
    fn shorten(&mut self) -> bool {
        match self {
            PrepareReport::HandedOver => false,
            PrepareReport::Published { warnings, .. } => halve(warnings),
            PrepareReport::Failed { failure, timeline } => {
                halve_text(&mut failure.message) || halve(&mut timeline.spans)
            }
        }
    }
}

impl Shorten for PodMaintainReport {
    fn shorten(&mut self) -> bool {
        match self {
            PodMaintainReport::Maintained { report } => match report {
                MaintainReport::Usage(usage) => halve(&mut usage.largest) || halve(&mut usage.layers),
                MaintainReport::Gc(gc) => halve(&mut gc.warnings),
                MaintainReport::Verify(verify) => halve(&mut verify.left_overs) || halve(&mut verify.problems),
                // It goes to the log.
                MaintainReport::Contents(_) => false,
                MaintainReport::Failed { failure } => halve_text(&mut failure.message),
            },
            PodMaintainReport::Done | PodMaintainReport::SetAside { .. } => false,
            PodMaintainReport::Failed { failure } => halve_text(&mut failure.message),
        }
    }
}

fn halve<T>(list: &mut Vec<T>) -> bool {
    let before = list.len();
    list.truncate(before / 2);
    before > 0
}

fn halve_text(text: &mut String) -> bool {
    let before = text.chars().count();
    if before <= 100 {
        return false;
    }
    *text = text.chars().take(before / 2).chain(['…']).collect();
    true
}
