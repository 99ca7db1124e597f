//! Rewrites the start of an environment's scripts so that it works in every sandbox and pod.
//!
//! uv starts a script of a relocatable environment through `sh` and `realpath`. If a task lacks `realpath`, the script
//! starts any `python` in the current folder. The start written here looks only beside the script, and needs no program
//! unless the script is called through a link.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hybrid_cache_model::Failure;
use sha2::Digest as _;

use super::record::Installed;
use crate::store::{IoContext, files};

/// The folder of an environment's programs.
const PROGRAMS: &str = "bin";
/// The start that uv writes. A wheel may contain a file with this start too.
const UV_START: &str =
    "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n";
/// A script is read into memory; a larger file is not a script.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;
/// The new start: a program for `sh`, and a string for Python. `pyvenv.cfg` proves that the `python` beside the script
/// belongs to an environment.
const START: &str = "#!/bin/sh\n\
    ''':' # Starts this script with the Python of its environment, which lies beside it.\n\
    d=$0\n\
    [ -h \"$d\" ] && d=$(readlink -f -- \"$d\")\n\
    d=${d%/*}\n\
    [ -f \"$d/../pyvenv.cfg\" ] && exec \"$d/python\" \"$0\" \"$@\"\n\
    echo \"$0: no Python environment found: $d/../pyvenv.cfg is missing\" >&2\n\
    exit 127\n\
    ' '''\n";

/// Rewrites every script that begins with uv's start, and corrects its line of `RECORD` in memory. Each script becomes
/// a new file, because the old one may be the same inode as in uv's cache.
///
/// # Errors
/// The environment cannot be read or written.
pub fn rewrite(installed: &mut Installed) -> Result<(), Failure> {
    let folder = installed.venv.join(PROGRAMS);
    for entry in std::fs::read_dir(&folder).io_context("read the folder", &folder)? {
        let entry = entry.io_context("read the folder", &folder)?;
        let path = entry.path();
        let is_file = entry.file_type().io_context("look at", &path)?.is_file();
        let Some(body) = is_file.then(|| body(&path)).transpose()?.flatten() else {
            continue;
        };
        let (before, after) = (
            [UV_START.as_bytes(), &body].concat(),
            [START.as_bytes(), &body].concat(),
        );
        replace_program(&path, &after)?;
        if let Some(name) = entry.file_name().to_str() {
            correct(installed, &format!("{PROGRAMS}/{name}"), &before, &after);
        }
    }
    Ok(())
}

/// What follows uv's start; `None` if the file has another start or is larger than a script.
fn body(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let mut file = File::open(path).io_context("open", path)?;
    let mut start = Vec::new();
    let most = UV_START.len() as u64;
    (&file).take(most).read_to_end(&mut start).io_context("read", path)?;
    if start != UV_START.as_bytes() || file.metadata().io_context("look at", path)?.len() > MAX_SCRIPT_BYTES {
        return Ok(None);
    }
    let mut body = Vec::new();
    file.read_to_end(&mut body).io_context("read", path)?;
    Ok(Some(body))
}

/// Gives `path` a new file with this content and the old one's mode.
fn replace_program(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mode = path.metadata().io_context("look at", path)?.permissions();
    let temporary = path.with_file_name(files::unique_name(".new"));
    let mut file = File::create_new(&temporary).io_context("create", &temporary)?;
    file.write_all(content).io_context("write", &temporary)?;
    file.set_permissions(mode).io_context("set the mode of", &temporary)?;
    std::fs::rename(&temporary, path).io_context("rename into place", path)
}

/// Updates the `RECORD` entries that matched the old script; wrong entries stay wrong.
fn correct(installed: &mut Installed, path: &str, before: &[u8], after: &[u8]) {
    let (old, new) = (claim(before), claim(after));
    let entries = installed.distributions.iter_mut().flat_map(|one| &mut one.entries);
    for entry in entries.filter(|entry| entry.path == path && entry.hash == old) {
        entry.hash.clone_from(&new);
        entry.size = Some(after.len() as u64);
    }
}

/// The hash of `content` in the form of a `RECORD`.
fn claim(content: &[u8]) -> String {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content));
    format!("sha256={hash}")
}
