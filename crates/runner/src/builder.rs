//! `runner build`: runs one program that may run code of packages, and collects the files that it leaves.
//!
//! The program is confined like a task's: the same mounts without the Python volume, the same user, system calls,
//! network and bounds. Its files are copied out once none of its processes is left, so nothing changes them meanwhile.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hybrid_cache_model::protocol::{BUILD_OUT, BuildReport, BuildRequest, RunReport};
use hybrid_cache_model::{End, Failure, FailureKind};

use crate::clock::Recorder;
use crate::run::{self, FromDriver};
use crate::store::IoContext;

/// Most files that a build may leave: a wheel and its answer, and room for none of a stranger's.
const MAX_FILES: usize = 4;
/// Most bytes of one file.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Runs the program of `request`. Failures are part of the report.
pub fn build(request: &BuildRequest, from_driver: FromDriver, recorder: &Recorder) -> BuildReport {
    let end = match run::run(&request.run, from_driver, recorder) {
        RunReport::Finished { end, .. } => end,
        RunReport::Missed { .. } => {
            let message = "the system packages were evicted before the build could use them";
            return failed(Failure::new(FailureKind::CacheAccess, message).hint("run the task again"));
        }
    };
    if !end.is_success() {
        return BuildReport { end, files: Vec::new() };
    }
    match collect(request) {
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

/// Copies the files that the program left to the folder that it could not reach. Returns their names.
fn collect(request: &BuildRequest) -> Result<Vec<String>, Failure> {
    let scratch = Path::new(&request.run.scratch);
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
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+!-".contains(c);
        if names.len() == MAX_FILES || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(refused("left files that no build leaves"));
        }
        own(request, &path)?;
        copy(&path, &Path::new(&request.out).join(&name))?;
        names.push(name);
    }
    Ok(names)
}

/// Takes over what the program's user owned: root without capabilities could not read it.
fn own(request: &BuildRequest, path: &Path) -> Result<(), Failure> {
    if request.run.identity.is_none() {
        return Ok(());
    }
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    std::os::unix::fs::lchown(path, Some(ids.0), Some(ids.1)).io_context("take over", path)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags).open(from);
    let source = opened.map_err(|error| refused(&format!("left a file that cannot be read: {error}")))?;
    let found = source.metadata().io_context("look at", from)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(refused(&format!(
            "left a file that is special or has more than {MAX_FILE_BYTES} bytes"
        )));
    }
    let mut target = File::create_new(to).io_context("create", to)?;
    io::copy(&mut io::Read::take(source, MAX_FILE_BYTES), &mut target).io_context("write", to)?;
    Ok(())
}

fn refused(what: &str) -> Failure {
    Failure::new(
        FailureKind::NoWheel,
        format!("the code of a package that is built {what}"),
    )
    .hint("do not use this package, or a version of it that has a wheel")
}
