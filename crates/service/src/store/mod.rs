//! Stores tasks in a SQLite file with one writer and a few readers.
//!
//! A write returns once it is on disk (WAL with `synchronous = FULL`). Writes that wait at the same time share one
//! transaction. Readers see what is committed and never wait for the writer.

mod checkpoint;
pub(crate) mod cursor;
pub(crate) mod expiry;
pub mod history;
pub(crate) mod insert;
mod labels;
mod newer;
mod open;
pub(crate) mod rows;
pub(crate) mod secrets;
pub mod sqlite;
pub(crate) mod tally;
pub(crate) mod writer;
pub(crate) mod writes;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::config::ServiceConfig;
use crate::error::{OpenError, ServiceError};
use checkpoint::Checkpoints;
use cursor::Cursors;
use sqlite::{Connection, Interrupt, SqlError, SqlErrorKind};
use tally::Tally;
use writer::{WriteContext, Writer};

impl From<SqlError> for ServiceError {
    fn from(error: SqlError) -> ServiceError {
        let message = error.message;
        match error.kind {
            SqlErrorKind::Busy => ServiceError::StorageBusy { message },
            SqlErrorKind::Full => ServiceError::StorageFull { message },
            SqlErrorKind::Damaged | SqlErrorKind::Refused | SqlErrorKind::Other => ServiceError::Storage { message },
        }
    }
}

/// The stored tasks.
pub struct Store {
    writer: Writer,
    readers: Arc<Readers>,
    tally: watch::Receiver<Tally>,
    thread: Mutex<Option<JoinHandle<()>>>,
    patience: Duration,
    path: PathBuf,
    cursors: Cursors,
    /// Held as long as the store is.
    _lock: File,
}

impl Store {
    /// Opens the database in the service's folder, or creates it. Blocks while it checks the file.
    ///
    /// # Errors
    /// The database is in use, locked, damaged, of another program, or newer than this one. It is left unchanged.
    pub fn open(config: &ServiceConfig) -> Result<Store, OpenError> {
        let lock = open::claim(&config.folder)?;
        let (path, connection) = open::open(config)?;
        let open_error = |error: SqlError| OpenError::Database {
            path: path.clone(),
            message: error.message,
        };
        let mut tally = Tally::default();
        for (tenant, stored, count) in rows::count(&connection).map_err(open_error)? {
            tally.add(&tenant, &stored, u64::try_from(count).unwrap_or_default());
        }
        for (tenant, bytes) in rows::saved_bytes(&connection).map_err(open_error)? {
            tally.save(&tenant, u64::try_from(bytes).unwrap_or_default());
        }
        let cursors = rows::cursors(&connection).map_err(open_error)?;
        let readers = config.readers.max(1);
        let idle = (0..readers).map(|_| open::reader(&path, config));
        let idle = idle.collect::<Result<Vec<_>, _>>()?;
        let (told_tally, seen) = watch::channel(tally.clone());
        let carrier = open::carrier(&path, config)?;
        let started = Checkpoints::start(&path, carrier)
            .and_then(|checkpoints| Writer::start(connection, checkpoints, tally, told_tally));
        let (writer, thread) = started.map_err(|source| OpenError::Folder {
            path: config.folder.clone(),
            source,
        })?;
        Ok(Store {
            writer,
            readers: Arc::new(Readers {
                idle: Mutex::new(idle),
                permits: Arc::new(Semaphore::new(readers)),
            }),
            tally: seen,
            thread: Mutex::new(Some(thread)),
            patience: config.store_call,
            path,
            cursors,
            _lock: lock,
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes and reads list cursors.
    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// The number of tasks in each state, updated with each commit that changes one.
    pub(crate) fn tally(&self) -> watch::Receiver<Tally> {
        self.tally.clone()
    }

    /// Writes; see [`Writer::write`].
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteContext<'_>) -> Result<T, SqlError> + Send + 'static,
    {
        match timeout(self.patience, self.writer.write(work)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ServiceError::StorageBusy {
                message: format!("no answer within {} s", self.patience.as_secs()),
            }),
        }
    }

    /// Writes without a time limit, for writes whose result must not be missed: a write that is abandoned may still be
    /// done. The writer gives up by itself if the database is locked or the disk reports an error.
    pub(crate) async fn write_certainly<T, F>(&self, work: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteContext<'_>) -> Result<T, SqlError> + Send + 'static,
    {
        Ok(self.writer.write(work).await?)
    }

    /// Reads with a time limit. A statement that takes longer is interrupted, so that its connection is free again.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let reading = Arc::new(Mutex::new(None));
        let read_guard = ActiveRead(Arc::clone(&reading));
        let read = self.read_all(move |sql| {
            let _active = read_guard.begin(sql);
            read(sql)
        });
        match timeout(self.patience, read).await {
            Ok(answer) => answer,
            Err(_) => {
                let reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(interrupt) = reading.as_ref() {
                    interrupt.now();
                }
                Err(ServiceError::StorageBusy {
                    message: format!("nothing could be read within {} s", self.patience.as_secs()),
                })
            }
        }
    }

    /// Reads what may take long, without a time limit.
    pub(crate) async fn read_all<T, F>(&self, read: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let closed = |_| SqlError::unexpected("the database was closed");
        let permit = Arc::clone(&self.readers.permits)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let readers = Arc::clone(&self.readers);
        let lent = move || {
            let answer = readers.lend(read);
            // Returned with the connection, even if the caller is gone.
            drop(permit);
            answer
        };
        let done = tokio::task::spawn_blocking(lent).await;
        Ok(done.map_err(|panic| ServiceError::Internal {
            message: panic.to_string(),
        })??)
    }

    /// Writes what waits, merges the log into the database file, and closes it.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        // A thread that panicked has nothing more to write; one that does not end in time ends with the process.
        let _ = timeout(self.patience, joined).await;
    }
}

/// Interrupts a read while it has its connection: a caller that gives up must not interrupt the next read.
struct ActiveRead(Arc<Mutex<Option<Interrupt>>>);

impl ActiveRead {
    fn begin(self, sql: &Connection) -> ActiveRead {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sql.interrupt());
        self
    }
}

impl Drop for ActiveRead {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Connections that read, one task at a time each.
struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    fn lend<T>(&self, read: impl FnOnce(&Connection) -> Result<T, SqlError>) -> Result<T, SqlError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = idle().pop();
        let Some(connection) = connection else {
            return Err(SqlError::unexpected("more readers than connections"));
        };
        let answer = read(&connection);
        idle().push(connection);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_read_is_interrupted_and_its_connection_reused() {
        let root = tempfile::tempdir().unwrap();
        let config = ServiceConfig {
            readers: 1,
            store_call: Duration::from_millis(200),
            ..ServiceConfig::new(root.path())
        };
        let store = Store::open(&config).unwrap();
        let long = |sql: &Connection| {
            // It would end within minutes, so that this test ends, too.
            const COUNT: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000000) \
                                 SELECT count(*) FROM n";
            sql.first(COUNT, &[], |row| row.integer(0))
        };
        let busy = timeout(Duration::from_secs(20), store.read(long)).await.unwrap();
        assert!(matches!(busy, Err(ServiceError::StorageBusy { .. })), "{busy:?}");
        let one = async || store.read(|sql| sql.first("SELECT 1", &[], |row| row.integer(0))).await;
        let read = async { while one().await.is_err() {} };
        timeout(Duration::from_secs(20), read).await.unwrap();
        assert_eq!(one().await.unwrap(), Some(1));
        store.close().await;
    }
}
