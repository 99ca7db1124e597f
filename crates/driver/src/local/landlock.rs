//! How much of Landlock this machine's kernel supports. The runner restricts programs with it.

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

/// How much of Landlock the kernel supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Landlock {
    /// Nothing: a program can read every environment that its sandbox shows, and open its leases.
    None,
    /// Files (from version 1).
    Files,
    /// Files, signals and abstract sockets (from version 6).
    FilesAndScopes,
}

impl Landlock {
    /// Asks the kernel.
    pub fn from_kernel() -> Landlock {
        let ruleset = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let scopes = Scope::AbstractUnixSocket | Scope::Signal;
        if ruleset().scope(scopes).is_ok() {
            Landlock::FilesAndScopes
        } else if ruleset().handle_access(AccessFs::from_all(ABI::V1)).is_ok() {
            Landlock::Files
        } else {
            Landlock::None
        }
    }
}
