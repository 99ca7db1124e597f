//! What an attack is, and what can come of it.

use std::fmt;
use std::pin::Pin;

use hybrid_cache_model::Protection;
use serde::{Deserialize, Serialize};

use crate::error::TrialError;
use crate::ground::Ground;

/// One attack.
#[derive(Debug)]
pub struct Attack {
    /// The name in reports and for `--only`: lower-case words joined by `-`.
    pub id: &'static str,
    /// The promise that it tests.
    pub promise: Protection,
    /// What it tries, in one sentence.
    pub tries: &'static str,
    /// Where it can be tried.
    pub sites: &'static [Site],
    /// What it needs there.
    pub needs: &'static [Need],
    /// Other protections that stop it as well. The proof by mutation takes them out too, so that each layer is seen alone.
    pub layers: &'static [Protection],
    /// How it is done.
    pub work: Work,
}

/// Where an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// In a sandbox of the local driver, or against files and services of this machine.
    Local,
    /// In a pod.
    Pod,
}

/// Both sites.
pub const ANYWHERE: &[Site] = &[Site::Local, Site::Pod];
/// This machine alone.
pub const LOCAL: &[Site] = &[Site::Local];

/// What an attack needs beside a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// System packages.
    Nix,
    /// An x86-64 machine.
    X86,
    /// Two tenants, which a kernel without Landlock cannot keep apart.
    Tenants,
}

/// How an attack is done.
#[derive(Clone, Copy)]
pub enum Work {
    /// A task runs this program, which reports what it could do. Nothing may be in that report.
    Probe(Probe),
    /// Several steps with a judgement of their own.
    Steps(fn(&Ground) -> Steps<'_>),
}

/// The future of an attack in steps.
pub type Steps<'a> = Pin<Box<dyn Future<Output = Result<Verdict, TrialError>> + 'a>>;

/// A task that attacks.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its program; `src/probes/prelude.py` goes before it.
    pub code: &'static str,
    /// What the task asks for.
    pub packages: Packages,
}

/// What an attacking task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packages {
    /// Nothing.
    None,
    /// One Python package that is in the caches already.
    Python,
    /// A Python and a system package that are in the caches already.
    Both,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Probe(probe) => f.debug_tuple("Probe").field(&probe.packages).finish(),
            Work::Steps(_) => f.write_str("Steps"),
        }
    }
}

/// What came of an attack.
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

    /// Held where nothing is in the list.
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

impl Attack {
    /// True where it can be tried at a site.
    pub fn runs_at(&self, site: Site) -> bool {
        self.sites.contains(&site)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Site::Local => "local",
            Site::Pod => "pod",
        })
    }
}
