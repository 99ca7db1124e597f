//! A driver whose tasks print as fast as they are read, and that sends everything again when their log is taken again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hybrid_cache_driver::log::{LogWriter, Stream};
use hybrid_cache_driver::{Driver, DriverError, Epoch, LogReader, SubmitOptions, Ticket};
use hybrid_cache_model::outcome::Output;
use hybrid_cache_model::{End, Outcome, Phase, TaskSpec};
use tokio::sync::watch;

use crate::scripted::{is_down, outcome};

const PIECE_BYTES: usize = 64 << 10;

struct Job {
    log: Arc<LogWriter>,
    ended: watch::Sender<bool>,
}

/// The driver.
pub struct Flood {
    jobs: Mutex<HashMap<String, Job>>,
    /// What each task prints, in pieces of both streams by turns.
    bytes: usize,
    /// How much of it may be printed so far.
    open: watch::Sender<usize>,
}

impl Flood {
    pub fn new(bytes: usize, open: usize) -> Flood {
        Flood {
            jobs: Mutex::default(),
            bytes,
            open: watch::Sender::new(open),
        }
    }

    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&Job) -> T) -> T {
        let mut jobs = self.jobs.lock().unwrap();
        let job = jobs.entry(ticket.id.clone()).or_insert_with(|| {
            let log = Arc::new(LogWriter::new());
            let ended = watch::Sender::new(false);
            let (writer, mut open, reported, bytes) =
                (Arc::clone(&log), self.open.subscribe(), ended.clone(), self.bytes);
            tokio::spawn(async move {
                for (number, at) in (0..bytes).step_by(PIECE_BYTES).enumerate() {
                    if open.wait_for(|open| at < *open).await.is_err() {
                        return;
                    }
                    writer.room().await;
                    let stream = if number % 4 == 3 {
                        Stream::Stderr
                    } else {
                        Stream::Stdout
                    };
                    writer.append(stream, &[letter(number); PIECE_BYTES]);
                }
                writer.close();
                reported.send_replace(true);
            });
            Job { log, ended }
        });
        pick(job)
    }

    async fn until_end(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let mut ended = self.find(ticket, |job| job.ended.subscribe());
        if ended.wait_for(|ended| *ended).await.is_err() {
            return Err(DriverError::UnknownTicket(ticket.clone()));
        }
        let printed = |part: u64| Output {
            written_bytes: part,
            passed_bytes: part,
        };
        let quarter = self.bytes as u64 / 4;
        Ok(Outcome {
            stdout: printed(quarter * 3),
            stderr: printed(quarter),
            ..outcome(End::Exited { code: 0 })
        })
    }
}

/// What the piece with this number is full of.
pub fn letter(number: usize) -> u8 {
    b'a' + u8::try_from(number % 23).unwrap()
}

#[async_trait]
impl Driver for Flood {
    fn name(&self) -> &'static str {
        "flood"
    }

    async fn submit(&self, _: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let ticket = Ticket {
            driver: self.name().to_owned(),
            id: options.id.clone().unwrap(),
        };
        self.find(&ticket, |_| ());
        Ok(ticket)
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        self.until_end(ticket).await
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        self.until_end(ticket).await
    }

    async fn cancel(&self, _: &Ticket) -> Result<(), DriverError> {
        Ok(())
    }

    fn preparing(&self, _: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        Ok(watch::channel(None).1)
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        Ok(self.find(ticket, |job| job.log.reader()))
    }

    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        Ok(self.find(ticket, |job| job.log.take()))
    }

    fn forget(&self, ticket: &Ticket) {
        self.jobs.lock().unwrap().remove(&ticket.id);
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(is_down())
    }

    async fn discard_epoch(&self, _: &Epoch) -> Result<(), DriverError> {
        Err(is_down())
    }
}
