//! A scenario: a task, why it is measured, what it must print and which latency is claimed for it.

#[cfg(feature = "yaml")]
mod check;
#[cfg(feature = "yaml")]
mod yaml;

#[cfg(all(test, feature = "yaml"))]
mod tests;

use serde::{Deserialize, Serialize};

use crate::task::TaskSpec;

#[cfg(feature = "yaml")]
pub use yaml::ScenarioError;

/// A latency range that documentation claims, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Lower end, in seconds.
    pub min_s: f64,
    /// Upper end, in seconds.
    pub max_s: f64,
}

/// What a run of the scenario must write to standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExpectedOutput {
    /// Exactly this text, white space at both ends aside.
    Equals(String),
    /// Every one of these pieces, in this order.
    Contains(Vec<String>),
}

impl ExpectedOutput {
    /// Compares an output with what is expected.
    ///
    /// # Errors
    /// A sentence that says what was expected and what came.
    pub fn check(&self, stdout: &str) -> Result<(), String> {
        match self {
            ExpectedOutput::Equals(text) if stdout.trim() == text.trim() => Ok(()),
            ExpectedOutput::Equals(text) => Err(format!(
                "expected the output {:?}, got {}",
                text.trim(),
                excerpt(stdout)
            )),
            ExpectedOutput::Contains(pieces) => {
                let mut rest = stdout;
                for piece in pieces {
                    let Some(at) = rest.find(piece.as_str()) else {
                        return Err(format!("expected {piece:?} in the output, got {}", excerpt(stdout)));
                    };
                    rest = &rest[at + piece.len()..];
                }
                Ok(())
            }
        }
    }
}

fn excerpt(text: &str) -> String {
    let short: String = text.trim().chars().take(200).collect();
    format!("{short:?}")
}

/// What a scenario expects of its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The output of every run.
    pub stdout: ExpectedOutput,
    /// Claimed latency of a first run; absent for scenarios without a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Claim>,
    /// Claimed latency of a cached run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Claim>,
}

/// One scenario, as a file of `bench-scenarios/` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: lower case, digits and hyphens; the same as the file's.
    pub name: String,
    /// Why it is measured, in a sentence or two.
    pub why: String,
    /// The task, exactly as the API takes it.
    pub request: TaskSpec,
    /// What its runs must print, and what is claimed of them.
    pub expect: Expectation,
}

impl Scenario {
    /// True if the task asks for Python packages.
    pub fn asks_python(&self) -> bool {
        self.request.check().is_ok_and(|task| !task.requirements.is_empty())
    }

    /// True if the task asks for system packages.
    pub fn asks_system(&self) -> bool {
        self.request.check().is_ok_and(|task| !task.system.is_empty())
    }
}
