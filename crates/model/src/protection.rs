//! The protections that keep one task or package from harming another, by name.
//!
//! Each is one line of the promise table in `docs/reliability.md`. Code that enforces a protection asks
//! [`Protection::is_on`], which is constantly true. Only a build with the feature `mutations`, which no shipped program
//! enables (`xtask/tests/tidy/` checks that), can take one out, to show that the check of its promise notices.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! protections {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// One protection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Protection {
            $($(#[doc = $doc])* $name,)*
        }

        impl Protection {
            /// Every protection, in the order of the promise table.
            pub const ALL: &'static [Protection] = &[$(Protection::$name,)*];

            /// The name in reports, such as `landlock`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Protection::$name => $text,)*
                }
            }
        }
    };
}

protections! {
    /// Shared content is addressed by a hash of the bytes on disk, never by a hash that a package claims.
    ContentHashes = "content-hashes",
    /// Only `lib/pythonX.Y/site-packages` counts as installed, and every requirement must be there.
    InstalledCheck = "installed-check",
    /// Our own files are new inodes outside of the environment, never written through a package's hard link.
    OwnFiles = "own-files",
    /// Only wheels are installed: preparing runs no code of a package. What has no wheel is built elsewhere first.
    WheelsOnly = "wheels-only",
    /// A sandbox that builds has none of the Python volume, and nothing writable that is shared.
    BuildMounts = "build-mounts",
    /// What a build leaves counts as the package and the version that it was ordered for, or is refused.
    BuiltAsNamed = "built-as-named",
    /// User names and passwords of indexes are for uv in the preparing sandbox alone.
    IndexLogins = "index-logins",
    /// A task's text names no index, host or repository that the operator does not allow.
    NamedSources = "named-sources",
    /// User code has the caches and the system mounted read-only.
    ReadOnlyMounts = "read-only-mounts",
    /// A task's mounts hold its tenant's folder, the shared bytecode and the store, and nothing else of the volumes.
    NarrowMounts = "narrow-mounts",
    /// The runner narrows the file system to the task's own environments before it starts the program.
    Landlock = "landlock",
    /// A lease that excludes others needs a writable descriptor.
    LeaseLocks = "lease-locks",
    /// An environment runs only while its lease is held.
    LeaseRequired = "lease-required",
    /// A task has a network namespace of its own.
    NetworkNamespace = "network-namespace",
    /// Routes to this machine's addresses and to link-local ones are unreachable.
    BlockedRoutes = "blocked-routes",
    /// A system call filter.
    Seccomp = "seccomp",
    /// The runner's memory, descriptors and report are out of reach for user code.
    OwnReport = "own-report",
    /// `/tmp`, `/dev/shm` and the work folder have a size.
    ScratchSize = "scratch-size",
    /// The kernel ends user code before anything else when memory runs out.
    OomFirst = "oom-first",
    /// A bound on memory.
    MemoryLimit = "memory-limit",
    /// A bound on processes and threads.
    ProcessLimit = "process-limit",
    /// A bound on open files.
    OpenFilesLimit = "open-files-limit",
    /// A bound on time that holds even if the program ignores signals.
    TimeLimit = "time-limit",
    /// A bound on the output that the runner passes on.
    OutputLimit = "output-limit",
    /// `cache verify` compares content.
    VerifyContent = "verify-content",
    /// A lookup treats visible damage as a miss.
    DamageIsMiss = "damage-is-miss",
    /// Filtering Argo's lines out of a log takes time and memory in proportion to the log.
    ArgoLineBound = "argo-line-bound",
    /// A driver keeps no more of a task's output than its limit, even if more came past the runner.
    OutputBound = "output-bound",
    /// Files with caches, tasks and output are for their owner alone.
    PrivateFiles = "private-files",
    /// A token file that others may read is refused.
    TokenFileMode = "token-file-mode",
    /// Without a token the service answers this machine only where tasks cannot reach it.
    TokenRequired = "token-required",
    /// The service does not take a request that a page of another site sent, or that names another host.
    SameOrigin = "same-origin",
    /// Control characters in output do not reach a terminal.
    TerminalEscapes = "terminal-escapes",
    /// Each tenant's environments have a root of their own.
    TenantRoots = "tenant-roots",
    /// Each tenant sees its own tasks and output only.
    TenantTasks = "tenant-tasks",
    /// Packages of a private index stay with their tenant.
    PrivateIndex = "private-index",
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(not(feature = "mutations"))]
impl Protection {
    /// True: in a shipped program every protection is on.
    pub const fn is_on(self) -> bool {
        true
    }
}

// Whoever ships a program builds it with optimisation: such a build has no way to switch a protection off.
#[cfg(all(feature = "mutations", not(debug_assertions)))]
compile_error!(
    "the feature `mutations` is for tests alone: it takes protections out, and is never part of a release build"
);

/// The variable of a request whose value, names joined by commas, takes protections out of a runner built for that.
#[cfg(feature = "mutations")]
pub const MUTATIONS_VARIABLE: &str = "HYBRID_CACHE_MUTATIONS";

#[cfg(feature = "mutations")]
mod mutations {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    use super::Protection;

    static REMOVED: Mutex<BTreeSet<Protection>> = Mutex::new(BTreeSet::new());

    impl Protection {
        /// False if this process was configured without the protection.
        pub fn is_on(self) -> bool {
            !REMOVED.lock().unwrap_or_else(PoisonError::into_inner).contains(&self)
        }

        /// Takes the protection out of this process, or puts it back.
        pub fn set(self, on: bool) {
            let mut removed = REMOVED.lock().unwrap_or_else(PoisonError::into_inner);
            if on {
                removed.remove(&self);
            } else {
                removed.insert(self);
            }
        }

        /// Takes out what a text names, the names joined by commas. Names that are none take nothing out.
        pub fn take_out_named(names: &str) {
            let named = |protection: &&Protection| names.split(',').any(|name| name == protection.name());
            Protection::ALL
                .iter()
                .filter(named)
                .for_each(|protection| protection.set(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_equal_the_serialised_form() {
        for protection in Protection::ALL {
            assert_eq!(serde_json::to_string(protection).unwrap(), format!("\"{protection}\""));
        }
    }
}
