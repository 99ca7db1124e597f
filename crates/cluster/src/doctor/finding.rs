//! What a check came to: a stable id, the fact, the verdict, and the fix.

use serde::Serialize;

/// How good a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but not as well as it could, or not for long.
    Warning,
    /// Something does not work because of it.
    Bad,
    /// It could not be looked at, because of something that another check names.
    Skipped,
}

/// One check's result. The shape is what `--json` prints: ids stay the same from version to version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, `docker.running`.
    pub id: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found, in lower case.
    pub fact: String,
    /// What to do about it; absent where nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn good(id: &'static str, fact: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Good,
            fact: fact.into(),
            fix: None,
        }
    }

    /// It works, with a reservation.
    pub fn warning(id: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Warning,
            fact: fact.into(),
            fix: Some(fix.into()),
        }
    }

    /// Something is wrong.
    pub fn bad(id: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Bad,
            fact: fact.into(),
            fix: Some(fix.into()),
        }
    }

    /// It could not be looked at.
    pub fn skipped(id: &'static str, why: impl Into<String>) -> Finding {
        Finding {
            id,
            verdict: Verdict::Skipped,
            fact: why.into(),
            fix: None,
        }
    }
}
