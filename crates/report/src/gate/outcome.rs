//! What a gate found: its answer, and the answer to each requirement.

use hybrid_cache_model::sample::RunRecord;
use serde::Serialize;

use crate::host_noise;

/// What a gate found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// Every requirement is proven to hold.
    Good,
    /// At least one is proven to be broken.
    Regression,
    /// Neither is proven.
    CannotTell,
}

impl GateOutcome {
    /// The words in a report.
    pub fn name(self) -> &'static str {
        match self {
            GateOutcome::Good => "good enough, proven",
            GateOutcome::Regression => "regression, proven",
            GateOutcome::CannotTell => "cannot tell",
        }
    }
}

/// One requirement that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What it is about, such as `hybrid, cached`; the same in every block of a run.
    pub about: String,
    /// What was found, in a phrase.
    pub found: String,
}

/// What a gate found about one requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is proven to hold.
    Held,
    /// It is proven to be broken.
    Broken,
    /// Neither is proven.
    Open,
    /// It was not judged.
    Unasked,
}

/// One requirement and what the gate found about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// What it is about, such as `hybrid, cached`.
    pub about: String,
    /// The answer.
    pub answer: Answer,
    /// What was measured, or why there is no answer, in a phrase.
    pub found: String,
}

impl Judged {
    /// What it is about and what was found, in a line.
    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.about, self.found)
    }
}

impl From<&Judged> for Failure {
    fn from(judged: &Judged) -> Failure {
        Failure {
            about: judged.about.clone(),
            found: judged.found.clone(),
        }
    }
}

/// The result of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The result.
    pub outcome: GateOutcome,
    /// Requirements that are proven to be broken.
    pub failures: Vec<Failure>,
    /// Why others are neither proven to hold nor to be broken, in a phrase each.
    pub doubts: Vec<String>,
    /// What was measured and is not judged, with the reason.
    pub unasked: Vec<String>,
    /// Requirements that are proven to hold.
    pub held: usize,
    /// What disturbed the machine, if nothing is proven: other work widens every interval.
    pub disturbed: Vec<String>,
    /// True if the failures were found again in a second, fresh block of rounds.
    pub confirmed: bool,
    /// Every requirement with its answer, then what makes the whole gate meaningless.
    pub requirements: Vec<Judged>,
}

impl Gate {
    /// Adds what disturbed the machine if that may be why nothing is proven. What is proven is proven on a noisy machine as well.
    pub(super) fn explained<const N: usize>(mut self, runs: [(&str, &RunRecord); N]) -> Gate {
        if self.outcome == GateOutcome::CannotTell {
            let phrase = |(run, record)| Some(format!("{run}{}", host_noise::disturbed(record)?));
            self.disturbed = runs.into_iter().filter_map(phrase).collect();
        }
        self
    }

    /// The result in a line, then a line for each failure and each doubt.
    pub fn lines(&self) -> Vec<String> {
        let confirmed = if self.confirmed {
            ", confirmed by a second block of rounds"
        } else {
            ""
        };
        let head = format!(
            "{}{confirmed}: {} proven to hold, {} broken, {} open",
            self.outcome.name(),
            self.held,
            self.failures.len(),
            self.doubts.len()
        );
        let failures = self
            .failures
            .iter()
            .map(|Failure { about, found }| format!("{about}: {found}"));
        let doubts = self.doubts.iter().map(|doubt| format!("cannot tell: {doubt}"));
        let unasked = self.unasked.iter().map(|what| format!("not judged: {what}"));
        let disturbed = self
            .disturbed
            .iter()
            .map(|what| format!("the machine was disturbed: {what}; measure on a quieter one, or take more rounds"));
        std::iter::once(head)
            .chain(failures)
            .chain(doubts)
            .chain(disturbed)
            .chain(unasked)
            .collect()
    }
}
