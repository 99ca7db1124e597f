//! Where a record comes from, as Markdown.

use std::fmt::Write;

use hybrid_cache_model::sample::RunRecord;

use super::escape::escape;

/// Appends the section.
pub(super) fn write_provenance(out: &mut String, record: &RunRecord) -> std::fmt::Result {
    writeln!(out, "\n## Provenance\n\n| fact | value |\n|---|---|")?;
    for (fact, value) in crate::provenance::facts(record) {
        writeln!(out, "| {fact} | {} |", escape(&value))?;
    }
    for tool in &record.provenance.tools {
        let digest = tool
            .sha256
            .as_deref()
            .map(|sha| format!(", sha256 {sha}"))
            .unwrap_or_default();
        writeln!(
            out,
            "| {} | {} |",
            escape(&tool.name),
            escape(&format!("{} ({}{digest})", tool.version, tool.origin))
        )?;
    }
    for note in &record.provenance.notes {
        writeln!(out, "\n> {}", escape(note))?;
    }
    Ok(())
}
