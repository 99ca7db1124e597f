//! A fault as data, the promise that must hold despite it, and its result.

use std::fmt;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::error::TrialError;
use crate::site::Site;
use crate::verdict::Verdict;

/// One fault.
pub struct Fault {
    /// The name in reports and for `--only`: lower-case words joined by `-`.
    pub id: &'static str,
    /// The promise that must still hold.
    pub promise: Pledge,
    /// What the fault does, in one sentence.
    pub tries: &'static str,
    /// The sites where the fault can be tried.
    pub sites: &'static [Site],
    /// What the fault needs there.
    pub needs: &'static [FaultNeed],
    /// The function that carries the fault out.
    pub work: for<'a> fn(&'a FaultContext) -> FaultWork<'a>,
}

/// The future of a fault that is being tried.
pub type FaultWork<'a> = Pin<Box<dyn Future<Output = Result<Finding, TrialError>> + 'a>>;

/// What is promised despite faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pledge {
    /// After a kill: an environment is complete or missing.
    WholeOrMissed,
    /// After a kill: leftovers have a bound and are removed later.
    LeftOversGo,
    /// After a power cut: an environment is complete or missing.
    SyncedFirst,
    /// After a kill: each acknowledged task ends once and runs at most once.
    ExactlyOnce,
    /// Full disks: tasks fail with that reason only, and work again once there is space.
    FullIsReported,
    /// Read-only disks: the cache still serves what it holds.
    ReadOnlyServes,
    /// Wrong clocks: hits and the order of eviction do not change for long.
    AnyClock,
    /// Many tasks at once: one build for all of them.
    OneBuild,
    /// Unreachable clusters: tasks wait, and none fails or runs twice.
    OutagesWait,
}

impl Pledge {
    /// Every promise, in the order of the table.
    pub const ALL: [Pledge; 9] = [
        Pledge::WholeOrMissed,
        Pledge::LeftOversGo,
        Pledge::SyncedFirst,
        Pledge::ExactlyOnce,
        Pledge::FullIsReported,
        Pledge::ReadOnlyServes,
        Pledge::AnyClock,
        Pledge::OneBuild,
        Pledge::OutagesWait,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Pledge::WholeOrMissed => "whole-or-missed",
            Pledge::LeftOversGo => "left-overs-go",
            Pledge::SyncedFirst => "synced-first",
            Pledge::ExactlyOnce => "exactly-once",
            Pledge::FullIsReported => "full-is-told",
            Pledge::ReadOnlyServes => "read-only-serves",
            Pledge::AnyClock => "any-clock",
            Pledge::OneBuild => "one-build",
            Pledge::OutagesWait => "outages-wait",
        }
    }

    /// The promise in one sentence.
    pub fn text(self) -> &'static str {
        match self {
            Pledge::WholeOrMissed => {
                "An environment is whole or missed, whichever process is killed, and the next run works."
            }
            Pledge::LeftOversGo => {
                "What a killed preparation leaves has a bound, and the next preparation or eviction removes it."
            }
            Pledge::SyncedFirst => "After a power cut an environment is whole or missed.",
            Pledge::ExactlyOnce => "An acknowledged task is not lost, ends once, and runs at most once.",
            Pledge::FullIsReported => {
                "A full disk fails tasks with that reason alone, and they work again once there is room."
            }
            Pledge::ReadOnlyServes => {
                "A read-only cache still serves what it holds, and works again once it can be written."
            }
            Pledge::AnyClock => {
                "Time stamps of any past or future change neither hits nor the order of eviction for long."
            }
            Pledge::OneBuild => "An environment that many tasks ask for at once is built once, and all of them get it.",
            Pledge::OutagesWait => {
                "Tasks outlast a cluster that is away: none fails because of it, and none runs twice."
            }
        }
    }
}

impl fmt::Display for Pledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The result of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// What was done, with numbers.
    pub tried: String,
    /// What was seen, with numbers, whether the promise held or not.
    pub seen: String,
    /// What else is true if there are no problems; may be empty.
    pub held: &'static str,
    /// How the promise was broken; empty if it held.
    pub problems: Vec<String>,
}

impl Finding {
    /// The verdict: held if there is no problem.
    pub fn verdict(&self) -> Verdict {
        Verdict::held_if_none(&self.problems)
    }

    /// All observations in one line.
    pub fn summary(&self) -> String {
        let end = match self.problems.len() {
            0 => self.held.to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let parts = [self.seen.as_str(), &end];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl Fault {
    /// True if the fault can be tried at a site.
    pub fn runs_at(&self, site: Site) -> bool {
        self.sites.contains(&site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_text_is_left_out_if_there_are_problems() {
        let mut finding = Finding {
            seen: "3 whole".to_owned(),
            held: "all worked",
            ..Finding::default()
        };
        assert_eq!(finding.summary(), "3 whole; all worked");
        finding.problems.push("one did not".to_owned());
        assert_eq!(finding.summary(), "3 whole; 1 problem");
        assert!(matches!(finding.verdict(), Verdict::NotHeld { .. }));
    }
}
