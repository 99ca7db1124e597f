//! Opens the database: checks whose it is, whether it is damaged, and its version. A refused file stays unchanged.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::sqlite::{Connection, HEADER, OpenMode, SqlError, SqlErrorKind};
use crate::config::ServiceConfig;
use crate::error::OpenError;
use crate::private;

/// The database in the service's folder.
pub const DATABASE: &str = "tasks.sqlite3";
/// The lock of the one service that uses the folder; the kernel releases it with the process.
const LOCK: &str = ".lock";
/// Identifies this service's databases (`PRAGMA application_id`): "hbct".
const APPLICATION: i64 = 0x6862_6374;
/// The schema steps; each raises `user_version` by one.
const MIGRATIONS: [&str; 2] = [include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];
/// Additions that earlier programs can work with: a table and a column that show whether the addition is present, and
/// the statement that makes it.
const ADDITIONS: &[(&str, &str, &str)] = &[
    ("task", "kept_bytes", include_str!("migrations/kept_bytes.sql")),
    ("task_label", "key", include_str!("migrations/labels.sql")),
    ("task_secret", "env", include_str!("migrations/secrets.sql")),
];
/// A database up to this size is rewritten once, so that it can return free pages. A larger one keeps its size and
/// reuses them.
const REWRITE_BYTES: u64 = 64 << 20;
/// Size of a page in bytes; SQLite counts the bound of a database in pages.
const PAGE_BYTES: u64 = 4096;
/// SQLite's value for "return free pages on request" (`PRAGMA auto_vacuum`).
const INCREMENTAL: i64 = 2;

/// Locks the folder for this process.
pub fn claim(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder {
        path: folder.to_owned(),
        source,
    };
    private::folder(folder).map_err(failed)?;
    // The lock needs only a descriptor, which no child process inherits.
    let mut options = File::options();
    let lock = private::file(options.write(true).create(true).truncate(true), &folder.join(LOCK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Checks the database, brings it to this version, and returns the connection that writes.
pub fn open(config: &ServiceConfig) -> Result<(PathBuf, Connection), OpenError> {
    let path = config.folder.join(DATABASE);
    let open_error = |error| tell(&path, error);
    let found = if is_there(&path)? { inspect(&path, config)? } else { 0 };
    make_private(&path)?;
    let writer = Connection::open(&path, OpenMode::Write, config.busy).map_err(open_error)?;
    if found == 0 {
        // Before everything else: a database with a page in it keeps its mode. It writes each time, which fails on a
        // full disk.
        writer.batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(open_error)?;
    }
    // FULL: a finished write survives a power failure, not only a crash of this process. Checkpoints run elsewhere.
    writer
        .batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0")
        .map_err(open_error)?;
    if let Some(bytes) = config.database_bytes {
        let pages = (bytes / PAGE_BYTES).max(1);
        writer
            .batch(&format!("PRAGMA max_page_count = {pages}"))
            .map_err(open_error)?;
    }
    migrate(&writer, found).map_err(open_error)?;
    if let Err(error) = give_pages_back(&writer) {
        tracing::warn!(%error, "the database's file keeps its size, and fills freed pages again");
    }
    Ok((path, writer))
}

/// Rewrites a small database of an earlier version, so that it can return free pages.
fn give_pages_back(writer: &Connection) -> Result<(), SqlError> {
    let number = |sql: &str| writer.first(sql, &[], |row| row.integer(0));
    let gives = number("PRAGMA auto_vacuum")?.unwrap_or_default() == INCREMENTAL;
    let pages = number("PRAGMA page_count")?.unwrap_or_default();
    if !gives && pages.unsigned_abs().saturating_mul(PAGE_BYTES) <= REWRITE_BYTES {
        writer.batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
    }
    Ok(())
}

/// Creates the file before SQLite does, for its owner only: SQLite gives the files beside it the same mode.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let mut options = File::options();
    let made = private::file(options.write(true).create(true).truncate(false), path).map(|_| ());
    let beside = ["-wal", "-shm"].map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    });
    let done = made.and_then(|()| beside.iter().try_for_each(|path| private::tighten_file(path)));
    done.map_err(|source| OpenError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// A connection that reads what the writer has committed.
pub fn reader(path: &Path, config: &ServiceConfig) -> Result<Connection, OpenError> {
    Connection::open(path, OpenMode::Read, config.busy).map_err(|error| tell(path, error))
}

/// A connection for checkpoints.
pub fn carrier(path: &Path, config: &ServiceConfig) -> Result<Connection, OpenError> {
    let carrier = Connection::open(path, OpenMode::Write, config.busy);
    let carrier = carrier.and_then(|carrier| carrier.batch("PRAGMA synchronous = FULL").map(|()| carrier));
    carrier.map_err(|error| tell(path, error))
}

fn tell(path: &Path, error: SqlError) -> OpenError {
    let path = path.to_owned();
    match error.kind {
        SqlErrorKind::Busy => OpenError::Locked { path },
        SqlErrorKind::Damaged => OpenError::Damaged {
            path,
            detail: error.message,
        },
        _ => OpenError::Database {
            path,
            message: error.message,
        },
    }
}

/// Checks only the first bytes: SQLite would take an empty file for a new database, and so does this.
fn is_there(path: &Path) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.map_err(failed)?,
    };
    let mut head = Vec::new();
    file.by_ref()
        .take(HEADER.len() as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    if head.is_empty() {
        return Ok(false);
    }
    if head != HEADER {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            detail: "it does not begin as a database does".to_owned(),
        });
    }
    Ok(true)
}

/// Checks a database through a connection that cannot write, and returns its version.
fn inspect(path: &Path, config: &ServiceConfig) -> Result<i64, OpenError> {
    let open_error = |error| tell(path, error);
    let reader = reader(path, config)?;
    let number = |sql: &str| reader.first(sql, &[], |row| row.integer(0)).map_err(open_error);
    let application = number("PRAGMA application_id")?.unwrap_or_default();
    let version = number("PRAGMA user_version")?.unwrap_or_default();
    let tables = number("SELECT count(*) FROM sqlite_schema")?.unwrap_or_default();
    // A process that was killed while it created the database leaves an empty one.
    let fresh = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION && !fresh {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    let verdict = reader
        .first("PRAGMA quick_check(1)", &[], |row| row.text(0))
        .map_err(open_error)?;
    match verdict.as_deref() {
        Some("ok") => Ok(version),
        other => Err(OpenError::Damaged {
            path: path.to_owned(),
            detail: other.unwrap_or("the check gave no answer").replace('\n', " "),
        }),
    }
}

/// Applies one step completely or not at all.
fn change(writer: &Connection, sql: &str) -> Result<(), SqlError> {
    writer.batch("BEGIN IMMEDIATE")?;
    let made = writer.batch(sql).and_then(|()| writer.batch("COMMIT"));
    if made.is_err() && writer.in_transaction() {
        writer.batch("ROLLBACK")?;
    }
    made
}

/// Brings a database of version `found` to this one, each step completely or not at all.
fn migrate(writer: &Connection, found: i64) -> Result<(), SqlError> {
    let done = usize::try_from(found).unwrap_or_default();
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = step + 1;
        let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}");
        change(writer, &format!("{sql};{marks}"))?;
    }
    for (table, column, sql) in ADDITIONS {
        const KNOWN: &str = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?";
        let known = writer.first(KNOWN, &[(*table).into(), (*column).into()], |row| row.integer(0))?;
        if known.is_none() {
            change(writer, sql)?;
        }
    }
    Ok(())
}
