//! The runner's command line: parses arguments and requests, calls the library, and sets the exit code.

use std::io::{BufRead, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::network::{HoldReport, HoldRequest};
use hybrid_cache_model::pod::{PREPARED_VARIABLE, TERMINATION_FILE, TRAILER_VARIABLE};
use hybrid_cache_model::protocol::{
    BuildOrder, BuildReport, BuildRequest, EXIT_BROKEN, EXIT_MISSED, EXIT_REPORTED, PrepareEvent, PrepareRequest,
    RunReport, RunRequest,
};
use hybrid_cache_model::{Failure, FailureKind};
use hybrid_cache_runner::builder::{self, BUILD_MARGIN};
use hybrid_cache_runner::clock::Recorder;
use hybrid_cache_runner::maintenance::{self, MaintenanceCommand};
use hybrid_cache_runner::network;
use hybrid_cache_runner::pod::{self, Shorten};
use hybrid_cache_runner::prepare;
use hybrid_cache_runner::run::{self, Destination, FromDriver};
use serde::Serialize;
use serde::de::DeserializeOwned;

const USAGE: &str = "\
usage: runner run [--report-back | --report-fd N | --report-file PATH]
                                    read a RunRequest from standard input; write the report back through the socket on
                                    standard input, whose hang-up cancels the task, to descriptor N or to the file PATH
       runner prepare               read a PrepareRequest from standard input, write events to standard output; keep the
                                    environments leased until standard input is closed
       runner build                 read a BuildRequest from standard input, run its program, collect its files; write the report
                                    back through the socket on standard input
       runner usage | contents | gc | verify
                                    read a MaintainRequest from standard input, write a report to standard output
       runner pod-run | pod-standby | pod-prepare | pod-build | pod-maintain
                                    in a pod: read the request from a file, write the report to the termination message
       runner pod-seed              during an image build: read the request from a file, pack filled caches into /seed,
                                    write a report to standard output
       runner hold-network          read a HoldRequest from standard input, write a HoldReport to standard output, and keep
                                    the task's network
       runner start-pasta PROGRAM [ARGUMENT...]
                                    used by hold-network
       runner join-network PID USER-NAMESPACE NETWORK-NAMESPACE PROGRAM [ARGUMENT...]
                                    become the program in the namespaces of the holder PID, given by their inodes; 0
                                    keeps the user namespace
       runner version";

/// Exit code for an invalid command line.
const EXIT_USAGE: i32 = 2;
/// A request holds at most a mebibyte of code, every byte of it escaped in JSON, and a few paths.
const MAX_REQUEST_BYTES: u64 = 16 << 20;

fn main() -> ExitCode {
    let recorder = Recorder::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let code = match arguments.as_slice() {
        ["run"] => run(Ok(Destination::StandardError), None, &recorder),
        ["run", "--report-back"] => run(Destination::back(), Some(rustix::stdio::stdin()), &recorder),
        ["run", "--report-fd", number] => match number.parse() {
            Ok(number) => run(Destination::descriptor(number), None, &recorder),
            Err(_) => usage(&format!("--report-fd wants a number, not `{number}`")),
        },
        ["run", "--report-file", path] => run(Destination::file(Path::new(path)), None, &recorder),
        ["prepare"] => prepare(&recorder),
        ["build"] => build(&recorder),
        ["usage"] => maintain(MaintenanceCommand::Usage),
        ["contents"] => maintain(MaintenanceCommand::Contents),
        ["gc"] => maintain(MaintenanceCommand::Gc),
        ["verify"] => maintain(MaintenanceCommand::Verify),
        ["pod-run"] => pod_run(&recorder),
        ["pod-standby"] => pod_standby(),
        ["pod-prepare"] => leave(&mut pod::prepare(&recorder)),
        ["pod-build"] => pod_build(&recorder),
        ["pod-maintain"] => leave(&mut pod::maintain()),
        ["pod-seed"] => answer(&pod::make_seed()),
        ["hold-network"] => hold_network(),
        ["start-pasta", program, arguments @ ..] => broken(&network::start_pasta(program, arguments)),
        ["join-network", pid, user, net, program, arguments @ ..] => {
            broken(&network::join(pid, user, net, program, arguments))
        }
        ["version"] => version(),
        [] => usage("no command"),
        [command, ..] => usage(&format!("unknown command or wrong arguments: `{command}`")),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn run(
    destination: Result<Destination, run::ReportError>,
    socket: Option<BorrowedFd<'static>>,
    recorder: &Recorder,
) -> i32 {
    let destination = match destination {
        Ok(destination) => destination,
        Err(error) => return broken(&error.to_string()),
    };
    // If memory runs out, the kernel should end a sandbox rather than the service that started it.
    run::prefer_to_end_before_the_driver();
    let report = match read_run_request() {
        Ok((request, memory_group)) => run::run(&request, FromDriver::new(memory_group, socket), recorder),
        Err(failure) => run::failed(failure, recorder),
    };
    report_to(destination, report)
}

/// Runs the task of a pod.
fn pod_run(recorder: &Recorder) -> i32 {
    // Open it before user code can replace it.
    match Destination::file(Path::new(TERMINATION_FILE)) {
        Ok(destination) => {
            let report = pod::run(recorder);
            let token = std::env::var(TRAILER_VARIABLE).ok();
            let trailer = report.clone();
            let code = report_to(destination, report);
            // Ignore a failure: this is a copy, the termination message decides.
            let _ = pod::trail(token.as_deref(), &trailer);
            code
        }
        Err(error) => broken(&error.to_string()),
    }
}

/// Waits for the task of a standby pod, and runs it.
fn pod_standby() -> i32 {
    let setup = std::env::var(PREPARED_VARIABLE).ok();
    match pod::stand_by(setup.as_deref()) {
        Ok(Some(run)) => {
            let code = report_to(run.destination, run.report.clone());
            // Ignore a failure: this is a copy, the termination message decides.
            let _ = pod::trail(Some(&run.token), &run.report);
            run.driver.wait_for_reader();
            code
        }
        Ok(None) => EXIT_REPORTED,
        Err(failure) => broken(&failure.to_string()),
    }
}

/// Runs code of packages for the preparing container, which reports what went wrong.
fn pod_build(recorder: &Recorder) -> i32 {
    match pod::build(recorder) {
        Ok(()) => EXIT_REPORTED,
        Err(failure) => broken(&failure.to_string()),
    }
}

/// Writes a report as the container's termination message.
fn leave(report: &mut impl Shorten) -> i32 {
    match pod::leave_message(Path::new(TERMINATION_FILE), report) {
        Ok(()) => EXIT_REPORTED,
        Err(error) => broken(&format!("cannot write {TERMINATION_FILE}: {error}")),
    }
}

fn report_to(destination: Destination, report: RunReport) -> i32 {
    let code = match report {
        RunReport::Missed { .. } => EXIT_MISSED,
        RunReport::Finished { .. } => EXIT_REPORTED,
    };
    match destination.write(report) {
        Ok(()) => code,
        Err(error) => broken(&error.to_string()),
    }
}

/// Prepares, and writes events to standard output. A failure is an event too.
fn prepare(recorder: &Recorder) -> i32 {
    let exit_code = AtomicI32::new(EXIT_REPORTED);
    // If an event cannot be written, its reader has gone. Keep preparing: the next task can use the result.
    let emit = |event: &PrepareEvent| {
        if let Err(error) = write_line(event) {
            exit_code.store(broken(&error.to_string()), Ordering::Relaxed);
        }
    };
    match read_request::<PrepareRequest>() {
        Ok(request) => {
            let build = |order: &BuildOrder| ask_driver(order, &emit);
            prepare::run_until_leased(&request, recorder, &emit, &until_input_closes, Some(&build));
        }
        Err(failure) => emit(&PrepareEvent::Failed {
            failure,
            timeline: recorder.timeline(),
        }),
    }
    exit_code.into_inner()
}

/// Has the driver run a build, in a sandbox of its own, and waits for its report on standard input.
fn ask_driver(order: &BuildOrder, emit: &dyn Fn(&PrepareEvent)) -> Result<BuildReport, Failure> {
    emit(&PrepareEvent::Build { order: order.clone() });
    let (sender, answered) = mpsc::channel();
    std::thread::spawn(move || sender.send(read_request::<BuildReport>()));
    let limit = Duration::from_millis(order.time_ms) + BUILD_MARGIN;
    answered.recv_timeout(limit).unwrap_or_else(|_| {
        let message = format!("the driver did not report a build within {} s", limit.as_secs());
        Err(Failure::new(FailureKind::Deadline, message))
    })
}

/// Runs one program that may run code of packages, and reports back over the socket on standard input.
fn build(recorder: &Recorder) -> i32 {
    let destination = match Destination::back() {
        Ok(destination) => destination,
        Err(error) => return broken(&error.to_string()),
    };
    run::prefer_to_end_before_the_driver();
    let (first, memory_group) = run::take_descriptor(rustix::stdio::stdin());
    let socket = Some(rustix::stdio::stdin());
    let report = match read_request_after::<BuildRequest>(first) {
        Ok(request) => builder::build(&request, FromDriver::new(memory_group, socket), recorder),
        Err(failure) => builder::failed(failure),
    };
    match destination.write_whole(&report) {
        Ok(()) => EXIT_REPORTED,
        Err(error) => broken(&error.to_string()),
    }
}

/// Waits until the driver closes standard input, which means that the task has its leases, or until `limit` has passed.
fn until_input_closes(limit: Duration) {
    let (sender, closed) = mpsc::channel();
    std::thread::spawn(move || {
        // Only the end of the input matters, not its content.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        sender.send(())
    });
    let _ = closed.recv_timeout(limit);
}

fn maintain(command: MaintenanceCommand) -> i32 {
    let report = match read_request::<MaintainRequest>() {
        Ok(request) => maintenance::answer(command, &request),
        Err(failure) => MaintainReport::Failed { failure },
    };
    answer(&report)
}

fn answer(report: &impl Serialize) -> i32 {
    match write_line(report) {
        Ok(()) => EXIT_REPORTED,
        Err(error) => broken(&error.to_string()),
    }
}

/// Writes one line of JSON to standard output under its lock, because several threads write events.
fn write_line(message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Reads a request and, if standard input is a socket that carries one, the file of a control group.
fn read_run_request() -> Result<(RunRequest, Option<OwnedFd>), Failure> {
    let (first, group) = run::take_descriptor(rustix::stdio::stdin());
    Ok((read_request_after(first)?, group))
}

fn read_request<T: DeserializeOwned>() -> Result<T, Failure> {
    read_request_after(Vec::new())
}

/// Reads the one line of standard input that is the request and begins with `text`. The rest of the input is not part
/// of the request.
fn read_request_after<T: DeserializeOwned>(mut text: Vec<u8>) -> Result<T, Failure> {
    let refuse = |message: String| {
        Failure::new(FailureKind::Internal, message).hint("driver and runner must be of the same version")
    };
    let mut input = std::io::stdin().lock().take(MAX_REQUEST_BYTES + 1);
    input
        .read_until(b'\n', &mut text)
        .map_err(|error| refuse(format!("the request cannot be read: {error}")))?;
    if text.len() as u64 > MAX_REQUEST_BYTES {
        return Err(refuse(format!("the request has more than {MAX_REQUEST_BYTES} bytes")));
    }
    #[cfg(feature = "mutations")]
    hybrid_cache_runner::mutations::take_out(&text);
    serde_json::from_slice(&text).map_err(|error| refuse(format!("the request cannot be parsed: {error}")))
}

/// Keeps a network until no task uses it.
fn hold_network() -> i32 {
    network::close_inherited();
    // This process serves one task, and pasta inherits the setting.
    run::prefer_to_end_before_the_driver();
    let ready = || write_line(&HoldReport::Ready).is_ok();
    let held = match read_request::<HoldRequest>() {
        Ok(request) => network::hold(&request, ready),
        Err(failure) => Err(failure.to_string()),
    };
    match held {
        Ok(()) => EXIT_REPORTED,
        Err(message) => answer(&HoldReport::Failed(message)),
    }
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
