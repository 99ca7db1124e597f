//! Starts `cargo xtask`: at once if it is up to date, otherwise after a build that a person can watch.
//!
//! Cargo's alias runs this program, which cargo builds within a second because it depends on nothing. `record.rs` decides whether
//! the real program is up to date. The launcher replaces itself by that program, so exit codes, signals and streams pass through.

mod inputs;
mod record;

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use record::Record;

/// What a shell adds to the number of a signal that ended a program.
const SIGNAL_CODE: i32 = 128;

/// Where everything is.
struct Place {
    /// The root of the workspace.
    root: PathBuf,
    /// This program. Cargo builds it anew after a change of compiler, flags or profile.
    launcher: PathBuf,
    /// The program to start.
    program: PathBuf,
}

impl Place {
    fn find() -> io::Result<Place> {
        let launcher = env::current_exe()?;
        // Cargo tells what it runs; without cargo, the place at build time is the best guess.
        let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(own).join("../..").canonicalize()?;
        let program = launcher.with_file_name("xtask");
        Ok(Place {
            root,
            launcher,
            program,
        })
    }
}

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
    let place = Place::find()?;
    if Record::is_current(&place)? {
        // It comes back only if the program cannot be started: another build may be replacing it.
        start(&place);
    }
    match build(&place)? {
        Built::Yes => Err(start(&place)),
        Built::No(code) => Ok(code.into()),
    }
}

/// Becomes the program, with the same arguments, folder, streams and variables.
fn start(place: &Place) -> io::Error {
    Command::new(&place.program).args(env::args_os().skip(1)).exec()
}

/// Lets cargo build the program where a person can watch, and notes what it was built from.
fn build(place: &Place) -> io::Result<Built> {
    let is_first = !place.program.exists();
    if is_first {
        eprintln!(
            "building cargo xtask: the first time takes about three minutes on two processors, later builds take seconds"
        );
    }
    let record = Record::begin(place)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The folder stays: cargo's configuration, and with it the target folder, depends on it.
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "xtask", "--manifest-path"]);
    command.arg(place.root.join("Cargo.toml"));
    for name in variables_of_this_program() {
        command.env_remove(name);
    }
    // Progress belongs to the person, standard output to what the program prints.
    let status = command.stdin(std::process::Stdio::null()).status()?;
    if status.success() {
        record.finish(place)?;
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
    names.filter(|name| name.to_str().is_some_and(inputs::is_told))
}
