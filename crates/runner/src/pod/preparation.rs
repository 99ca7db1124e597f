//! Keeps an interpreter ready in a standby pod while it waits for its task, if the pod is made for that.
//!
//! Whatever fails, the pod waits as an ordinary standby pod, and a line of its log says why.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::{ImageRecord, PREPARED_VARIABLE, PreparedSetup, STANDBY_NOTE};
use hybrid_cache_model::protocol::{Environments, RunRequest};
use hybrid_cache_model::{Failure, FailureKind};

use super::log;
use super::requests::{check_version, for_task, run_request};
use crate::run::prepared::Prepared;

/// How long imports may take.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(120);
/// First and longest pause until a missing environment is looked for again: a first task may build it meanwhile.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Most bytes of a note. A driver looks for what follows the notes in the first 4 KiB of a log.
const MAX_NOTE_BYTES: usize = 1000;

/// What a standby pod prepares.
#[derive(Default)]
pub struct Preparation {
    setup: Option<(RunRequest, Vec<String>)>,
    prepared: Option<Prepared>,
    /// When to look at it again.
    until: Option<Instant>,
    /// Pause until the environment is looked for again.
    pause: Duration,
    /// True once a note says that the environment is missing.
    said_missing: bool,
}

impl Preparation {
    /// Begins what this pod is made for, as the text of a [`PreparedSetup`]; nothing, for most pods.
    pub fn begin(image: &ImageRecord, setup: Option<&str>) -> Preparation {
        let mut preparation = Preparation {
            pause: FIRST_PAUSE,
            ..Preparation::default()
        };
        match read_setup(image, setup) {
            Ok(setup) => preparation.setup = setup,
            Err(failure) => preparation.give_up(&failure.to_string()),
        }
        preparation.start();
        preparation
    }

    fn start(&mut self) {
        let Some((request, imports)) = &self.setup else { return };
        match Prepared::start(request, imports) {
            Ok(Some(prepared)) => {
                self.prepared = Some(prepared);
                self.until = Some(Instant::now() + IMPORT_TIMEOUT);
            }
            Ok(None) => {
                self.until = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                if !std::mem::replace(&mut self.said_missing, true) {
                    note("no interpreter is prepared yet: its environment is not in the caches");
                }
            }
            Err(failure) => self.give_up(&failure.to_string()),
        }
    }

    /// What to watch beside the order.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.prepared.iter().flat_map(Prepared::watched)
    }

    /// When to call [`Preparation::advance`] although nothing happens; `None` for never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Takes what has happened.
    pub fn advance(&mut self) {
        let is_time = self.until.is_some_and(|until| Instant::now() >= until);
        let Some(prepared) = &mut self.prepared else {
            if is_time {
                self.until = None;
                self.start();
            }
            return;
        };
        match prepared.advance() {
            Err(why) => self.give_up(&why),
            Ok(()) if prepared.is_ready() => self.until = None,
            Ok(()) if is_time => self.give_up("its imports take too long"),
            Ok(()) => {}
        }
    }

    /// The process that waits for a task, if there is one.
    pub fn take(&mut self) -> Option<Prepared> {
        self.prepared.take()
    }

    fn give_up(&mut self, why: &str) {
        (self.setup, self.prepared, self.until) = (None, None, None);
        note(&format!("no interpreter is prepared: {why}"));
    }
}

fn read_setup(image: &ImageRecord, setup: Option<&str>) -> Result<Option<(RunRequest, Vec<String>)>, Failure> {
    let Some(text) = setup else { return Ok(None) };
    let setup: PreparedSetup = serde_json::from_str(text).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("{PREPARED_VARIABLE} cannot be parsed: {error}"),
        )
    })?;
    check_version("the driver", setup.request.protocol)?;
    let image = for_task(image.clone(), &setup.request.task)?;
    let request = run_request(&image, &setup.request, Environments::Lookup);
    Ok(Some((request, setup.imports)))
}

/// Writes a line for an operator. Only before an order: afterwards the log is the task's.
fn note(text: &str) {
    let end = text.floor_char_boundary(MAX_NOTE_BYTES);
    // Nobody depends on it.
    let _ = log::log_line(STANDBY_NOTE, &&text[..end]);
}
