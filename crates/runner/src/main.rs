//! The runner's command line: `run`, `prepare`, `usage`, `gc`, `verify`, `version`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use hybrid_cache_model::protocol::{EXIT_BROKEN, EXIT_MISSED, EXIT_REPORTED, RunReport, RunRequest};
use hybrid_cache_model::{Failure, FailureKind};
use hybrid_cache_runner::clock::Recorder;
use hybrid_cache_runner::run::{self, Destination};
use serde::de::DeserializeOwned;

const USAGE: &str = "\
usage: runner run [--report-fd N | --report-file PATH]   a RunRequest on standard input
       runner version";

/// Exit code for a command line that makes no sense.
const EXIT_USAGE: i32 = 2;
/// A request holds at most a mebibyte of code, every byte of it escaped in JSON, and a few paths.
const MAX_REQUEST_BYTES: u64 = 16 << 20;

fn main() -> ExitCode {
    let recorder = Recorder::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let code = match arguments.as_slice() {
        ["run"] => run(Ok(Destination::StandardError), &recorder),
        ["run", "--report-fd", number] => match number.parse() {
            Ok(number) => run(Destination::descriptor(number), &recorder),
            Err(_) => usage(&format!("--report-fd wants a number, not `{number}`")),
        },
        ["run", "--report-file", path] => run(Destination::file(Path::new(path)), &recorder),
        ["version"] => version(),
        [] => usage("no command"),
        [command, ..] => usage(&format!("`{command}` with these arguments is no command")),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn run(destination: Result<Destination, run::ReportError>, recorder: &Recorder) -> i32 {
    let mut destination = match destination {
        Ok(destination) => destination,
        Err(error) => return broken(&error.to_string()),
    };
    let report = match read_request::<RunRequest>() {
        Ok(request) => run::run(&request, &mut destination, recorder),
        Err(failure) => run::failed(failure, recorder),
    };
    let code = match report {
        RunReport::Missed { .. } => EXIT_MISSED,
        RunReport::Finished { .. } | RunReport::Holding => EXIT_REPORTED,
    };
    match destination.write(report) {
        Ok(()) => code,
        Err(error) => broken(&error.to_string()),
    }
}

fn read_request<T: DeserializeOwned>() -> Result<T, Failure> {
    let mut text = Vec::new();
    let refuse = |message: String| {
        Failure::new(FailureKind::Internal, message).hint("driver and runner must be of the same version")
    };
    let mut input = std::io::stdin().lock().take(MAX_REQUEST_BYTES + 1);
    input
        .read_to_end(&mut text)
        .map_err(|error| refuse(format!("the request cannot be read: {error}")))?;
    if text.len() as u64 > MAX_REQUEST_BYTES {
        return Err(refuse(format!("the request has more than {MAX_REQUEST_BYTES} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| refuse(format!("the request is not what was expected: {error}")))
}

fn version() -> i32 {
    println!(
        "runner {} layout {}",
        env!("CARGO_PKG_VERSION"),
        hybrid_cache_model::key::LAYOUT_VERSION
    );
    EXIT_REPORTED
}

fn usage(message: &str) -> i32 {
    eprintln!("runner: {message}\n{USAGE}");
    EXIT_USAGE
}

fn broken(message: &str) -> i32 {
    eprintln!("runner: {message}");
    EXIT_BROKEN
}
