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
use std::process::{Child, Command, ExitCode, Stdio};

use hybrid_cache_launcher::{STATIC_FLAGS, host_target, is_about_program, release_build};
use paths::Paths;
use record::Record;

/// What a shell adds to the number of a signal that ended a program.
const SIGNAL_CODE: i32 = 128;

/// Commands that build the runner as well. The first time, both builds go on side by side: each alone leaves processors idle.
const NEED_RUNNER: [&str; 5] = ["bench", "run", "serve", "test", "up"];

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
    let needs_runner = env::args()
        .nth(1)
        .is_some_and(|command| NEED_RUNNER.contains(&command.as_str()));
    let runner = if is_first && needs_runner {
        begin_runner(paths)
    } else {
        None
    };
    // The folder stays: cargo's configuration, and with it the target folder, depends on it.
    let mut command = cargo();
    command.args(["build", "--package", "xtask", "--manifest-path"]);
    command.arg(paths.root.join("Cargo.toml"));
    // Progress belongs to the person, standard output to what the program prints.
    let status = command.status()?;
    if status.success() {
        record.finish(paths)?;
        return Ok(Built::Yes);
    }
    if let Some(mut runner) = runner {
        let _ = runner.kill();
    }
    eprintln!("error: cargo xtask does not build\nhint: cargo says why above");
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNAL_CODE + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(Built::No(code.unwrap_or(1)))
}

/// Starts the runner's build. It needs no result: the program builds the runner itself, and finds what is finished.
fn begin_runner(paths: &Paths) -> Option<Child> {
    let version = Command::new("rustc").arg("-vV").output().ok()?;
    let version = String::from_utf8(version.stdout).ok()?;
    let mut command = cargo();
    command.args(release_build(
        &paths.root,
        host_target(&version)?,
        "hybrid-cache-runner",
        "runner",
    ));
    command.current_dir(&paths.root).env("RUSTFLAGS", STATIC_FLAGS);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in variables_of_this_program() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Variables that cargo sets about this program; another program would take it for its own.
fn variables_of_this_program() -> impl Iterator<Item = OsString> {
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(is_about_program))
}
