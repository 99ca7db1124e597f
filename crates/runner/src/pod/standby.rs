//! `pod-standby`: waits for the one task of a standby pod, and runs it.
//!
//! ```text
//! driver                                  runner
//!   claims the pod by its label             waits: mounts in place, image record read; perhaps an interpreter prepared
//!   attaches, sends a StandbyOrder ───────► leaves "accepted" as its termination message, and says so in its log
//!                                           looks up, leases, confines, runs the program
//!   reads output and report ◄────────────── report: termination message, then the log
//!   closes standard input ────────────────► ends
//! ```
//!
//! A pod runs one task at most. Kubernetes starts an ended container of such a pod again, so the runner notes its first start in a
//! folder that outlives the container. A second start only waits for the pod's deletion. Until then Kubernetes keeps the log and the
//! report of the first.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::{STANDBY_ACCEPTED, STANDBY_FOLDER, StandbyOrder, TERMINATION_FILE, TRAILER_MARK};
use hybrid_cache_model::protocol::{Environments, RunReport};
use hybrid_cache_model::{Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::preparation::Preparation;
use super::requests::{check_version, for_task, read_image, run_request};
use crate::clock::Recorder;
use crate::run::kernel::Signals;
use crate::run::{self, Destination, FromDriver};
use crate::store::IoContext;

/// Most bytes of an order. A task's text has at most a mebibyte, every byte of it escaped in JSON.
const MAX_ORDER_BYTES: usize = 16 << 20;
/// How long the driver may take to read the report. The log and the termination message hold it, too.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Note of the first start, in [`STANDBY_FOLDER`].
const STARTED: &str = "started";

/// A task that a standby pod has run.
pub struct StandbyRun {
    /// Where its report goes.
    pub destination: Destination,
    /// The report.
    pub report: RunReport,
    /// Marks the report in the log.
    pub token: String,
    /// The driver that sent the order.
    pub driver: AttachedDriver,
}

/// The driver at the other end of standard input.
pub struct AttachedDriver(Signals);

impl AttachedDriver {
    /// Waits a moment until the driver closes standard input, so that it reads the last of the output before the container ends.
    pub fn wait_for_reader(&self) {
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut rest = Vec::new();
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match wait(rustix::stdio::stdin(), &self.0, std::iter::empty(), Some(left)) {
                Ok(Woken::Input) => match read_from(rustix::stdio::stdin(), &mut rest) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => rest.clear(),
                },
                Ok(Woken::Nothing) => {}
                Ok(Woken::Stop) | Err(_) => return,
            }
        }
    }
}

/// Waits for this pod's task and runs it. `setup` says which interpreter to prepare meanwhile, if one is to be. `None` if no task came
/// before the pod was to end.
///
/// # Errors
/// The pod cannot wait for a task, or the order is invalid. No task was begun.
pub fn stand_by(setup: Option<&str>) -> Result<Option<StandbyRun>, Failure> {
    let signals = Signals::watch().map_err(|error| {
        let message = format!("the runner cannot watch signals: {error}");
        Failure::new(FailureKind::Sandbox, message)
    })?;
    if !is_first_start(Path::new(STANDBY_FOLDER))? {
        wait_for_stop(&signals);
        return Ok(None);
    }
    let image = read_image()?;
    // Open it before user code can replace it.
    let destination = Destination::file(Path::new(TERMINATION_FILE));
    let mut destination = destination.map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
    let mut preparation = Preparation::begin(&image, setup);
    let Some(line) = read_line(rustix::stdio::stdin(), &signals, &mut preparation)? else {
        return Ok(None);
    };
    let recorder = Recorder::start();
    let order = parse(&line)?;
    let accepted = destination
        .note(STANDBY_ACCEPTED)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
        .and_then(|()| say_accepted(&order.token).io_context("write", Path::new("standard output")));
    accepted?;
    let report = match for_task(image, &order.request.task) {
        Ok(image) => {
            let request = run_request(&image, &order.request, Environments::Lookup);
            let from_driver = FromDriver {
                prepared: preparation.take(),
                ..FromDriver::default()
            };
            run::run(&request, from_driver, &recorder)
        }
        Err(failure) => run::failed(failure, &recorder),
    };
    Ok(Some(StandbyRun {
        destination,
        report,
        token: order.token,
        driver: AttachedDriver(signals),
    }))
}

/// True if no earlier container of this pod has noted its start in `folder`.
fn is_first_start(folder: &Path) -> Result<bool, Failure> {
    let note = folder.join(STARTED);
    match OpenOptions::new().write(true).create_new(true).open(&note) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).io_context("create", &note),
    }
}

fn parse(line: &[u8]) -> Result<StandbyOrder, Failure> {
    let order: StandbyOrder = serde_json::from_slice(line)
        .map_err(|error| Failure::new(FailureKind::Internal, format!("the order cannot be parsed: {error}")))?;
    check_version("the driver", order.request.protocol)?;
    Ok(order)
}

fn say_accepted(token: &str) -> io::Result<()> {
    let line = [TRAILER_MARK, token, " ", STANDBY_ACCEPTED, "\n"].concat();
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// Why waiting ended.
enum Woken {
    /// Standard input has something, or has ended.
    Input,
    /// The pod is to end.
    Stop,
    /// The time has passed, another signal came, or something else happened.
    Nothing,
}

/// Waits for input, for a signal or for something at `others`; without `left`, for any time.
fn wait<'a>(
    input: BorrowedFd<'a>,
    signals: &'a Signals,
    others: impl Iterator<Item = BorrowedFd<'a>>,
    left: Option<Duration>,
) -> io::Result<Woken> {
    let timeout = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    let first = [signals.as_fd(), input];
    let watched = first.into_iter().chain(others);
    let mut polled: Vec<PollFd<'_>> = watched
        .map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN))
        .collect();
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Woken::Nothing),
        Err(error) => return Err(error.into()),
    }
    let has = |at: usize| !polled[at].revents().is_empty();
    if has(0) && signals.take().stop {
        return Ok(Woken::Stop);
    }
    Ok(if has(1) { Woken::Input } else { Woken::Nothing })
}

/// Reads one line; `None` if the pod is to end before, or if the input ends without one.
fn read_line(
    input: BorrowedFd<'_>,
    signals: &Signals,
    preparation: &mut Preparation,
) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    loop {
        let left = preparation
            .until()
            .map(|until| until.saturating_duration_since(Instant::now()));
        let woken = wait(input, signals, preparation.watched(), left);
        match woken.io_context("wait for", Path::new("standard input"))? {
            Woken::Stop => return Ok(None),
            Woken::Nothing => {
                // An order that has begun to arrive is close.
                if line.is_empty() {
                    preparation.advance();
                }
                continue;
            }
            Woken::Input => {}
        }
        let begun = line.len();
        let count = read_from(input, &mut line).io_context("read", Path::new("standard input"))?;
        if count == 0 {
            return Ok(None);
        }
        if let Some(end) = line[begun..].iter().position(|byte| *byte == b'\n') {
            line.truncate(begun + end);
            return Ok(Some(line));
        }
        if line.len() > MAX_ORDER_BYTES {
            let message = format!("the order has more than {MAX_ORDER_BYTES} bytes");
            return Err(Failure::new(FailureKind::Internal, message));
        }
    }
}

/// Reads what is there, without a buffer that would keep what follows the order.
fn read_from(input: BorrowedFd<'_>, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = vec![0; 64 << 10];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(input, &mut buffer))?;
    into.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Waits until the pod is deleted.
fn wait_for_stop(signals: &Signals) {
    loop {
        let mut polled = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        // Kubernetes ends the container whatever this wait returns.
        if rustix::event::poll(&mut polled, None).is_err() || signals.take().stop {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_second_start_in_a_folder_is_not_the_first() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_first_start(folder.path()).unwrap());
        assert!(!is_first_start(folder.path()).unwrap());
        let failure = is_first_start(&folder.path().join("absent")).unwrap_err();
        assert!(failure.message.contains("absent"), "{failure}");
    }

    #[test]
    fn an_order_is_one_line_however_it_arrives_and_an_end_without_one_is_none() {
        let signals = Signals::watch().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sent = std::thread::spawn(move || {
            for piece in ["{\"a\":", "1}\n"] {
                writer.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let read = |reader: &io::PipeReader| read_line(reader.as_fd(), &signals, &mut Preparation::default());
        assert_eq!(read(&reader).unwrap().unwrap(), b"{\"a\":1}");
        sent.join().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"{\"a\":1}").unwrap();
        drop(writer);
        assert_eq!(read(&reader).unwrap(), None);
    }

    #[test]
    fn an_order_of_another_version_or_of_no_form_is_refused() {
        let failure = parse(b"{}").unwrap_err();
        assert!(failure.message.contains("cannot be parsed"), "{failure}");
    }
}
