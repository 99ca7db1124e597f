//! A process that waits for a task, with its interpreter started and modules imported.
//!
//! ```text
//! runner                                   interpreter, confined as a task with these packages
//!   starts it, holds the leases ─────────►   imports
//!   notes which variables imports read ◄──   waits
//!   a task: is it the same environment, limits, variables?
//!     yes: main.py, arguments, variables ─►  runs main.py, as its own last step of starting
//!     no: ends it, and starts another
//! ```
//!
//! The process is given one task, or none: it ends with it. It never sees what else comes for the runner: its token and its report.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::RunRequest;
use hybrid_cache_model::{Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::descendants;
use super::environment::Environment;
use super::find_environments::{self, FindResult, Ready};
use super::guard;
use super::program::{self, Launch, Scratch};
use super::standard_input;
use super::supervise::Started;
use crate::clock::Recorder;

/// How long a task waits for imports that are not done: it would have to do the same imports.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the process may take to accept a task, and to say so.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes of what the process says of its imports.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Most bytes of its output that a reason quotes.
const MAX_QUOTED_BYTES: usize = 1000;

/// A process that waits for a task. Ends with this value unless it is handed one.
pub struct Prepared {
    /// The request whose environment, limits and variables it has.
    request: RunRequest,
    ready: Ready,
    /// `None` once it runs a task.
    process: Option<Started>,
    link: UnixStream,
    /// Its standard input: a file in memory, empty so far.
    input: File,
    /// The variables of a task that has none of its own.
    variables: BTreeMap<String, String>,
    warnings: Vec<String>,
    received: Vec<u8>,
    /// Which variables its imports have read; `None` while it imports.
    read: Option<ReadVariables>,
}

/// Which variables imports have read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReadVariables {
    These(BTreeSet<String>),
    All,
}

impl Prepared {
    /// Starts the interpreter of a request and has it import modules. `None` if the environment is not in the caches.
    ///
    /// # Errors
    /// The process cannot be started or confined.
    pub fn start(request: &RunRequest, imports: &[String]) -> Result<Option<Prepared>, Failure> {
        let task = request.task.check()?;
        guard::check_python(&task, &request.context.interpreter)?;
        let failed = |error: std::io::Error| {
            Failure::new(
                FailureKind::Sandbox,
                format!("an interpreter cannot be prepared: {error}"),
            )
        };
        // No process of the task may look into this one, before or after a task has come.
        guard::guard_ourselves().map_err(failed)?;
        let FindResult::Ready(ready) = find_environments::find(request, &task, &Recorder::start())? else {
            return Ok(None);
        };
        let scratch = Scratch::new(request.scratch.as_ref());
        let (link, its_link) = UnixStream::pair().map_err(failed)?;
        link.set_nonblocking(true).map_err(failed)?;
        let input = standard_input::empty().map_err(failed)?;
        let its_input = input.try_clone().map_err(failed)?;
        scratch.lay_out(request, &ready.environment)?;
        scratch.write_preparation(&its_link, imports)?;
        let variables: BTreeMap<String, String> = program::variables(request, &ready.environment, &scratch)
            .into_iter()
            .collect();
        let mut of_process = variables.clone();
        of_process.insert("PYTHONPATH".to_owned(), scratch.preparation_folder());
        let launch = Launch {
            request,
            environment: &ready.environment,
            scratch: &scratch,
            args: &[],
            variables: of_process.into_iter().collect(),
            stdin: its_input.into(),
            memory_group: None,
            kept: Some(OwnedFd::from(its_link)),
        };
        let (process, warnings) = program::spawn(launch)?;
        Ok(Some(Prepared {
            request: request.clone(),
            ready,
            process: Some(process),
            link,
            input,
            variables,
            warnings,
            received: Vec::new(),
            read: None,
        }))
    }

    /// True once it has done its imports.
    pub fn is_ready(&self) -> bool {
        self.read.is_some()
    }

    /// What to watch: something happens there when its state changes.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let streams = self
            .process
            .iter()
            .flat_map(|process| [&process.stdout, &process.stderr]);
        std::iter::once(self.link.as_fd()).chain(streams.map(AsFd::as_fd))
    }

    /// Takes what it says. Never waits.
    ///
    /// # Errors
    /// It cannot be used, and why: an import failed or wrote something, or the process has ended.
    pub fn advance(&mut self) -> Result<(), String> {
        let mut buffer = [0; 4096];
        let has_ended = loop {
            match self.link.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) if self.received.len() < MAX_MESSAGE_BYTES => {
                    self.received.extend_from_slice(&buffer[..count])
                }
                Ok(_) => return Err("it says too much".to_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        };
        if self.read.is_none()
            && let Some(message) = whole_message(&self.received)
        {
            self.read = Some(read_variables(message)?);
            self.received.clear();
        }
        let written = self.written();
        match (has_ended, written) {
            // In a task this would be output, before anything that its program writes.
            (false, Some(text)) => Err(format!("an import wrote something: {text}")),
            (true, text) => Err(format!("it has ended: {}", text.unwrap_or_default())),
            (false, None) => Ok(()),
        }
    }

    /// The beginning of what it wrote to its output; `None` if that is nothing.
    fn written(&self) -> Option<String> {
        let process = self.process.as_ref()?;
        [&process.stderr, &process.stdout].into_iter().find_map(|stream| {
            if !has_something(stream.as_fd(), Duration::ZERO) {
                return None;
            }
            let mut buffer = [0; MAX_QUOTED_BYTES];
            let count = rustix::io::read(stream, &mut buffer).ok().filter(|count| *count > 0)?;
            Some(String::from_utf8_lossy(&buffer[..count]).trim().to_owned())
        })
    }

    /// Gives the process a task.
    ///
    /// # Errors
    /// It does not fit the task, or does not accept it, and why. It is ended then, without a trace, and no task has begun.
    pub fn hand_over(
        mut self,
        request: &RunRequest,
        environment: &Environment,
    ) -> Result<(Started, Vec<String>), String> {
        let result = self.try_hand_over(request, environment);
        let scratch = self.scratch();
        match (result, self.process.take()) {
            (Ok(()), Some(process)) => Ok((process, std::mem::take(&mut self.warnings))),
            (result, process) => {
                self.process = process;
                drop(self);
                // Its imports may have left files where the task's program works.
                scratch.clear();
                Err(result.err().unwrap_or_default())
            }
        }
    }

    fn scratch(&self) -> Scratch {
        Scratch::new(self.request.scratch.as_ref())
    }

    fn try_hand_over(&mut self, request: &RunRequest, environment: &Environment) -> Result<(), String> {
        self.fits(request, environment)?;
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            self.advance()?;
            if self.is_ready() {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("its imports are not done".to_owned());
            }
            has_something(self.link.as_fd(), left.min(Duration::from_millis(20)));
        }
        let scratch = self.scratch();
        let variables: BTreeMap<String, String> =
            program::variables(request, environment, &scratch).into_iter().collect();
        self.check_variables(&variables)?;
        let order = order(request, &variables)?;
        scratch.write_program(request).map_err(|failure| failure.to_string())?;
        self.send(request, &order).map_err(|error| error.to_string())
    }

    fn send(&mut self, request: &RunRequest, order: &[u8]) -> std::io::Result<()> {
        if !request.task.stdin.is_empty() {
            standard_input::fill(&mut self.input, &request.task.stdin)?;
        }
        self.link.set_nonblocking(false)?;
        self.link.set_write_timeout(Some(ACCEPT_TIMEOUT))?;
        self.link.set_read_timeout(Some(ACCEPT_TIMEOUT))?;
        self.link.write_all(order)?;
        // Until it answers, its program has not begun.
        self.link.read_exact(&mut [0])
    }

    /// Checks everything about a task but its variables.
    fn fits(&self, request: &RunRequest, environment: &Environment) -> Result<(), String> {
        let (ours, limits) = (&self.request, &request.limits);
        let has_same = |name: &str, is_same: bool| {
            if is_same {
                Ok(())
            } else {
                Err(format!("the task has another {name}"))
            }
        };
        has_same("environment", *environment == self.ready.environment)?;
        has_same("interpreter or cache", request.context == ours.context)?;
        has_same("user", request.identity.is_none() && ours.identity.is_none())?;
        let place = |request: &RunRequest| {
            (
                request.scratch.clone(),
                request.base_path.clone(),
                request.readable.clone(),
                request.require_landlock,
            )
        };
        has_same("place", place(request) == place(ours))?;
        let same_limits = (limits.processes, limits.open_files, limits.threads)
            == (ours.limits.processes, ours.limits.open_files, ours.limits.threads);
        has_same("limit", same_limits)
    }

    /// Checks that nothing has read a variable, or its absence, that is different in the task.
    fn check_variables(&self, variables: &BTreeMap<String, String>) -> Result<(), String> {
        let names: BTreeSet<&String> = self.variables.keys().chain(variables.keys()).collect();
        let was_read = |name: &str| {
            names::is_read_unseen(name)
                || match &self.read {
                    Some(ReadVariables::These(these)) => these.contains(name),
                    Some(ReadVariables::All) | None => true,
                }
        };
        let differs = |name: &&&String| self.variables.get(**name) != variables.get(**name);
        match names.iter().filter(differs).find(|name| was_read(name)) {
            Some(name) => Err(format!("the task sets {name}, which was read before")),
            None => Ok(()),
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            descendants::end_now(process.pid);
        }
    }
}

/// A task as the process reads it.
fn order(request: &RunRequest, variables: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let has_input = if request.task.stdin.is_empty() { "0" } else { "1" };
    let count = request.task.args.len().to_string();
    let mut fields = vec![has_input, &count];
    fields.extend(request.task.args.iter().map(String::as_str));
    fields.extend(
        variables
            .iter()
            .flat_map(|(name, value)| [name.as_str(), value.as_str()]),
    );
    if fields.iter().any(|field| field.contains('\0')) {
        return Err("an argument or a variable of the task holds a NUL character".to_owned());
    }
    let text = fields.join("\0");
    let length = u32::try_from(text.len()).map_err(|error| error.to_string())?;
    Ok([&length.to_le_bytes(), text.as_bytes()].concat())
}

/// The first message, if all of it has arrived.
fn whole_message(received: &[u8]) -> Option<&[u8]> {
    let (length, rest) = received.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// What the process says of its imports.
fn read_variables(message: &[u8]) -> Result<ReadVariables, String> {
    match message.split_first() {
        Some((b'+', names)) => {
            let names = names.split(|byte| *byte == 0);
            Ok(ReadVariables::These(
                names.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            ))
        }
        Some((b'*', _)) => Ok(ReadVariables::All),
        Some((b'-', why)) => Err(format!("import {}", String::from_utf8_lossy(why))),
        _ => Err("it said something unknown".to_owned()),
    }
}

/// Waits until something can be read, or the other end is closed. False if nothing happened within `limit`.
fn has_something(source: BorrowedFd<'_>, limit: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut polled = [PollFd::from_borrowed_fd(source, PollFlags::IN)];
    matches!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_says_of_its_imports_is_read_whole_and_nothing_else_is_believed() {
        let message = |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
        let whole = message(b"+A\0B");
        for cut in 0..whole.len() {
            assert_eq!(whole_message(&whole[..cut]), None, "{cut}");
        }
        let names = ["A", "B"].map(str::to_owned).into();
        assert_eq!(
            read_variables(whole_message(&whole).unwrap()),
            Ok(ReadVariables::These(names))
        );
        assert_eq!(read_variables(b"*"), Ok(ReadVariables::All));
        let why = read_variables(b"-numpy: ImportError: no").unwrap_err();
        assert_eq!(why, "import numpy: ImportError: no");
        for other in [b"".as_slice(), b"x", b"\xff"] {
            read_variables(other).unwrap_err();
        }
    }
}
