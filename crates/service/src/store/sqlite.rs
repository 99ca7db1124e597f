//! The SQLite connection, and the only file that knows the SQLite crate: connections, values, rows and error kinds.

use std::path::Path;
use std::time::Duration;

use rusqlite::ffi::ErrorCode;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Error, OpenFlags};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;
/// The first bytes of every SQLite file.
pub const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// The kind of an SQLite error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// Another connection holds the lock for longer than the wait.
    Busy,
    /// No room is left, or the database's own bound is reached.
    Full,
    /// The file is damaged or not a database.
    Damaged,
    /// A constraint or trigger refused it.
    Refused,
    /// Any other error.
    Other,
}

/// An SQLite error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Its kind.
    pub kind: SqlErrorKind,
    /// SQLite's message.
    pub message: String,
}

impl SqlError {
    /// A value that was read has the wrong type.
    pub fn unexpected(message: impl Into<String>) -> SqlError {
        SqlError {
            kind: SqlErrorKind::Other,
            message: message.into(),
        }
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> SqlError {
        // An I/O error while writing also means a full disk: a quota, a limit on file sizes, or a file system that
        // allocates late.
        const WRITE_FAILED: [i32; 4] = [
            rusqlite::ffi::SQLITE_IOERR_WRITE,
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
            rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
        ];
        let kind = match &error {
            Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => SqlErrorKind::Busy,
                ErrorCode::DiskFull => SqlErrorKind::Full,
                ErrorCode::SystemIoFailure if WRITE_FAILED.contains(&failure.extended_code) => SqlErrorKind::Full,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => SqlErrorKind::Damaged,
                ErrorCode::ConstraintViolation => SqlErrorKind::Refused,
                _ => SqlErrorKind::Other,
            },
            _ => SqlErrorKind::Other,
        };
        SqlError {
            kind,
            message: error.to_string(),
        }
    }
}

/// A value for a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(value) => ValueRef::Integer(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// One row of a result; columns count from 0.
pub struct Row<'a>(&'a rusqlite::Row<'a>);

impl Row<'_> {
    /// An integer.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn integer(&self, column: usize) -> Result<i64, SqlError> {
        Ok(self.0.get(column)?)
    }

    /// An integer or NULL.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn maybe_integer(&self, column: usize) -> Result<Option<i64>, SqlError> {
        Ok(self.0.get(column)?)
    }

    /// Text.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn text(&self, column: usize) -> Result<String, SqlError> {
        Ok(self.0.get(column)?)
    }

    /// Text or NULL.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn maybe_text(&self, column: usize) -> Result<Option<String>, SqlError> {
        Ok(self.0.get(column)?)
    }

    /// Bytes or NULL.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn maybe_blob(&self, column: usize) -> Result<Option<Vec<u8>>, SqlError> {
        Ok(self.0.get(column)?)
    }
}

/// How a connection opens its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read only; the file is not changed.
    Read,
    /// Read and write; the file is created if it is missing.
    Write,
}

/// Interrupts the statement of a connection.
pub struct Interrupt(rusqlite::InterruptHandle);

impl Interrupt {
    /// Interrupts it; nothing happens if none runs.
    pub fn now(&self) {
        self.0.interrupt();
    }
}

/// One connection.
pub struct Connection(rusqlite::Connection);

impl Connection {
    /// Opens a database file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, access: OpenMode, busy: Duration) -> Result<Connection, SqlError> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match access {
                OpenMode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
                OpenMode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            };
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Connection(connection))
    }

    /// Runs several statements without values.
    ///
    /// # Errors
    /// One of them failed; those before it are done.
    pub fn batch(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    /// Runs one statement, which stays prepared, and returns how many rows it changed.
    ///
    /// # Errors
    /// It failed, and changed nothing.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))?)
    }

    /// The rows of a statement, which stays prepared.
    ///
    /// # Errors
    /// It failed, or `read` did.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(&Row(row))?);
        }
        Ok(all)
    }

    /// The first row of a statement, if there is one.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        Ok(self.query(sql, values, read)?.into_iter().next())
    }

    /// Interrupts this connection from another thread.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt(self.0.get_interrupt_handle())
    }

    /// True while a transaction is open: SQLite itself ends one after some errors.
    pub fn in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    /// The number of the row that was inserted last.
    pub fn last_row(&self) -> i64 {
        self.0.last_insert_rowid()
    }
}
