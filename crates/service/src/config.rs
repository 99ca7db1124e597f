//! What an operator may set: bounds, deadlines and how long things are kept.

use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::protocol::Limits;

/// The configuration of one service.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Folder of the database and of the tasks' output; made where it is not there.
    pub folder: PathBuf,
    /// Tasks that run at one time.
    pub concurrency: usize,
    /// Tasks that may wait for their turn.
    pub queue: u64,
    /// Tasks that may be kept without having ended, those never run included.
    pub open_tasks: u64,
    /// Bounds on each user's program.
    pub limits: Limits,
    /// How long preparing one task may take.
    pub prepare: Duration,
    /// Longest accepted `pythonCode`, in bytes; never more than the model's own bound.
    pub code_bytes: usize,
    /// Bytes of standard output, and as many of standard error, that are told with a task; all of it is in its logs.
    pub shown_output_bytes: usize,
    /// How long tasks are kept.
    pub retention: Retention,
    /// Pauses between attempts while the driver does not answer.
    pub backoff: Backoff,
    /// How long one call of the driver may take (waiting for a task to end is no such call).
    pub driver_call: Duration,
    /// How much longer than its own limits a task may take before it is given up.
    pub overdue: Duration,
    /// How long to wait for a database that another process has locked.
    pub busy: Duration,
    /// How long reading or writing the database may take, waiting for those in front included.
    pub store_call: Duration,
    /// The database's largest size in bytes; unbounded where absent.
    pub database_bytes: Option<u64>,
    /// Connections that read at one time.
    pub readers: usize,
}

impl ServiceConfig {
    /// The defaults, in this folder.
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

/// How long tasks are kept, with their output. Tasks that wait or run are always kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Ended tasks, since their end.
    pub age: Duration,
    /// At most so many ended tasks of one tenant; the ones submitted first go first.
    pub count: u64,
    /// Tasks that nobody has asked to run, since they were submitted; an hour where they are half of the tasks that a tenant
    /// may have open.
    pub saved: Duration,
    /// Bytes of output and database; a tenth of the volume where absent. Beyond them ended tasks go, then saved ones: those of
    /// the tenant that holds most, the oldest first.
    pub bytes: Option<u64>,
    /// Time between two looks.
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

/// Growing pauses.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The first pause; each one after it is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
}

impl Backoff {
    /// The pause after `failures` failures in a row.
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
