//! A driver whose tasks live in a folder, as those of a cluster live in its database: they outlive every process, and
//! a process can be killed at any point of a call.
//!
//! A task is a file `<id>.job`, made exactly once; each time one is made, a line is added to `made`. It ends so many
//! milliseconds after that as its code says (`sleep MS`), and prints one line. What is forgotten may be made again, which
//! `made` would tell.

use std::fs::{self, File};
use std::io::Write;
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
        let made = fs::read_to_string(self.folder.join("made")).unwrap_or_default();
        made.lines().filter(|line| *line == id).count()
    }

    fn pass(&self, point: Point) {
        if self.deadly == Some(point) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }

    fn make(&self, id: &str, code: &str) {
        self.pass(Point::BeforeMaking);
        let made = File::options().write(true).create_new(true).open(self.job(id));
        if let Ok(mut file) = made {
            let mut list = File::options()
                .create(true)
                .append(true)
                .open(self.folder.join("made"))
                .unwrap();
            list.write_all(format!("{id}\n").as_bytes()).unwrap();
            file.write_all(code.strip_prefix("sleep ").unwrap().as_bytes()).unwrap();
        }
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
        // A file that was made but not written yet belongs to a process that was killed in between.
        let text = fs::read_to_string(self.job(id)).ok()?;
        Some(Duration::from_millis(text.parse().unwrap_or_default()).saturating_sub(age))
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
        let _ = fs::remove_file(self.job(&ticket.id));
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(is_down())
    }

    async fn discard_epoch(&self, _: &Epoch) -> Result<(), DriverError> {
        Err(is_down())
    }
}
