//! Carrying the log over into the database file, beside the writer: a commit waits for its own bytes on disk, not for those
//! of a thousand commits before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::sqlite::Connection;

/// Bytes of log from which on it is carried over; SQLite's own habit is a thousand pages.
const CARRY_BYTES: u64 = 4 << 20;
/// Bytes of log at which the writer waits until it is carried over: without a pause between writes, the log would never
/// begin anew.
const MOST_BYTES: u64 = 64 << 20;
/// Commits between two looks at the log's size.
const LOOK_EVERY: u32 = 16;

/// The writer's side.
pub struct Checkpoints {
    log: PathBuf,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    commits: u32,
}

impl Checkpoints {
    /// Starts the thread, with a connection of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(database: &Path, connection: Connection) -> io::Result<Checkpoints> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("task-checkpoints".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    // Carries over what no reader needs; what it leaves, the next one takes.
                    if let Err(error) = connection.batch("PRAGMA wal_checkpoint(PASSIVE)") {
                        tracing::warn!(%error, "the database's log cannot be carried over");
                    }
                }
            })?;
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Ok(Checkpoints {
            log: log.into(),
            wake: Some(wake),
            thread: Some(thread),
            commits: 0,
        })
    }

    /// Notes a commit, and has the log carried over where it has grown.
    pub fn committed(&mut self, writer: &Connection) {
        self.commits = self.commits.wrapping_add(1);
        if !self.commits.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let bytes = fs::metadata(&self.log).map_or(0, |log| log.len());
        if bytes >= MOST_BYTES {
            // Where a reader holds it up, the next look tries again.
            let _ = writer.batch("PRAGMA wal_checkpoint(TRUNCATE)");
        } else if bytes >= CARRY_BYTES
            && let Some(wake) = &self.wake
        {
            // It fails where the thread has been woken already.
            let _ = wake.try_send(());
        }
    }

    /// Ends the thread and leaves one whole file behind, unless somebody reads at the moment: then the next opening does it.
    pub fn finish(mut self, writer: &Connection) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing to leave behind.
            let _ = thread.join();
        }
        let _ = writer.batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}
