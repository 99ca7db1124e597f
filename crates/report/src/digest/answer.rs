//! The head of a digest: the gate's answer, and why, in a few lines.

use std::fmt::Write;

use super::text::inert;
use crate::gate::{Answer, Gate, GateOutcome};

/// Reasons that are listed at most.
const REASONS: usize = 5;

/// Writes the headline and the reasons, what is broken first.
pub(super) fn write_answer(out: &mut String, gate: Option<&Gate>, unjudged: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "## {}\n", gate.map_or(unjudged.to_owned(), headline));
    let Some(gate) = gate else { return };
    let _ = writeln!(out, "{}\n", counts(gate));
    let broken = gate.failures.iter().map(|failure| {
        let (about, found) = (inert(&failure.about), inert(&failure.found));
        format!("- ✗ **{about}**: {found}")
    });
    // A proven regression counts, whatever else is undecided.
    let doubts = gate.doubts.iter().filter(|_| gate.failures.is_empty());
    let doubts = doubts.map(|doubt| format!("- ? {}", inert(doubt)));
    let reasons: Vec<String> = broken.chain(doubts).collect();
    for reason in reasons.iter().take(REASONS) {
        let _ = writeln!(out, "{reason}");
    }
    if reasons.len() > REASONS {
        let _ = writeln!(out, "- and {} more", reasons.len() - REASONS);
    }
    if !reasons.is_empty() {
        out.push('\n');
    }
}

fn headline(gate: &Gate) -> String {
    match gate.outcome {
        GateOutcome::Good => "✓ Good enough, proven".to_owned(),
        GateOutcome::Regression => "✗ Regression, proven".to_owned(),
        GateOutcome::CannotTell => "? Cannot tell".to_owned(),
    }
}

fn counts(gate: &Gate) -> String {
    let of = |answer| {
        let own = gate.requirements.iter().filter(|judged| judged.answer == answer);
        own.count()
    };
    let mut text = format!(
        "Requirements: {} proven to hold, {} proven to be broken, {} open",
        of(Answer::Held),
        of(Answer::Broken),
        of(Answer::Open)
    );
    if of(Answer::Unasked) > 0 {
        let _ = write!(text, ", {} not judged", of(Answer::Unasked));
    }
    if gate.confirmed {
        text.push_str(". A second block of rounds confirmed the failure");
    }
    text + "."
}
