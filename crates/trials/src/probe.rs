//! A probe: a task whose program reports what it could do.

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
