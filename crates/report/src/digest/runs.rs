//! The digest of two runs that were measured apart.

use super::answer::write_answer;
use super::text::{end_fold, fold, inert, table};
use crate::compare::{COLUMNS, Comparison};
use crate::gate::Gate;

/// Rows and cautions that are shown at most.
const GROUPS: usize = 24;
const CAUTIONS: usize = 10;

/// A comparison as a digest; `gate` is the answer if one was asked for.
pub fn comparison_digest(comparison: &Comparison, gate: Option<&Gate>) -> String {
    let mut text = String::new();
    write_answer(&mut text, gate, "Comparison: B against A");
    let rows = comparison.groups.iter().map(|group| {
        let mut row = Comparison::row(group);
        row[0] = inert(&row[0]);
        row
    });
    let is_number = |column| !["scenario", "run", "peer", "verdict"].contains(&column);
    let head = COLUMNS.map(|column| (column, is_number(column)));
    table(&mut text, head, &rows.collect::<Vec<_>>(), GROUPS);
    fold(&mut text, "Details");
    for sentence in comparison.explanation() {
        text.push_str(&format!("- {sentence}\n"));
    }
    for caution in comparison
        .other_network
        .iter()
        .chain(comparison.cautions.iter().take(CAUTIONS))
    {
        text.push_str(&format!("- **Caution:** {}\n", inert(caution)));
    }
    if comparison.cautions.len() > CAUTIONS {
        text.push_str(&format!(
            "- and {} more cautions\n",
            comparison.cautions.len() - CAUTIONS
        ));
    }
    end_fold(&mut text);
    text
}
