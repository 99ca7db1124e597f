//! An attack as data: what it tries, which promise it tests, where it runs and how it is done.

use std::fmt;
use std::pin::Pin;

use hybrid_cache_model::Protection;

use crate::attack_context::AttackContext;
use crate::error::TrialError;
use crate::probe::Probe;
use crate::site::{Need, Site};
use crate::verdict::Verdict;

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
    pub method: AttackMethod,
}

/// How an attack is done.
#[derive(Clone, Copy)]
pub enum AttackMethod {
    /// A task runs this program, which reports what it could do. Nothing may be in that report.
    Probe(Probe),
    /// Several steps with a judgement of their own.
    Steps(fn(&AttackContext) -> Steps<'_>),
}

/// The future of an attack in steps.
pub type Steps<'a> = Pin<Box<dyn Future<Output = Result<Verdict, TrialError>> + 'a>>;

impl fmt::Debug for AttackMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttackMethod::Probe(probe) => f.debug_tuple("Probe").field(&probe.packages).finish(),
            AttackMethod::Steps(_) => f.write_str("Steps"),
        }
    }
}

impl Attack {
    /// True if it can be tried at a site.
    pub fn runs_at(&self, site: Site) -> bool {
        self.sites.contains(&site)
    }
}
