//! Moves the write-ahead log into the database file in a thread beside the writer, so that a commit waits for its own
//! bytes and not for those of a thousand commits before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::sqlite::Connection;

/// Bytes of log at which a checkpoint starts; SQLite's default is a thousand pages.
const CARRY_BYTES: u64 = 4 << 20;
/// Bytes of log at which the writer waits for the checkpoint: without a pause between writes, the log would never
/// restart from its beginning.
const MOST_BYTES: u64 = 64 << 20;
/// Commits between two checks of the log's size.
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
    /// The system cannot start a thread.
    pub fn start(database: &Path, connection: Connection) -> io::Result<Checkpoints> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("task-checkpoints".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    // Moves what no reader needs; the next checkpoint takes the rest.
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

    /// Notes a commit, and starts a checkpoint if the log has grown.
    pub fn committed(&mut self, writer: &Connection) {
        self.commits = self.commits.wrapping_add(1);
        if !self.commits.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let bytes = fs::metadata(&self.log).map_or(0, |log| log.len());
        if bytes >= MOST_BYTES {
            // If a reader blocks it, the next check tries again.
            let _ = writer.batch("PRAGMA wal_checkpoint(TRUNCATE)");
        } else if bytes >= CARRY_BYTES
            && let Some(wake) = &self.wake
        {
            // It fails if the thread was already woken.
            let _ = wake.try_send(());
        }
    }

    /// Ends the thread and leaves one complete file, unless a reader is active: then the next opening does that.
    pub fn finish(mut self, writer: &Connection) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked leaves nothing to do.
            let _ = thread.join();
        }
        let _ = writer.batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}
