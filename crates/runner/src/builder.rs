//! Runs one program that may run code of packages, and collects the files that it leaves: `runner build` in a sandbox of
//! this machine, `runner pod-build` in a container.
//!
//! The program is confined like a task's: the same mounts without the Python volume, the same user, system calls,
//! network and bounds. Its files are copied out once none of its processes is left, so nothing changes them meanwhile.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use hybrid_cache_model::protocol::{BUILD_OUT, BuildReport, BuildRequest, RunReport, RunRequest};
use hybrid_cache_model::{End, Failure, FailureKind};

use crate::clock::Recorder;
use crate::run::{self, FromDriver};
use crate::store::IoContext;

/// How much longer than its own limit a build may take, sandbox and copies included.
pub const BUILD_MARGIN: Duration = Duration::from_secs(120);
/// Most files that a build may leave: a wheel and its answer, and room for none of a stranger's.
pub const MAX_FILES: usize = 4;
/// Most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Receives a file that a build left: its name, the file, and its bytes.
pub type Take<'a> = &'a mut dyn FnMut(&str, File, u64) -> Result<(), Failure>;

/// Runs the program of `request` and copies its files to the folder that it could not reach. Failures are part of the
/// report.
pub fn build(request: &BuildRequest, from_driver: FromDriver, recorder: &Recorder) -> BuildReport {
    let mut copy = |name: &str, file: File, bytes: u64| {
        let path = Path::new(&request.out).join(name);
        let mut target = File::create_new(&path).io_context("create", &path)?;
        io::copy(&mut io::Read::take(file, bytes), &mut target).io_context("write", &path)?;
        Ok(())
    };
    run(&request.run, from_driver, recorder, &mut copy)
}

/// Runs a program, and passes its files on once none of its processes is left. Failures are part of the report.
pub fn run(request: &RunRequest, from_driver: FromDriver, recorder: &Recorder, take: Take<'_>) -> BuildReport {
    let end = match run::run(request, from_driver, recorder) {
        RunReport::Finished { end, .. } => end,
        RunReport::Missed { .. } => {
            let message = "the system packages were evicted before the build could use them";
            return failed(Failure::new(FailureKind::CacheAccess, message).hint("run the task again"));
        }
    };
    if !end.is_success() {
        return BuildReport { end, files: Vec::new() };
    }
    match collect(request, take) {
        Ok(files) => BuildReport { end, files },
        Err(failure) => failed(failure),
    }
}

/// The report of a build that did not run to its end because of us.
pub fn failed(failure: Failure) -> BuildReport {
    BuildReport {
        end: End::Failed { failure },
        files: Vec::new(),
    }
}

/// Passes on the files that the program left. Returns their names.
fn collect(request: &RunRequest, take: Take<'_>) -> Result<Vec<String>, Failure> {
    let scratch = Path::new(&request.scratch);
    let mut folder = scratch.to_owned();
    own(request, &folder)?;
    for part in Path::new(BUILD_OUT) {
        folder.push(part);
        own(request, &folder)?;
        if !fs::symlink_metadata(&folder).io_context("look at", &folder)?.is_dir() {
            return Err(refused("put something else in the place of its folder"));
        }
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).io_context("read the folder", &folder)? {
        let path = entry.io_context("read the folder", &folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if names.len() == MAX_FILES || !is_plain(&name) {
            return Err(refused("left files that no build leaves"));
        }
        own(request, &path)?;
        let (file, bytes) = open(&path)?;
        take(&name, file, bytes)?;
        names.push(name);
    }
    Ok(names)
}

/// True for the name of a file that a build may leave.
pub fn is_plain(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._+!-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_good)
}

/// Takes over what the program's user owned: root without capabilities could not read it.
fn own(request: &RunRequest, path: &Path) -> Result<(), Failure> {
    if request.identity.is_none() {
        return Ok(());
    }
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    std::os::unix::fs::lchown(path, Some(ids.0), Some(ids.1)).io_context("take over", path)
}

/// Opens a regular file, and nothing that it may be a link to. Also returns its bytes.
fn open(from: &Path) -> Result<(File, u64), Failure> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags).open(from);
    let source = opened.map_err(|error| refused(&format!("left a file that cannot be read: {error}")))?;
    let found = source.metadata().io_context("look at", from)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(refused(&format!(
            "left a file that is special or has more than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok((source, found.len()))
}

/// The failure for a build that left what no build leaves.
pub fn refused(what: &str) -> Failure {
    Failure::new(
        FailureKind::NoWheel,
        format!("the code of a package that is built {what}"),
    )
    .hint("do not use this package, or a version of it that has a wheel")
}
