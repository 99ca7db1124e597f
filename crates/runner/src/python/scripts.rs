//! Gives the scripts of an environment a start that works in every sandbox and pod.
//!
//! uv starts a script of a relocatable environment through `sh` and `realpath`. A task may lack `realpath`; the script then
//! starts whatever is called `python` in the current folder. The start written here looks beside the script alone, and
//! needs no program unless the script was called by a link.

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
/// How uv starts a script. A wheel may bring a file in this form as well.
const UV_START: &str =
    "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n";
/// A script is read into memory; a larger file is no script.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;
/// How a script starts here: a program for `sh`, and a string for Python. `pyvenv.cfg` shows that the `python` beside the
/// script is that of an environment.
const START: &str = "#!/bin/sh\n\
    ''':' # Starts this script with the Python of its environment, which lies beside it.\n\
    d=$0\n\
    [ -h \"$d\" ] && d=$(readlink -f -- \"$d\")\n\
    d=${d%/*}\n\
    [ -f \"$d/../pyvenv.cfg\" ] && exec \"$d/python\" \"$0\" \"$@\"\n\
    echo \"$0: no Python environment found: $d/../pyvenv.cfg is missing\" >&2\n\
    exit 127\n\
    ' '''\n";

/// Rewrites the start of every script that uv's start begins, and corrects the script's line of `RECORD` in memory. Each
/// script becomes a new file: the old one may be the same inode as in uv's cache.
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

/// What follows uv's start; `None` if the file begins otherwise or is larger than a script.
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

/// Puts what a script is now into the entries that described it rightly; one that was wrong stays wrong.
fn correct(installed: &mut Installed, path: &str, before: &[u8], after: &[u8]) {
    let (old, new) = (claim(before), claim(after));
    let entries = installed.distributions.iter_mut().flat_map(|one| &mut one.entries);
    for entry in entries.filter(|entry| entry.path == path && entry.hash == old) {
        entry.hash.clone_from(&new);
        entry.size = Some(after.len() as u64);
    }
}

/// The hash of some content as a `RECORD` writes it.
fn claim(content: &[u8]) -> String {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content));
    format!("sha256={hash}")
}
