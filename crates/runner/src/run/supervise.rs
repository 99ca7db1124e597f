//! Supervises the user's program: output, exit, time limit and cancellation.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, Lane, Output, Phase, Protection};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus};

use super::descendants;
use super::kernel::Signals;
use super::module_hint;
use super::stream::OutputStream;
use crate::clock::Recorder;

/// How long to wait after a kill; a process that still exists hangs in the kernel.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// A container runtime signals all processes of a container within this time.
const SAME_MOMENT: Duration = Duration::from_millis(200);
/// How long to wait for a reader that takes none of the last output.
const DRAIN_STALL: Duration = Duration::from_secs(2);
/// How long to wait for a reader in total.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// The started program.
pub struct Started {
    /// Its process.
    pub pid: Pid,
    /// The reading end of its standard output.
    pub stdout: OwnedFd,
    /// The reading end of its standard error.
    pub stderr: OwnedFd,
}

/// How the program ended.
#[derive(Debug)]
pub struct Supervised {
    /// How it ended.
    pub end: End,
    /// How much standard output it wrote.
    pub stdout: Output,
    /// How much standard error.
    pub stderr: Output,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Why the runner ends the program.
#[derive(Clone, Copy, Debug)]
enum Cause {
    TimedOut,
    Cancelled,
}

/// How far the program's end is.
#[derive(Clone, Copy, Debug)]
enum State {
    Running,
    /// It got SIGTERM, and has its grace.
    Ending(Cause),
    /// Its grace is over.
    Killed(Cause),
}

impl State {
    /// Why the runner ends the program, if it does.
    fn cause(self) -> Option<Cause> {
        match self {
            State::Running => None,
            State::Ending(cause) | State::Killed(cause) => Some(cause),
        }
    }
}

/// Supervises the program until it and everything that it started has ended. A hang-up of `driver` cancels it.
///
/// # Errors
/// Its pipes cannot be watched. The program is then killed.
pub fn supervise(
    started: Started,
    limits: &Limits,
    signals: &Signals,
    driver: Option<BorrowedFd<'static>>,
    recorder: &Recorder,
) -> io::Result<Supervised> {
    let began_us = recorder.now_us();
    let mut supervisor = Supervisor::new(started, limits, signals, driver)?;
    let (status, cause) = supervisor.until_the_end(limits);
    recorder.record(Phase::UserCode, Lane::Runner, began_us);
    let mut warnings = Vec::new();
    recorder.span(Phase::Drain, Lane::Runner, || supervisor.clean_up(&mut warnings));
    let end = task_end(status, cause, limits);
    if matches!(end, End::Exited { code } if code != 0) {
        warnings.extend(module_hint::warning(supervisor.streams[1].recent()));
    }
    let [stdout, stderr] = supervisor.streams.map(|stream| stream.output());
    warn_if_cut("standard output", stdout, limits, &mut warnings);
    warn_if_cut("standard error", stderr, limits, &mut warnings);
    Ok(Supervised {
        end,
        stdout,
        stderr,
        warnings,
    })
}

struct Supervisor<'a> {
    main: Pid,
    streams: [OutputStream; 2],
    signals: &'a Signals,
    /// The driver's socket, until the driver hangs up.
    driver: Option<BorrowedFd<'static>>,
}

impl<'a> Supervisor<'a> {
    fn new(
        started: Started,
        limits: &Limits,
        signals: &'a Signals,
        driver: Option<BorrowedFd<'static>>,
    ) -> io::Result<Supervisor<'a>> {
        let streams = || -> rustix::io::Result<[OutputStream; 2]> {
            Ok([
                OutputStream::new(started.stdout, rustix::stdio::stdout(), limits.output_bytes)?,
                OutputStream::new(started.stderr, rustix::stdio::stderr(), limits.output_bytes)?,
            ])
        };
        match streams() {
            Ok(streams) => Ok(Supervisor {
                main: started.pid,
                streams,
                signals,
                driver,
            }),
            Err(error) => {
                descendants::end_all(started.pid, signals);
                Err(error.into())
            }
        }
    }

    /// Waits until the main process has ended, by itself, after SIGTERM or SIGKILL.
    fn until_the_end(&mut self, limits: &Limits) -> (Option<WaitStatus>, Option<Cause>) {
        let mut deadline = Instant::now()
            .checked_add(Duration::from_millis(limits.time_ms))
            .filter(|_| Protection::TimeLimit.is_on());
        let mut state = State::Running;
        loop {
            let received = self.wait(deadline);
            if received.child
                && let Some(status) = descendants::reap(self.main).main
            {
                let is_running = matches!(state, State::Running);
                let was_cancelled = is_running && died_of_sigterm(status) && (received.stop || self.is_told_to_stop());
                return (
                    Some(status),
                    if was_cancelled {
                        Some(Cause::Cancelled)
                    } else {
                        state.cause()
                    },
                );
            }
            let expired = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            state = match state {
                State::Running if received.stop => State::Ending(Cause::Cancelled),
                State::Running if expired => State::Ending(Cause::TimedOut),
                State::Ending(cause) if expired => State::Killed(cause),
                State::Killed(cause) if expired => return (None, Some(cause)),
                _ => continue,
            };
            let wait = if matches!(state, State::Ending(_)) && limits.grace_ms > 0 {
                descendants::tell_all();
                Duration::from_millis(limits.grace_ms)
            } else {
                descendants::kill_all();
                KILL_DEADLINE
            };
            deadline = Instant::now().checked_add(wait);
        }
    }

    /// True if the runner is asked to stop within a moment. When a node shuts down, every process of a container is
    /// signalled, and the program may react first.
    fn is_told_to_stop(&mut self) -> bool {
        let until = Instant::now() + SAME_MOMENT;
        while Instant::now() < until {
            if self.wait(Some(until)).stop {
                return true;
            }
        }
        false
    }

    /// Waits for an event, and moves available output.
    fn wait(&mut self, deadline: Option<Instant>) -> super::kernel::ReceivedSignals {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut polled = Vec::with_capacity(4);
        polled.push(PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN));
        polled.extend(self.streams.iter().filter_map(OutputStream::interest));
        polled.extend(
            self.driver
                .map(|driver| PollFd::from_borrowed_fd(driver, PollFlags::RDHUP)),
        );
        match rustix::event::poll(&mut polled, left.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Out of kernel memory: pause instead of spinning.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        let hung_up = self.driver.is_some() && polled.last().is_some_and(|driver| !driver.revents().is_empty());
        let mut received = self.signals.take();
        if hung_up {
            self.driver = None;
            received.stop = true;
        }
        self.streams.iter_mut().for_each(|stream| _ = stream.advance());
        received
    }

    /// Kills leftover processes, then passes on the last output.
    fn clean_up(&mut self, warnings: &mut Vec<String>) {
        if !descendants::end_all(self.main, self.signals) {
            warnings.push("a process of the task could not be killed; it hangs in the kernel".to_owned());
        }
        let began = Instant::now();
        let (mut moved_at, mut seen) = (began, 0);
        loop {
            self.streams.iter_mut().for_each(|stream| _ = stream.advance());
            let outputs = self.streams.iter().map(OutputStream::output);
            let moved: u64 = outputs.map(|output| output.written_bytes + output.passed_bytes).sum();
            // Check after moving, because the end of a stream moves no bytes.
            if self.streams.iter().all(OutputStream::is_done) {
                return;
            }
            if moved > seen {
                (moved_at, seen) = (Instant::now(), moved);
            }
            let deadline = (moved_at + DRAIN_STALL).min(began + DRAIN_DEADLINE);
            if Instant::now() >= deadline {
                warnings.push("the end of the output is lost, because its reader was too slow".to_owned());
                self.streams.iter_mut().for_each(OutputStream::abandon);
                return;
            }
            self.wait(Some(deadline));
        }
    }
}

fn died_of_sigterm(status: WaitStatus) -> bool {
    status.terminating_signal() == Some(rustix::process::Signal::TERM.as_raw())
}

fn timespec(duration: Duration) -> Timespec {
    // Add half a millisecond, so that the deadline has passed when poll returns.
    let duration = duration + Duration::from_micros(500);
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

fn task_end(status: Option<WaitStatus>, cause: Option<Cause>, limits: &Limits) -> End {
    match (cause, status) {
        (Some(Cause::TimedOut), _) => End::TimedOut {
            limit_ms: limits.time_ms,
        },
        (Some(Cause::Cancelled), _) | (None, None) => End::Cancelled,
        (None, Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Exited { code },
            (None, signal) => End::Signaled {
                signal: signal.unwrap_or_default(),
            },
        },
    }
}

fn warn_if_cut(stream: &str, output: Output, limits: &Limits, warnings: &mut Vec<String>) {
    if output.written_bytes > limits.output_bytes {
        let (written, limit) = (output.written_bytes, limits.output_bytes);
        warnings.push(format!(
            "{stream} was cut: {written} bytes written, at most {limit} are passed on, of its beginning and its end"
        ));
    }
}
