//! The promises in words, with the result of a round of attacks for each: the table that `cargo xtask attack` prints.

use std::fmt;

use hybrid_cache_model::Protection;
use serde::{Deserialize, Serialize};

use crate::run::Trial;
use crate::verdict::Verdict;

/// One line of `docs/reliability.md`.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The protection that keeps it.
    pub protection: Protection,
    /// What is promised, in one sentence.
    pub text: &'static str,
}

const fn promise(protection: Protection, text: &'static str) -> Promise {
    Promise { protection, text }
}

/// Every promise, in the order of the table.
pub const PROMISES: &[Promise] = &[
    promise(
        Protection::ContentHashes,
        "No package can put its code into another package's place.",
    ),
    promise(
        Protection::InstalledCheck,
        "An environment is what was asked for, whole, or it is not published.",
    ),
    promise(
        Protection::OwnFiles,
        "No package can write or replace a file outside its own environment.",
    ),
    promise(
        Protection::WheelsOnly,
        "Preparing, which writes the caches, runs no code of a package.",
    ),
    promise(
        Protection::BuildMounts,
        "Code of a package that is built sees no cache of packages and writes nothing shared.",
    ),
    promise(
        Protection::BuiltAsNamed,
        "A wheel that is built is the package and the version that were asked for, or it is refused.",
    ),
    promise(
        Protection::IndexLogins,
        "No code of a task or of a package reads the password of an index.",
    ),
    promise(
        Protection::NamedSources,
        "A task's packages come from no index, host or repository that the operator does not allow.",
    ),
    promise(
        Protection::ReadOnlyMounts,
        "A task changes neither what is cached nor the system that it runs on.",
    ),
    promise(
        Protection::NarrowMounts,
        "A task's mounts hold neither downloads nor locks.",
    ),
    promise(
        Protection::Landlock,
        "A task reads no other environment and no other store path.",
    ),
    promise(
        Protection::LeaseLocks,
        "No lock that a task takes makes another task wait.",
    ),
    promise(Protection::LeaseRequired, "Nothing is deleted below a running task."),
    promise(
        Protection::NetworkNamespace,
        "A task reaches nothing that listens on this machine alone, and nobody reaches the task.",
    ),
    promise(
        Protection::BlockedRoutes,
        "A task reaches neither this machine's addresses nor link-local ones.",
    ),
    promise(
        Protection::Seccomp,
        "A task cannot use the kernel interfaces that most escapes begin with.",
    ),
    promise(
        Protection::OwnReport,
        "A task cannot forge its result, nor reach the runner that watches it.",
    ),
    promise(
        Protection::ScratchSize,
        "A task fills no more than its own temporary space.",
    ),
    promise(
        Protection::OomFirst,
        "When memory runs out, the kernel ends user code first.",
    ),
    promise(Protection::MemoryLimit, "A task takes no more memory than its limit."),
    promise(
        Protection::ProcessLimit,
        "A task runs no more processes and threads than its limit.",
    ),
    promise(Protection::OpenFilesLimit, "A task opens no more files than its limit."),
    promise(
        Protection::TimeLimit,
        "A task ends when its time is over, with all that it started.",
    ),
    promise(
        Protection::OutputLimit,
        "A task prints no more than its limit, and one that prints without end delays nobody.",
    ),
    promise(
        Protection::VerifyContent,
        "`cache verify` finds every changed, missing and added file.",
    ),
    promise(Protection::DamageIsMiss, "A damaged environment is rebuilt, not run."),
    promise(
        Protection::ArgoLineBound,
        "No output costs the driver more time or memory than it has bytes.",
    ),
    promise(
        Protection::OutputBound,
        "A driver keeps no more of a task's output than its limit, whichever way it came.",
    ),
    promise(
        Protection::PrivateFiles,
        "Other users of the machine read neither caches nor tasks nor output.",
    ),
    promise(
        Protection::TokenFileMode,
        "A token that other users can read is refused.",
    ),
    promise(
        Protection::TokenRequired,
        "A task cannot use the task API without a token.",
    ),
    promise(
        Protection::SameOrigin,
        "No page of another site can use the task API through somebody's browser.",
    ),
    promise(
        Protection::TerminalEscapes,
        "Output cannot control the terminal of the person who reads it.",
    ),
    promise(
        Protection::TenantRoots,
        "No tenant uses or reads an environment of another.",
    ),
    promise(
        Protection::TenantTasks,
        "No tenant sees a task or the output of another.",
    ),
    promise(
        Protection::PrivateIndex,
        "Packages of a private index stay with their tenant.",
    ),
];

/// The result of a round of attacks for a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No attack applies here.
    NotApplicable,
    /// Every attack that could be tried achieved nothing.
    Held,
    /// A trial did not work, so nothing is known.
    CouldNotTry,
    /// An attack achieved something.
    NotHeld,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::NotApplicable => "not applicable",
            Standing::Held => "held",
            Standing::CouldNotTry => "could not try",
            Standing::NotHeld => "NOT HELD",
        })
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct PromiseRow {
    /// The protection.
    pub protection: Protection,
    /// What is promised.
    pub promise: &'static str,
    /// What the attacks say.
    pub standing: Standing,
    /// The attacks.
    pub trials: Vec<Trial>,
}

impl Verdict {
    /// What it says of its promise.
    pub fn standing(&self) -> Standing {
        match self {
            Verdict::Held => Standing::Held,
            Verdict::NotHeld { .. } => Standing::NotHeld,
            Verdict::NotApplicable { .. } => Standing::NotApplicable,
            Verdict::Failed { .. } => Standing::CouldNotTry,
        }
    }

    /// What happened, if there is more to say than that it held.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Verdict::Held => None,
            Verdict::NotHeld { what } => Some(what),
            Verdict::NotApplicable { why } | Verdict::Failed { why } => Some(why),
        }
    }
}

impl Trial {
    /// What it says of its promise.
    pub fn standing(&self) -> Standing {
        self.verdict.standing()
    }

    /// What happened, if there is more to say than that it held.
    pub fn detail(&self) -> Option<&str> {
        self.verdict.detail()
    }
}

/// The table of the promises that were tested: the worst that happened decides.
pub fn table(trials: &[Trial]) -> Vec<PromiseRow> {
    let rows = PROMISES.iter().map(|promise| {
        let trials: Vec<Trial> = trials
            .iter()
            .filter(|trial| trial.promise == promise.protection)
            .cloned()
            .collect();
        let standing = trials.iter().map(Trial::standing).max();
        PromiseRow {
            protection: promise.protection,
            promise: promise.text,
            standing: standing.unwrap_or(Standing::NotApplicable),
            trials,
        }
    });
    rows.filter(|row| !row.trials.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn trial(promise: Protection, verdict: Verdict) -> Trial {
        Trial {
            id: "x".to_owned(),
            promise,
            site: Site::Local,
            verdict,
            took_ms: 1,
        }
    }

    #[test]
    fn every_protection_is_one_promise_in_the_order_of_the_vocabulary() {
        let promised: Vec<Protection> = PROMISES.iter().map(|promise| promise.protection).collect();
        assert_eq!(promised, Protection::ALL);
    }

    #[test]
    fn the_worst_attack_decides() {
        let trials = [
            trial(Protection::Seccomp, Verdict::Held),
            trial(Protection::Seccomp, Verdict::not_held("it could")),
            trial(Protection::Landlock, Verdict::not_applicable("no")),
            trial(Protection::Landlock, Verdict::Held),
        ];
        let standings: Vec<_> = table(&trials)
            .iter()
            .map(|row| (row.protection, row.standing))
            .collect();
        assert_eq!(
            standings,
            [
                (Protection::Landlock, Standing::Held),
                (Protection::Seccomp, Standing::NotHeld)
            ]
        );
    }
}
