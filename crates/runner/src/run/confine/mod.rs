//! Restricts the child before it becomes the user's program: Landlock limits files, seccomp limits system calls.
//!
//! The runner prepares both before it forks, so that the child only hands finished structures to the kernel. The runner
//! itself stays unrestricted: it has to end, reap and report.

mod calls;
mod file_rules;
mod filter;
mod visible;

use std::os::fd::OwnedFd;

use hybrid_cache_model::protocol::RunRequest;
use hybrid_cache_model::{Failure, FailureKind, Protection};
use seccompiler::BpfProgram;

use super::environment::Environment;
use file_rules::Level;

/// Everything the child needs to restrict itself.
#[derive(Debug)]
pub struct Confinement {
    /// The Landlock ruleset; `None` if this kernel has no Landlock.
    pub ruleset: Option<OwnedFd>,
    /// The system call filter; empty for none.
    pub filter: BpfProgram,
    /// Restrictions that this kernel does not support.
    pub warnings: Vec<String>,
}

/// Prepares the restrictions of one run.
///
/// # Errors
/// The request demands Landlock and the kernel has none, or a restriction cannot be built.
pub fn prepare(request: &RunRequest, environment: &Environment) -> Result<Confinement, Failure> {
    let mut warnings = Vec::new();
    let ruleset = if Protection::Landlock.is_on() {
        let (ruleset, level) = file_rules::ruleset(&visible::visible(request, environment))?;
        if request.require_landlock && level == Level::None {
            return Err(Failure::new(
                FailureKind::Sandbox,
                "this kernel has no Landlock, so a tenant's task cannot be kept from other tenants' environments",
            )
            .hint("use a kernel of version 5.13 or later with Landlock enabled (`lsm=landlock,…`), or run without `--tenant`"));
        }
        warnings.extend(level.warning().map(str::to_owned));
        ruleset
    } else {
        None
    };
    let filter = if Protection::Seccomp.is_on() {
        filter::build().map_err(|error| {
            let message = format!("the system call filter cannot be built: {error}");
            Failure::new(FailureKind::Internal, message)
        })?
    } else {
        BpfProgram::new()
    };
    Ok(Confinement {
        ruleset,
        filter,
        warnings,
    })
}
