//! Runs at levels of cold as Markdown.

use std::fmt::Write;

use hybrid_cache_model::sample::RunRecord;

use super::escape::escape;
use super::provenance::write_provenance;
use crate::levels::{COLUMNS, HEAD, headline, levels, phase_table, warnings};
use crate::units;

/// Appends the whole report.
pub(super) fn write_report(out: &mut String, record: &RunRecord) -> std::fmt::Result {
    let scenarios = levels(record);
    writeln!(
        out,
        "# Cold, in levels, driver `{}`\n",
        escape(&record.provenance.driver)
    )?;
    for scenario in &scenarios {
        writeln!(out, "- {}", escape(&headline(scenario)))?;
    }
    let names: Vec<&str> = HEAD.iter().map(|(name, _)| *name).collect();
    let sides: Vec<&str> = HEAD
        .iter()
        .map(|(_, is_number)| if *is_number { "--:" } else { "---" })
        .collect();
    writeln!(out, "\n| scenario | {} |\n|---|{}|", names.join(" | "), sides.join("|"))?;
    for scenario in &scenarios {
        for row in &scenario.levels {
            writeln!(out, "| {} | {} |", escape(&scenario.name), row.cells().join(" | "))?;
        }
    }
    writeln!(out, "\n{COLUMNS}.")?;
    for scenario in &scenarios {
        writeln!(out, "\n## {}\n", escape(&units::title(&scenario.name)))?;
        let heads: Vec<&str> = scenario.levels.iter().map(|row| row.level.name()).collect();
        writeln!(out, "| median time of a phase | {} |", heads.join(" | "))?;
        writeln!(out, "|---|{}", "--:|".repeat(heads.len()))?;
        for (phase, cells) in phase_table(scenario) {
            let cells: Vec<String> = cells
                .into_iter()
                .map(|us| us.map_or("–".to_owned(), units::duration))
                .collect();
            writeln!(out, "| {phase} | {} |", cells.join(" | "))?;
        }
    }
    let warnings = warnings(record, &scenarios);
    if !warnings.is_empty() {
        writeln!(out, "\n## Warnings\n")?;
    }
    for warning in warnings {
        writeln!(out, "- {}", escape(&warning))?;
    }
    write_provenance(out, record)
}
