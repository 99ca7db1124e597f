//! What holds before any code of a task runs: an interpreter that the program accepts, and a runner that user code cannot reach.

use std::str::FromStr;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Protection, Task};
use pep440_rs::Version;
use rustix::process::DumpableBehavior;

use super::descendants;
use super::kernel::{self, Signals};

/// Checks that the interpreter is one that the program accepts.
pub fn check_python(task: &Task, interpreter: &Interpreter) -> Result<(), Failure> {
    let accepted = &task.requires_python;
    // A version that cannot be read is the interpreter's fault, not the program's.
    if Version::from_str(&interpreter.version).map_or(true, |version| accepted.contains(&version)) {
        return Ok(());
    }
    let message = format!(
        "the program requires Python {accepted}, and tasks run with {} here",
        interpreter.version
    );
    Err(Failure::new(FailureKind::Unsatisfiable, message).hint("change `requires-python` in its `# /// script` block"))
}

/// Protects the runner from user code, and makes the runner the parent of orphans.
pub fn guard_ourselves() -> std::io::Result<Signals> {
    // Other processes of the same user must not trace this process or open its descriptors through /proc.
    if Protection::OwnReport.is_on() {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        kernel::hide_descriptors();
    }
    rustix::thread::set_no_new_privs(true)?;
    descendants::adopt_orphans()?;
    Signals::watch()
}
