//! What an operator may set: bounds, deadlines and retention.

use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::protocol::Limits;

/// The configuration of one service.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Folder of the database and of the tasks' output; created if it is missing.
    pub folder: PathBuf,
    /// Most tasks that run at the same time.
    pub concurrency: usize,
    /// Most tasks of one tenant that may wait in the queue.
    pub queue: u64,
    /// Most tasks of one tenant that have not ended, including those that were never run.
    pub open_tasks: u64,
    /// Bounds on each user's program.
    pub limits: Limits,
    /// How long preparing one task may take.
    pub prepare: Duration,
    /// Longest accepted `pythonCode`, in bytes; the model's own bound also applies.
    pub code_bytes: usize,
    /// Bytes of each stream that a task's view shows; the task's log has everything.
    pub shown_output_bytes: usize,
    /// How long tasks are kept.
    pub retention: Retention,
    /// Pauses between attempts while the driver does not answer.
    pub backoff: Backoff,
    /// How long one call of the driver may take. Waiting for a task's end is not such a call.
    pub driver_call: Duration,
    /// How much longer than its own limits a task may take before the service gives it up.
    pub overdue: Duration,
    /// How long to wait for a database that another process has locked.
    pub busy: Duration,
    /// How long a read or write of the database may take, including its wait in the queue.
    pub store_call: Duration,
    /// The database's largest size in bytes; `None` sets no bound.
    pub database_bytes: Option<u64>,
    /// Connections that read the database at the same time.
    pub readers: usize,
}

impl ServiceConfig {
    /// The defaults, with this folder.
    pub fn new(folder: impl Into<PathBuf>) -> ServiceConfig {
        ServiceConfig {
            folder: folder.into(),
            concurrency: 4,
            queue: 1000,
            open_tasks: 100_000,
            limits: Limits::default(),
            prepare: Duration::from_secs(900),
            code_bytes: hybrid_cache_model::task::MAX_CODE_BYTES,
            shown_output_bytes: 64 << 10,
            retention: Retention::default(),
            backoff: Backoff::default(),
            driver_call: Duration::from_secs(30),
            overdue: Duration::from_secs(600),
            busy: Duration::from_secs(5),
            store_call: Duration::from_secs(40),
            database_bytes: None,
            readers: 4,
        }
    }
}

/// How long tasks are kept, with their output. Waiting and running tasks are always kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// How long an ended task is kept, counted from its end.
    pub age: Duration,
    /// Most ended tasks of one tenant; the tasks submitted first are deleted first.
    pub count: u64,
    /// How long a task that no client has run is kept, counted from its submit; one hour if such tasks are half of the
    /// tasks that a tenant may have open.
    pub saved: Duration,
    /// Bytes of output and database together; `None` means a tenth of the volume. Beyond that, ended tasks are deleted,
    /// then saved ones: those of the tenant that holds most, oldest first.
    pub bytes: Option<u64>,
    /// Time between two runs of housekeeping.
    pub every: Duration,
    /// Tasks deleted in one transaction.
    pub batch: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            age: Duration::from_secs(30 * 24 * 3600),
            count: 100_000,
            saved: Duration::from_secs(24 * 3600),
            bytes: None,
            every: Duration::from_secs(60),
            batch: 100,
        }
    }
}

/// Pauses that grow.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The first pause; each later one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
}

impl Backoff {
    /// The pause after this many failures in a row.
    pub fn pause(&self, failures: u32) -> Duration {
        let factor = 1_u32 << failures.saturating_sub(1).min(20);
        self.first.saturating_mul(factor).min(self.most)
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
        }
    }
}
