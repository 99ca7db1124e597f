//! A driver whose tasks live in a folder, as those of a cluster live in its database: they outlive every process, and
//! a process can be killed at any point of a call.
//!
//! A task is a file `<id>.job`, made whole in one step. It ends so many milliseconds after that as its code says
//! (`sleep MS`), and prints one line. What is forgotten gets the name `<id>.job.<number>` and may be made again, so that
//! the files tell how often a task was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_driver::log::{LogWriter, Stream};
use hybrid_cache_driver::{Driver, DriverError, Epoch, LogReader, SubmitOptions, Ticket};
use hybrid_cache_model::{End, Outcome, Phase, TaskSpec};
use tokio::sync::watch;

use crate::bench::LOOK;
use crate::scripted::{is_down, outcome};

/// What every task prints.
pub const PRINTED: &str = "once\n";

/// Where a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeMaking,
    AfterMaking,
    BeforeTellingTheEnd,
    BeforeSettling,
    BeforeForgetting,
}

impl Point {
    pub const ALL: [Point; 5] = [
        Point::BeforeMaking,
        Point::AfterMaking,
        Point::BeforeTellingTheEnd,
        Point::BeforeSettling,
        Point::BeforeForgetting,
    ];
}

pub struct Cluster {
    folder: PathBuf,
    /// Where this process ends.
    pub deadly: Option<Point>,
}

impl Cluster {
    pub fn open(folder: &Path) -> Cluster {
        fs::create_dir_all(folder).unwrap();
        Cluster {
            folder: folder.to_owned(),
            deadly: None,
        }
    }

    fn job(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.job"))
    }

    pub fn times_made(&self, id: &str) -> usize {
        let job = format!("{id}.job");
        let names = fs::read_dir(&self.folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&job)).count()
    }

    fn pass(&self, point: Point) {
        if self.deadly == Some(point) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }

    fn make(&self, id: &str, code: &str) {
        self.pass(Point::BeforeMaking);
        let draft = self.folder.join(format!("draft.{id}.{}", std::process::id()));
        fs::write(&draft, code.strip_prefix("sleep ").unwrap()).unwrap();
        // Fails where it is there: submitted before under this id.
        let _ = fs::hard_link(&draft, self.job(id));
        fs::remove_file(&draft).unwrap();
        self.pass(Point::AfterMaking);
    }

    /// When it ends; `None` where there is no such task.
    fn remaining(&self, id: &str) -> Option<Duration> {
        let age = fs::metadata(self.job(id))
            .ok()?
            .modified()
            .unwrap()
            .elapsed()
            .unwrap_or_default();
        let text = fs::read_to_string(self.job(id)).ok()?;
        Some(Duration::from_millis(text.parse().unwrap()).saturating_sub(age))
    }
}

#[async_trait]
impl Driver for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let id = options.id.clone().unwrap();
        self.make(&id, &spec.python_code);
        Ok(Ticket {
            driver: self.name().to_owned(),
            id,
        })
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        loop {
            let remaining = self.remaining(&ticket.id);
            let remaining = remaining.ok_or_else(|| DriverError::UnknownTicket(ticket.clone()))?;
            if remaining.is_zero() {
                self.pass(Point::BeforeTellingTheEnd);
                return Ok(outcome(End::Exited { code: 0 }));
            }
            tokio::time::sleep(remaining.max(LOOK)).await;
        }
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        self.pass(Point::BeforeSettling);
        self.wait(ticket).await
    }

    async fn cancel(&self, _: &Ticket) -> Result<(), DriverError> {
        Err(is_down())
    }

    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        Err(DriverError::UnknownTicket(ticket.clone()))
    }

    fn logs(&self, _: &Ticket) -> Result<LogReader, DriverError> {
        let log = LogWriter::new();
        log.append(Stream::Stdout, PRINTED.as_bytes());
        Ok(log.reader())
    }

    fn forget(&self, ticket: &Ticket) {
        self.pass(Point::BeforeForgetting);
        let job = self.job(&ticket.id);
        let number = self.times_made(&ticket.id);
        let _ = fs::rename(&job, job.with_extension(format!("job.{number}")));
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(is_down())
    }

    async fn discard_epoch(&self, _: &Epoch) -> Result<(), DriverError> {
        Err(is_down())
    }
}
