//! A run as Markdown, for pull requests and wikis.

mod alternatives;
mod escape;
mod latency;
mod levels;
mod load;
mod provenance;

use hybrid_cache_model::sample::RunRecord;

use crate::load::LoadSummary;
use crate::summary::Summary;

pub(crate) use escape::escape;

/// The whole report as Markdown.
pub fn markdown(record: &RunRecord) -> String {
    if let Some(load) = &record.load {
        return load::load(record, &LoadSummary::from_record(load));
    }
    let mut text = String::new();
    if record.levels.is_some() {
        // Writing to a String cannot fail.
        let _ = levels::write_report(&mut text, record);
        return text;
    }
    let summary = Summary::from_record(record);
    // Writing to a String cannot fail.
    let _ = latency::write_report(&mut text, record, &summary);
    text
}
