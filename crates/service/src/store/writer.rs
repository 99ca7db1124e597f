//! The one writer: a thread that owns the writing connection and commits all waiting writes as one transaction.
//!
//! Each commit costs one wait for the disk, however many writes it holds. The more clients wait, the more of them share
//! one wait, and none waits for more than the commit in progress and its own.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::Checkpoints;
use super::sqlite::{Connection, SqlError, SqlErrorKind};
use super::tally::Tally;

/// Writes that may wait for the writer.
const WAITING: usize = 1024;
/// Most writes of one transaction.
const GROUP: usize = 256;

/// What a write works with.
pub struct WriteContext<'a> {
    /// The connection, inside a transaction.
    pub sql: &'a Connection,
    /// Tasks by state, as they will be when this transaction is committed.
    pub tally: &'a mut Tally,
}

/// One write. It runs at most one statement that changes anything. SQLite undoes a statement that fails, so a failed
/// write leaves no trace in a transaction that goes on for others. It may run again after a rollback.
trait WriteOp: Send {
    fn is_abandoned(&self) -> bool;
    fn attempt(&mut self, context: &mut WriteContext<'_>) -> Result<(), SqlError>;
    fn answer(self: Box<Self>, failure: Option<SqlError>);
}

struct Job<F, T> {
    work: F,
    made: Option<Result<T, SqlError>>,
    reply: oneshot::Sender<Result<T, SqlError>>,
}

impl<F, T> WriteOp for Job<F, T>
where
    F: FnMut(&mut WriteContext<'_>) -> Result<T, SqlError> + Send,
    T: Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn attempt(&mut self, context: &mut WriteContext<'_>) -> Result<(), SqlError> {
        let made = (self.work)(context);
        let failure = made.as_ref().err().cloned();
        self.made = Some(made);
        failure.map_or(Ok(()), Err)
    }

    fn answer(self: Box<Self>, failure: Option<SqlError>) {
        let unfinished = || Err(SqlError::unexpected("the write was not done"));
        let answer = match failure {
            Some(failure) => Err(failure),
            None => self.made.unwrap_or_else(unfinished),
        };
        // The caller may be gone; what was written stays written.
        let _ = self.reply.send(answer);
    }
}

enum Message {
    Write(Box<dyn WriteOp>),
    Close,
}

/// The handle of the writer.
#[derive(Clone)]
pub struct Writer {
    sender: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the thread. `tally_sender` receives the new counts after each commit.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(
        connection: Connection,
        checkpoints: Checkpoints,
        tally: Tally,
        tally_sender: watch::Sender<Tally>,
    ) -> std::io::Result<(Writer, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let bench = Bench {
            connection,
            checkpoints,
            tally,
            tally_sender,
        };
        let thread = std::thread::Builder::new()
            .name("task-writer".to_owned())
            .spawn(move || bench.serve(receiver))?;
        Ok((Writer { sender }, thread))
    }

    /// Writes, and returns once the write is on disk. The caller sets a time limit. A caller that goes away before the
    /// write has begun cancels it.
    ///
    /// # Errors
    /// The write failed, and nothing of it is stored.
    pub async fn write<T, F>(&self, work: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteContext<'_>) -> Result<T, SqlError> + Send + 'static,
    {
        let gone = |_| SqlError::unexpected("the database was closed");
        let (reply, answer) = oneshot::channel();
        let job = Job {
            work,
            made: None,
            reply,
        };
        let sent = self.sender.send(Message::Write(Box::new(job))).await;
        sent.map_err(|_| SqlError::unexpected("the database was closed"))?;
        answer.await.map_err(gone)?
    }

    /// Asks the thread to end after the waiting writes.
    pub async fn close(&self) {
        // It fails if the thread has ended.
        let _ = self.sender.send(Message::Close).await;
    }
}

/// The thread's own state.
struct Bench {
    connection: Connection,
    checkpoints: Checkpoints,
    tally: Tally,
    tally_sender: watch::Sender<Tally>,
}

impl Bench {
    fn serve(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut open = true;
        while open {
            let Some(first) = receiver.blocking_recv() else { break };
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Write(work) => group.push(work),
                    Message::Close => open = false,
                }
                next = (open && group.len() < GROUP)
                    .then(|| receiver.try_recv().ok())
                    .flatten();
            }
            group.retain(|work| !work.is_abandoned());
            if !group.is_empty() {
                self.commit(group);
            }
        }
        self.checkpoints.finish(&self.connection);
    }

    /// Runs the whole group in one transaction or, if one of them makes that fail, each in a transaction of its own.
    fn commit(&mut self, mut group: Vec<Box<dyn WriteOp>>) {
        let Err(failure) = self.transaction(&mut group) else {
            group.into_iter().for_each(|work| work.answer(None));
            self.checkpoints.committed(&self.connection);
            return;
        };
        if group.len() == 1 || failure.kind == SqlErrorKind::Busy {
            group.into_iter().for_each(|work| work.answer(Some(failure.clone())));
            return;
        }
        for work in group {
            let mut alone = vec![work];
            let failure = self.transaction(&mut alone).err();
            alone.into_iter().for_each(|work| work.answer(failure.clone()));
        }
    }

    /// Runs a group completely or not at all.
    fn transaction(&mut self, group: &mut [Box<dyn WriteOp>]) -> Result<(), SqlError> {
        self.connection.execute("BEGIN IMMEDIATE", &[])?;
        let mut tally = self.tally.clone();
        let done = self.attempt(group, &mut tally);
        let done = done.and_then(|()| self.connection.execute("COMMIT", &[]).map(|_| ()));
        if done.is_err() && self.connection.in_transaction() {
            self.connection.execute("ROLLBACK", &[])?;
        }
        done?;
        if tally != self.tally {
            tally.version += 1;
            self.tally = tally;
            self.tally_sender.send_replace(self.tally.clone());
        }
        Ok(())
    }

    fn attempt(&self, group: &mut [Box<dyn WriteOp>], tally: &mut Tally) -> Result<(), SqlError> {
        for work in group {
            let before = tally.clone();
            let mut context = WriteContext {
                sql: &self.connection,
                tally,
            };
            let Err(failure) = work.attempt(&mut context) else {
                continue;
            };
            *tally = before;
            // An error of one write is that write's result; any other error is the result of all.
            let own = matches!(failure.kind, SqlErrorKind::Refused | SqlErrorKind::Other);
            if !own || !self.connection.in_transaction() {
                return Err(failure);
            }
        }
        Ok(())
    }
}
