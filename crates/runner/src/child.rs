//! Runs one helper program with bounded output and a deadline. The kernel kills it if the runner dies.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

/// Most bytes of standard error that are kept. The beginning is dropped first, because errors come last.
const MAX_STDERR_BYTES: usize = 256 << 10;
/// How long to wait for a child that was sent SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// When to stop waiting for a program: at an instant, or when its result is no longer needed.
#[derive(Debug)]
pub struct Deadline {
    instant: Instant,
    cancelled: OwnedFd,
}

impl Deadline {
    /// A deadline at `instant`, not cancelled.
    ///
    /// # Errors
    /// The process has no free descriptor.
    pub fn at(instant: Instant) -> Result<Deadline, Failure> {
        let cancelled = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let cancelled = cancelled
            .map_err(|error| Failure::new(FailureKind::Internal, format!("could not make an event: {error}")))?;
        Ok(Deadline { instant, cancelled })
    }

    /// The latest moment.
    pub fn instant(&self) -> Instant {
        self.instant
    }

    /// Ends every current and future wait.
    pub fn cancel(&self) {
        // It fails only if the counter overflows.
        let _ = rustix::io::write(&self.cancelled, &1u64.to_ne_bytes());
    }

    /// True once it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        let mut watched = [PollFd::new(&self.cancelled, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&Timespec::default())), Ok(ready) if ready > 0)
    }

    /// Waits until `descriptor` can be read.
    fn readable(&self, descriptor: &impl AsFd, name: &str) -> Result<(), Failure> {
        loop {
            let left = self.instant.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut watched = [
                PollFd::new(&self.cancelled, PollFlags::IN),
                PollFd::new(descriptor, PollFlags::IN),
            ];
            match poll(&mut watched, Some(&timeout)) {
                Ok(0) => return Err(late(name)),
                Ok(_) if !watched[0].revents().is_empty() => {
                    let message = format!("{name} was ended because the other half of the preparation failed");
                    return Err(Failure::new(FailureKind::Deadline, message));
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Failure::new(
                        FailureKind::Tool,
                        format!("could not watch {name}: {error}"),
                    ));
                }
            }
        }
    }
}

/// How a helper program ended.
#[derive(Debug)]
pub struct ProgramExit {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard error; only the last part if it was too long.
    pub stderr: String,
}

impl ProgramExit {
    /// `exit code 2`, `signal 9`.
    pub fn describe(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        }
    }
}

/// Runs `command` until it ends or `deadline` passes; writes `input` to its standard input.
///
/// The program gets its own process group, which is killed as a whole at the deadline and when the runner dies.
///
/// # Errors
/// [`FailureKind::Tool`] if it cannot be started, [`FailureKind::Deadline`] if it was killed.
pub fn run(command: &mut Command, name: &str, input: Vec<u8>, deadline: &Deadline) -> Result<ProgramExit, Failure> {
    run_into(command, name, input, Stdio::null(), deadline)
}

/// Like [`run`], with the program's standard output going to `stdout`: a file or nothing. Not a pipe, because no one
/// would read it.
///
/// # Errors
/// As those of [`run`].
pub fn run_into(
    command: &mut Command,
    name: &str,
    input: Vec<u8>,
    stdout: Stdio,
    deadline: &Deadline,
) -> Result<ProgramExit, Failure> {
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .process_group(0);
    die_with_us(command);
    let mut child = command.spawn().map_err(|error| cannot_start(command, name, &error))?;
    let writer = child.stdin.take().map(|mut pipe| {
        // A child that dies early breaks the pipe. Its exit status says more than that error.
        std::thread::spawn(move || drop(std::io::Write::write_all(&mut pipe, &input)))
    });
    let outcome = collect(&mut child, name, deadline);
    if outcome.is_err() {
        kill(&mut child);
    }
    if let Some(writer) = writer {
        drop(writer.join());
    }
    outcome
}

fn collect(child: &mut Child, name: &str, deadline: &Deadline) -> Result<ProgramExit, Failure> {
    let broken = |error: std::io::Error| Failure::new(FailureKind::Tool, format!("could not watch {name}: {error}"));
    let mut stderr = Vec::new();
    if let Some(mut pipe) = child.stderr.take() {
        let mut part = vec![0; 16 << 10];
        loop {
            deadline.readable(&pipe, name)?;
            let read = pipe.read(&mut part).map_err(broken)?;
            if read == 0 {
                break;
            }
            stderr.extend_from_slice(&part[..read]);
            if stderr.len() > 2 * MAX_STDERR_BYTES {
                stderr.drain(..stderr.len() - MAX_STDERR_BYTES);
            }
        }
    }
    // The pipe is closed, so wait for the exit. Unlike wait(2), a process descriptor can be polled with a timeout.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| broken(errno.into()))?;
        deadline.readable(&pidfd, name)?;
    }
    let status = child.wait().map_err(broken)?;
    let start = stderr.len().saturating_sub(MAX_STDERR_BYTES);
    Ok(ProgramExit {
        status,
        stderr: String::from_utf8_lossy(&stderr[start..]).into_owned(),
    })
}

fn late(name: &str) -> Failure {
    Failure::new(
        FailureKind::Deadline,
        format!("{name} did not finish before the preparation's deadline"),
    )
    .hint("raise the time limit, or check whether the package index or the storage is slow")
}

fn cannot_start(command: &Command, name: &str, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(
        FailureKind::Tool,
        format!("could not start {name} ({program}): {error}"),
    )
}

fn kill(child: &mut Child) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    // It fails if the group has already ended, which is fine.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    let give_up = Instant::now() + KILL_WAIT;
    while Instant::now() < give_up {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[expect(
    unsafe_code,
    reason = "the only way to run a system call between fork and exec; it neither allocates nor locks"
)]
fn die_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: two plain system calls, both async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The runner may have died before this call.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn soon() -> Deadline {
        Deadline::at(Instant::now() + Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn output_status_and_input_arrive() {
        let exit = run(&mut shell("cat >&2; exit 3"), "sh", b"hello".to_vec(), &soon()).unwrap();
        assert_eq!(exit.stderr, "hello");
        assert_eq!(exit.describe(), "exit code 3");
    }

    #[test]
    fn too_long_output_keeps_its_end() {
        let exit = run(
            &mut shell("yes | head -c 3000000 >&2; echo end >&2"),
            "sh",
            Vec::new(),
            &soon(),
        )
        .unwrap();
        assert!(exit.stderr.len() <= MAX_STDERR_BYTES && exit.stderr.ends_with("end\n"));
    }

    #[test]
    fn the_deadline_ends_a_whole_group() {
        let started = Instant::now();
        let deadline = Deadline::at(started + Duration::from_millis(50)).unwrap();
        let failure = run(&mut shell("sleep 30 & sleep 30"), "sh", Vec::new(), &deadline).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Deadline);
        assert!(started.elapsed() < Duration::from_secs(25));
    }

    #[test]
    fn cancelling_ends_current_and_future_waits() {
        let started = Instant::now();
        let deadline = soon();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&mut shell("sleep 30"), "sh", Vec::new(), &deadline));
            deadline.cancel();
            assert!(running.join().unwrap().is_err());
        });
        assert!(run(&mut shell("sleep 30"), "sh", Vec::new(), &deadline).is_err());
        assert!(started.elapsed() < Duration::from_secs(25));
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = run(&mut Command::new("/no/such/uv"), "uv", Vec::new(), &soon()).unwrap_err();
        assert!(failure.message.contains("/no/such/uv"), "{failure}");
        assert_eq!(failure.kind, FailureKind::Tool);
    }
}
