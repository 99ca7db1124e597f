//! The result of a check: a stable id, the fact, the verdict, and the fix.

use serde::Serialize;

/// How good a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as it should be.
    Good,
    /// It works, but less well than it could, or not for long.
    Warning,
    /// Something does not work because of this fact.
    Bad,
    /// The check was skipped, because of a problem that another check names.
    Skipped,
}

/// One check's result, in the shape that `--json` prints. Ids stay the same from version to version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, such as `docker.running`.
    pub id: &'static str,
    /// How good the fact is.
    pub verdict: Verdict,
    /// The fact, in lower case.
    pub fact: String,
    /// What to do; absent if nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// A finding that nothing is wrong.
    pub fn good(id: &'static str, fact: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Good,
            fact: fact.into(),
            fix: None,
        }
    }

    /// A finding that works with a reservation.
    pub fn warning(id: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Warning,
            fact: fact.into(),
            fix: Some(fix.into()),
        }
    }

    /// A finding that something is wrong.
    pub fn bad(id: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Bad,
            fact: fact.into(),
            fix: Some(fix.into()),
        }
    }

    /// A finding that the check was skipped.
    pub fn skipped(id: &'static str, why: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Skipped,
            fact: why.into(),
            fix: None,
        }
    }
}
