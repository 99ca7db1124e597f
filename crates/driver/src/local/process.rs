//! One runner in a sandbox: starts it, sends its request, reads its report and output, and waits for its end.

use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{BuildReport, Limits, PrepareEvent, PrepareRequest, RunReport};
use hybrid_cache_model::{End, Failure, FailureKind, Timeline};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::cancel::{CancelFlag, cancelled};
use crate::log::{LogWriter, Stream};
use crate::time::micros;

/// Most bytes of a report or of standard error that are kept.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Bytes of the end of standard error that explain a runner which ended without a report.
const TAIL_BYTES: usize = 16 << 10;
/// How long after the task's time limit and grace the runner may take to end by itself.
const RUNNER_GRACE: Duration = Duration::from_secs(30);
/// How long after the task's grace the runner may take to end a cancelled task.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// How a sandboxed `runner run` or `runner build` ended, and how long it took.
#[derive(Debug)]
pub struct SandboxRun<R> {
    /// What the runner reported; a failure if it could not.
    pub report: Result<R, Failure>,
    /// Microseconds from the start to the exit, as this process saw them.
    pub outer_us: u64,
    /// True if it was killed because someone cancelled the task.
    pub cancelled: bool,
    /// True if the sandbox has ended by itself, and with it every process in it.
    pub ended: bool,
}

/// What a runner reports about a program.
pub trait SandboxReport: DeserializeOwned {
    /// True if the program was run. A runner that is cancelled before that may fail or miss.
    fn has_run(&self) -> bool;
}

impl SandboxReport for RunReport {
    fn has_run(&self) -> bool {
        matches!(self, RunReport::Finished { end, .. } if !matches!(end, End::Failed { .. }))
    }
}

impl SandboxReport for BuildReport {
    /// Nobody needs the wheels of a cancelled task.
    fn has_run(&self) -> bool {
        false
    }
}

/// Runs `runner run`, or `runner build`, in the sandbox that `command` describes, its output going to `log`. While the sandbox starts,
/// `entrance` creates the control group that the program enters.
pub async fn run<R: SandboxReport>(
    command: &[OsString],
    request: &impl serde::Serialize,
    limits: &Limits,
    entrance: impl FnOnce() -> Option<OwnedFd>,
    log: &LogWriter,
    cancel: &mut CancelFlag,
) -> SandboxRun<R> {
    let started = Instant::now();
    let mut ended = false;
    let inner = run_inner(command, request, limits, entrance, log, cancel, &mut ended);
    let (report, cancelled) = match inner.await {
        Ok(Some(report)) => (Ok(report), false),
        Ok(None) => (Err(Failure::new(FailureKind::Internal, "the task was cancelled")), true),
        Err(failure) => (Err(failure), false),
    };
    SandboxRun {
        report,
        outer_us: micros(started.elapsed()),
        cancelled,
        ended,
    }
}

async fn run_inner<R: SandboxReport>(
    command: &[OsString],
    request: &impl serde::Serialize,
    limits: &Limits,
    entrance: impl FnOnce() -> Option<OwnedFd>,
    log: &LogWriter,
    cancel: &mut CancelFlag,
    all_ended: &mut bool,
) -> Result<Option<R>, Failure> {
    let (ours, theirs) = socket_pair().map_err(|error| spawn_failure(command, &error))?;
    let mut child = spawn(command, Stdio::from(OwnedFd::from(theirs)))?;
    if let Some(entrance) = entrance() {
        send_descriptor(&ours, entrance.as_fd()).await?;
    }
    let socket = ours.as_fd().try_clone_to_owned();
    let socket = socket.map_err(|error| spawn_failure(command, &error))?;
    let (reports, mut requests) = ours.into_split();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) = (pump(stdout, Stream::Stdout, log), pump(stderr, Stream::Stderr, log));
        // Sending runs concurrently, because a sandbox that hangs before it reads accepts no more than the socket holds.
        let sent = send(Some(&mut requests), request);
        tokio::join!(sent, stdout, stderr, child.wait(), read_report(reports))
    };
    tokio::pin!(work);
    let grace = Duration::from_millis(limits.grace_ms);
    let deadline = Duration::from_millis(limits.time_ms) + grace + RUNNER_GRACE;
    let (sent, _, said, status, report) = tokio::select! {
        ended = tokio::time::timeout(deadline, &mut work) => ended.map_err(|_| {
            let message = format!("the runner did not end within {} s after the task's time limit", RUNNER_GRACE.as_secs());
            Failure::new(FailureKind::Deadline, message)
        })?,
        () = cancelled(cancel) => {
            // The runner takes this hang-up as a cancellation. It may have ended meanwhile.
            let _ = rustix::net::shutdown(&socket, Shutdown::Write);
            let Ok((_, _, _, status, report)) = tokio::time::timeout(grace + CANCEL_GRACE, work).await else {
                return Ok(None);
            };
            *all_ended = has_waited(&status);
            return Ok(report.filter(R::has_run));
        }
    };
    sent?;
    *all_ended = has_waited(&status);
    report.map(Some).ok_or_else(|| no_report(&said, status))
}

/// True if no process of the sandbox is left: bubblewrap waits for the first process of its PID namespace, which ends
/// last. A bubblewrap that was killed has not waited for any process.
fn has_waited(status: &std::io::Result<ExitStatus>) -> bool {
    status.as_ref().is_ok_and(|status| status.code().is_some())
}

/// One socket, the runner's standard input, carries the request in and the report out. A separate descriptor for the report
/// would have to be set between fork and exec. The standard library would then fork this whole process, which takes 1 ms
/// for every 20 MB that it holds, instead of sharing them with the child until the exec.
fn socket_pair() -> std::io::Result<(UnixStream, Socket)> {
    let (ours, theirs) = Socket::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

/// Sends a descriptor, with a blank in front of the request, which means nothing.
async fn send_descriptor(socket: &UnixStream, descriptor: BorrowedFd<'_>) -> Result<(), Failure> {
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let blank = [IoSlice::new(b" ")];
        rustix::net::sendmsg(socket, &blank, &mut control, SendFlags::NOSIGNAL).map_err(std::io::Error::from)
    };
    match socket.async_io(Interest::WRITABLE, send).await {
        // A sandbox that failed to start closes its end; its standard error is the better message.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let message = format!("cannot hand the control group to the runner: {error}");
            Err(Failure::new(FailureKind::Internal, message))
        }
    }
}

async fn read_report<R: DeserializeOwned>(source: impl AsyncRead + Unpin) -> Option<R> {
    let mut text = Vec::new();
    // A sandbox that ends before it reads the request resets the connection; what arrived before that is kept.
    let _ = source.take(MAX_TEXT_BYTES).read_to_end(&mut text).await;
    serde_json::from_slice(&text).ok()
}

/// Runs one of the runner's other commands, which answer with one JSON object on standard output.
///
/// # Errors
/// It could not be started, did not end in time, or did not answer.
pub async fn ask<T: DeserializeOwned>(
    command: &[OsString],
    request: &impl serde::Serialize,
    limit: Duration,
) -> Result<T, Failure> {
    let mut child = spawn(command, Stdio::piped())?;
    let answered = async {
        send(child.stdin.take(), request).await?;
        Ok::<_, Failure>(child.wait_with_output().await)
    };
    let output = tokio::time::timeout(limit, answered).await.map_err(|_| {
        let message = format!("the runner did not answer within {} s", limit.as_secs());
        Failure::new(FailureKind::Deadline, message)
    })??;
    let output = output.map_err(|error| spawn_failure(command, &error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| no_report(&output.stderr, Ok(output.status)))
}

/// Starts the sandbox so that it dies with the handle.
fn spawn(command: &[OsString], stdin: Stdio) -> Result<Child, Failure> {
    let (program, arguments) = command.split_first().ok_or_else(|| {
        Failure::new(FailureKind::Internal, "no sandbox program is configured").hint("this is a bug in hybrid-cache")
    })?;
    let mut child = Command::new(program);
    // In a process group of its own, so that Ctrl-C at a terminal reaches the driver alone, which treats it as a cancellation.
    child.args(arguments).env_clear().kill_on_drop(true).process_group(0);
    child.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    child.spawn().map_err(|error| spawn_failure(command, &error))
}

fn spawn_failure(command: &[OsString], error: &std::io::Error) -> Failure {
    let program = command
        .first()
        .map(|program| program.to_string_lossy().into_owned())
        .unwrap_or_default();
    Failure::new(
        FailureKind::Sandbox,
        format!("cannot start the sandbox program {program}: {error}"),
    )
}

async fn send(stdin: Option<impl AsyncWrite + Unpin>, request: &impl serde::Serialize) -> Result<(), Failure> {
    let broken = |error: String| Failure::new(FailureKind::Internal, format!("cannot send the request: {error}"));
    let mut text = serde_json::to_vec(request).map_err(|error| broken(error.to_string()))?;
    text.push(b'\n');
    let Some(mut stdin) = stdin else {
        return Err(broken("the runner has no standard input".to_owned()));
    };
    // A sandbox that failed to start closes its end; its standard error is the better message.
    let _ = stdin.write_all(&text).await;
    Ok(())
}

/// Passes a stream on to the log, and returns the end of the stream.
async fn pump(source: Option<impl AsyncRead + Unpin>, stream: Stream, log: &LogWriter) -> Vec<u8> {
    let mut tail = Vec::new();
    let Some(mut source) = source else { return tail };
    let mut buffer = vec![0; 64 << 10];
    loop {
        log.room().await;
        let read = match source.read(&mut buffer).await {
            Ok(0) | Err(_) => return tail,
            Ok(read) => read,
        };
        let bytes = &buffer[..read];
        log.append(stream, bytes);
        let kept = TAIL_BYTES.saturating_sub(bytes.len()).min(tail.len());
        tail.drain(..tail.len() - kept);
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
    }
}

/// Explains why a runner ended without a report, from the standard error of its sandbox.
fn no_report(stderr: &[u8], status: std::io::Result<ExitStatus>) -> Failure {
    let said = String::from_utf8_lossy(stderr);
    let said = said
        .lines()
        .rev()
        .take(5)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
        .join("\n");
    if said.contains("bwrap: ") {
        return sandbox_failure(&said);
    }
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure::new(
        FailureKind::Internal,
        format!("the runner ended without a report ({status}): {said}"),
    )
}

/// Explains why bubblewrap cannot create the sandbox, and what a person can do about it.
pub fn sandbox_failure(said: &str) -> Failure {
    let failure = Failure::new(
        FailureKind::Sandbox,
        format!("the sandbox cannot be set up: {}", said.trim()),
    );
    let denied = [
        "No permissions to creat",
        "Creating new namespace failed",
        "setting up uid map",
        "user namespace",
    ];
    if denied.iter().any(|text| said.contains(text)) {
        return failure.hint(
            "unprivileged user namespaces are not permitted here; user code is never run without the sandbox. \
             As an administrator, try one of: `sysctl -w kernel.unprivileged_userns_clone=1` (older Debian), \
             `sysctl -w user.max_user_namespaces=15000` (RHEL), \
             `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap (Ubuntu); \
             in a container, start it with `--security-opt seccomp=unconfined` or use a machine of its own",
        );
    }
    if said.contains("mount proc") || said.contains("/proc") {
        return failure
            .hint("this container masks parts of /proc; start it with `--security-opt systempaths=unconfined`");
    }
    failure
}

/// A sandboxed `runner prepare`, read event by event. What it found or made stays leased until [`PrepareProcess::release`].
pub struct PrepareProcess {
    child: Child,
    /// Open for as long as the runner should keep what it prepared leased.
    hold: Option<ChildStdin>,
    events: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    log: tokio::task::JoinHandle<Vec<u8>>,
    started: Instant,
    limit: Duration,
}

impl PrepareProcess {
    /// Starts the sandbox and sends the request.
    ///
    /// # Errors
    /// The sandbox program cannot be started, or does not read the request in time.
    pub async fn start(command: &[OsString], request: &PrepareRequest) -> Result<PrepareProcess, Failure> {
        let started = Instant::now();
        // The runner itself keeps the deadline; this limit is for a runner that cannot.
        let limit = Duration::from_millis(request.deadline_ms) + RUNNER_GRACE;
        let mut child = spawn(command, Stdio::piped())?;
        let mut hold = child.stdin.take();
        let sent = tokio::time::timeout(RUNNER_GRACE, send(hold.as_mut(), request)).await;
        sent.map_err(|_| {
            let message = format!(
                "the sandbox did not read the request within {} s",
                RUNNER_GRACE.as_secs()
            );
            Failure::new(FailureKind::Deadline, message)
        })??;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new(FailureKind::Internal, "no standard output"))?;
        let stderr = child.stderr.take();
        let log = tokio::spawn(async move {
            let mut text = Vec::new();
            if let Some(stderr) = stderr {
                // What cannot be read cannot be shown either.
                let _ = stderr.take(MAX_TEXT_BYTES).read_to_end(&mut text).await;
            }
            text
        });
        Ok(PrepareProcess {
            child,
            hold,
            events: BufReader::new(stdout).lines(),
            log,
            started,
            limit,
        })
    }

    /// The next event; `None` at the end. A preparation past its deadline ends with a failure of that kind.
    pub async fn next(&mut self) -> Option<PrepareEvent> {
        let left = self.limit.saturating_sub(self.started.elapsed());
        let events = &mut self.events;
        let event = async {
            // Skip a line that is not an event, and read on.
            while let Ok(Some(line)) = events.next_line().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    return Some(event);
                }
            }
            None
        };
        match tokio::time::timeout(left, event).await {
            Ok(event) => event,
            Err(_) => Some(PrepareEvent::Failed {
                failure: self.late(),
                timeline: Timeline::default(),
            }),
        }
    }

    fn late(&self) -> Failure {
        let message = format!("preparing took longer than {} s", self.limit.as_secs());
        Failure::new(FailureKind::Deadline, message)
    }

    /// Answers an order of the preparation.
    ///
    /// # Errors
    /// The preparation does not read it.
    pub async fn answer(&mut self, report: &BuildReport) -> Result<(), Failure> {
        let sent = tokio::time::timeout(RUNNER_GRACE, send(self.hold.as_mut(), report)).await;
        sent.unwrap_or_else(|_| Err(self.late()))
    }

    /// Releases the leases: the task has its own, or needs none.
    pub fn release(&mut self) {
        self.hold = None;
    }

    /// Microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        micros(self.started.elapsed())
    }

    /// Explains an end without a final event.
    pub async fn explain(mut self) -> Failure {
        self.release();
        let Ok(status) = tokio::time::timeout(RUNNER_GRACE, self.child.wait()).await else {
            return self.late();
        };
        let said = self.log.await.unwrap_or_default();
        no_report(&said, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_namespace_is_explained_with_its_fix() {
        let failure = sandbox_failure("bwrap: No permissions to creating new namespace, likely because the kernel …");
        assert_eq!(failure.kind, FailureKind::Sandbox);
        assert!(
            failure
                .to_string()
                .contains("hint: unprivileged user namespaces are not permitted"),
            "{failure}"
        );
    }
}
