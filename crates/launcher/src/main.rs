//! Starts `cargo xtask`: at once if it is up to date, otherwise after a build that a person can watch.
//!
//! Cargo's alias runs this program, which cargo builds within a second because it depends on nothing. `record.rs` decides whether
//! the real program is up to date. The launcher replaces itself by that program, so exit codes, signals and streams pass through.

mod inputs;
mod paths;
mod record;

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};

use hybrid_cache_launcher::is_about_program;
use paths::Paths;
use record::Record;

/// What a shell adds to the number of a signal that ended a program.
const SIGNAL_CODE: i32 = 128;

/// How a build ended.
enum Built {
    Yes,
    /// With the exit code to end with.
    No(u8),
}

fn main() -> ExitCode {
    launch().unwrap_or_else(|error| {
        eprintln!("error: starting cargo xtask: {error}");
        ExitCode::FAILURE
    })
}

fn launch() -> io::Result<ExitCode> {
    let paths = Paths::find()?;
    if Record::is_current(&paths)? {
        // It comes back only if the program cannot be started: another build may be replacing it.
        start(&paths);
    }
    match build(&paths)? {
        Built::Yes => Err(start(&paths)),
        Built::No(code) => Ok(code.into()),
    }
}

/// Becomes the program, with the same arguments, folder, streams and variables.
fn start(paths: &Paths) -> io::Error {
    Command::new(&paths.program).args(env::args_os().skip(1)).exec()
}

/// Lets cargo build the program where a person can watch, and notes what it was built from.
fn build(paths: &Paths) -> io::Result<Built> {
    let is_first = !paths.program.exists();
    if is_first {
        eprintln!(
            "building cargo xtask: the first time takes about three minutes on two processors, later builds take seconds"
        );
    }
    let record = Record::begin(paths)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The folder stays: cargo's configuration, and with it the target folder, depends on it.
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "xtask", "--manifest-path"]);
    command.arg(paths.root.join("Cargo.toml"));
    for name in variables_of_this_program() {
        command.env_remove(name);
    }
    // Progress belongs to the person, standard output to what the program prints.
    let status = command.stdin(std::process::Stdio::null()).status()?;
    if status.success() {
        record.finish(paths)?;
        return Ok(Built::Yes);
    }
    eprintln!("error: cargo xtask does not build\nhint: cargo says why above");
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNAL_CODE + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(Built::No(code.unwrap_or(1)))
}

/// What cargo told this program about itself; another program would take it for its own.
fn variables_of_this_program() -> impl Iterator<Item = OsString> {
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(is_about_program))
}
