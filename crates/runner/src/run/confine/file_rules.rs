//! The Landlock ruleset: which files a program may use. Paths without a rule are denied, whoever owns them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use hybrid_cache_model::{Failure, FailureKind};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use super::visible::Visible;

/// The newest Landlock version that is used. An older kernel enforces the part that it supports.
const NEWEST: ABI = ABI::V7;

/// What every program may read: the base system, and the kernel's description of the machine. Numeric libraries read
/// processors and memory from `/sys`. `/proc` is not writable, so that a program cannot lower its own `oom_score_adj`.
const READABLE: [&str; 13] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Writable folders, beside the scratch folder.
const WRITABLE: [&str; 2] = ["/tmp", "/dev/shm"];

/// The allowed devices; other devices are denied.
const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// How much of the restriction this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing: the kernel has no Landlock.
    None,
    /// Files only.
    Files,
    /// Files, and signals and abstract sockets to processes outside the task.
    FilesAndScopes,
}

impl Level {
    /// A warning for the user, if something is not enforced.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Level::None => Some(
                "this kernel has no Landlock: the task could read other environments of the cache and open their leases",
            ),
            Level::Files => Some(
                "this kernel's Landlock is older than version 6: the task's signals and abstract sockets are not confined",
            ),
            Level::FilesAndScopes => None,
        }
    }
}

/// Creates the ruleset; `None` if the kernel has no Landlock.
///
/// # Errors
/// An existing path cannot be opened, or the kernel refuses a rule.
pub fn ruleset(visible: &Visible) -> Result<(Option<OwnedFd>, Level), Failure> {
    let (mut ruleset, level) = create().map_err(refused)?;
    if level == Level::None {
        return Ok((None, level));
    }
    let read = AccessFs::from_read(NEWEST);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev | AccessFs::ReadDir;
    // Only root can create device nodes; deny it here too.
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    for path in READABLE
        .iter()
        .map(Path::new)
        .chain(visible.read.iter().map(|path| &**path))
    {
        allow(&mut ruleset, path, read)?;
    }
    for path in WRITABLE
        .iter()
        .map(Path::new)
        .chain(visible.write.iter().map(|path| &**path))
    {
        allow(&mut ruleset, path, write)?;
    }
    for path in DEVICES {
        allow(&mut ruleset, Path::new(path), device)?;
    }
    allow(&mut ruleset, Path::new("/dev"), AccessFs::ReadDir.into())?;
    Ok((ruleset.into(), level))
}

/// An empty ruleset with everything that the kernel supports, and its level.
fn create() -> Result<(RulesetCreated, Level), RulesetError> {
    let files = || Ruleset::default().handle_access(AccessFs::from_all(NEWEST));
    let scopes = Scope::AbstractUnixSocket | Scope::Signal;
    let all = files()?.set_compatibility(CompatLevel::HardRequirement).scope(scopes);
    if let Ok(all) = all {
        let all = all.set_compatibility(CompatLevel::BestEffort);
        return Ok((all.create()?, Level::FilesAndScopes));
    }
    let first = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1));
    let level = if first.is_ok() { Level::Files } else { Level::None };
    Ok((files()?.create()?, level))
}

/// Adds one rule; an absent path needs none.
fn allow(ruleset: &mut RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<(), Failure> {
    let folder = match PathFd::new(path) {
        Ok(folder) => folder,
        Err(PathFdError::OpenCall { source, .. }) if is_absent(&source) => return Ok(()),
        Err(error) => {
            let message = format!("{} cannot be opened for the task: {error}", path.display());
            return Err(Failure::new(FailureKind::Sandbox, message));
        }
    };
    ruleset
        .add_rule(PathBeneath::new(folder, access))
        .map(drop)
        .map_err(refused)
}

/// A folder that this user may not enter counts as absent, because the program has no more rights than this user.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

fn refused(error: RulesetError) -> Failure {
    Failure::new(
        FailureKind::Sandbox,
        format!("the kernel refuses a Landlock rule: {error}"),
    )
}
