//! The result of an attack or a fault.

use serde::{Deserialize, Serialize};

/// The result of an attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It achieved nothing.
    Held,
    /// It achieved something.
    NotHeld {
        /// What happened.
        what: String,
    },
    /// It makes no sense here, or this machine lacks what it takes.
    NotApplicable {
        /// Why.
        why: String,
    },
    /// The trial itself did not work, so nothing is known.
    Failed {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// An attack that achieved this.
    pub fn not_held(what: impl Into<String>) -> Verdict {
        Verdict::NotHeld { what: what.into() }
    }

    /// An attack that cannot be tried here for this reason.
    pub fn not_applicable(why: impl Into<String>) -> Verdict {
        Verdict::NotApplicable { why: why.into() }
    }

    /// Held if nothing is in the list.
    pub fn held_if_none(what: &[String]) -> Verdict {
        if what.is_empty() {
            return Verdict::Held;
        }
        let shown: Vec<&str> = what.iter().take(4).map(String::as_str).collect();
        let more = what.len().saturating_sub(shown.len());
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Verdict::not_held(format!("{}{rest}", shown.join("; ")))
    }
}
