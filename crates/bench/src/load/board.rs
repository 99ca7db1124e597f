//! State that the workers and the watching thread share: the schedule, the active tasks, and the counts. Its size grows with the
//! number of active tasks, not with the number of all tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_api::{ClientError, TaskId, TaskSummary};
use hybrid_cache_model::load::{LoadCounts, LoadRow};
use hybrid_cache_report::DurationHistogram;

use super::listed;
use super::schedule::{Arrival, Schedule};
use super::series::Series;
use crate::machine::micros;
use crate::via::times;

/// Maximum number of requests at one time.
pub const WORKERS: usize = 32;
/// Maximum number of different reasons that are kept.
const REASONS: usize = 10;
/// Pause before a request without an answer is sent again.
pub const AFTER_SILENCE: Duration = Duration::from_secs(1);

/// Why the remaining planned arrivals are not sent.
#[derive(Clone, Debug)]
pub enum Stop {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The service no longer answers.
    Dead(ClientError),
    /// The service answers so slowly that the last arrivals have not been sent.
    Behind,
}

/// An acknowledged task that was not seen to end.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Number of the task's arrival.
    pub index: u64,
    /// Microseconds from the scheduled arrival to the queue's acknowledgement, if that has come.
    pub lead_us: Option<u64>,
}

/// All counts.
pub struct Tally {
    /// Results of the arrivals.
    pub counts: LoadCounts,
    /// As in the record.
    pub latency: DurationHistogram,
    /// As in the record.
    pub queue: DurationHistogram,
    /// As in the record.
    pub sending: DurationHistogram,
    /// Observations over time.
    pub series: Series,
    /// Tasks on their way, by id.
    pub open: HashMap<TaskId, Open>,
    /// Tasks that were saved, refused the queue and deleted.
    pub deleted: u64,
    /// Why tasks failed or were not accepted.
    pub reasons: Vec<String>,
    /// When a worker took the last arrival.
    pub taken: Duration,
}

/// The shared state; see the module.
pub struct Board {
    /// When the first arrival is due.
    pub began: Instant,
    /// Maximum number of times that a refused request is sent again.
    retries: u32,
    schedule: Mutex<Schedule>,
    tally: Mutex<Tally>,
    stop: Mutex<Option<Stop>>,
    /// Microseconds from the beginning until the last answer of any kind.
    heard_us: AtomicU64,
}

/// Locks the mutex even after a panic: the counts are always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// Creates the state of a run that begins now; `None` if no histogram can be created.
    pub fn new(began: Instant, schedule: Schedule, retries: u32) -> Option<Board> {
        let tally = Tally {
            counts: LoadCounts::default(),
            latency: DurationHistogram::new()?,
            queue: DurationHistogram::new()?,
            sending: DurationHistogram::new()?,
            series: Series::new(),
            open: HashMap::new(),
            deleted: 0,
            reasons: Vec::new(),
            taken: Duration::ZERO,
        };
        Some(Board {
            began,
            retries,
            schedule: Mutex::new(schedule),
            tally: Mutex::new(tally),
            stop: Mutex::new(None),
            heard_us: AtomicU64::new(0),
        })
    }

    /// Locks the schedule.
    pub fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    /// Locks the counts.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Returns the counts at the end.
    pub fn into_tally(self) -> Tally {
        self.tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the arrivals; the first reason is kept.
    pub fn stop(&self, why: Stop) {
        lock(&self.stop).get_or_insert(why);
        let mut tally = self.tally();
        for arrival in self.schedule().stop() {
            tally.leave(&arrival);
        }
    }

    /// Why the arrivals ended early; `None` if they did not.
    pub fn stopped(&self) -> Option<Stop> {
        lock(&self.stop).clone()
    }

    /// Records that the service answered.
    pub fn heard(&self) {
        let now_us = micros(self.began.elapsed());
        self.heard_us.fetch_max(now_us, Ordering::Relaxed);
    }

    /// Time since the service's last answer.
    pub fn silence(&self) -> Duration {
        let heard = Duration::from_micros(self.heard_us.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    /// Records that the first request of an arrival is about to be sent.
    pub fn sending(&self, arrival: &Arrival) {
        let mut tally = self.tally();
        tally.sending.note(micros(arrival.scheduled.elapsed()));
        tally.taken = tally.taken.max(self.began.elapsed());
    }

    /// The service saved a task.
    pub fn saved(&self, arrival: &Arrival, id: &TaskId) {
        self.heard();
        let open = Open {
            index: arrival.index,
            lead_us: None,
        };
        let mut tally = self.tally();
        tally.counts.submitted += 1;
        tally.open.insert(id.clone(), open);
    }

    /// The service put a task into its queue.
    pub fn queued(&self, arrival: &Arrival, id: &TaskId) {
        self.heard();
        let lead_us = micros(arrival.scheduled.elapsed());
        let mut tally = self.tally();
        tally.counts.queued += 1;
        if let Some(open) = tally.open.get_mut(id) {
            open.lead_us = Some(lead_us);
        }
        let row = LoadRow {
            submitted: 1,
            ..LoadRow::default()
        };
        tally.series.note(self.began.elapsed(), row);
        self.schedule().done();
    }

    /// A request came to nothing. A task to be deleted, as it will not be asked for any more.
    pub fn trouble(&self, mut arrival: Arrival, error: &ClientError) -> Option<TaskId> {
        let now = Instant::now();
        if !matches!(error, ClientError::Unreachable { .. }) {
            self.heard();
        }
        let mut tally = self.tally();
        let again = match error {
            ClientError::Busy { retry_after, .. } => {
                tally.refused(&mut arrival, self.began.elapsed());
                (arrival.refusals <= self.retries).then_some(*retry_after)
            }
            // It is unknown whether the service accepted it; the key and the id make another request harmless.
            ClientError::Unreachable { .. } => Some(AFTER_SILENCE),
            ClientError::Refused { problem, .. }
                if let Some(id) = arrival.id.as_ref().filter(|_| problem.status == 404) =>
            {
                tally.lose(id);
                self.schedule().done();
                return None;
            }
            other => {
                tally.counts.rejected += 1;
                tally.reason(other.to_string());
                tally.forget(&arrival);
                self.schedule().done();
                return arrival.id;
            }
        };
        let mut schedule = self.schedule();
        let left = match again {
            Some(pause) => match schedule.again(arrival, now + pause) {
                Ok(()) => {
                    if matches!(error, ClientError::Busy { .. }) {
                        tally.counts.retried += 1;
                    }
                    return None;
                }
                Err(arrival) => arrival,
            },
            None => arrival,
        };
        schedule.done();
        tally.leave(&left);
        left.id
    }

    /// Accounts for those of listed tasks that are ours and have ended; how many there were.
    pub fn settle<'a>(&self, tasks: impl Iterator<Item = &'a TaskSummary>) -> usize {
        let at = self.began.elapsed();
        let mut tally = self.tally();
        let mut settled = 0;
        for task in tasks.filter(|task| listed::has_ended(task)) {
            // A task whose acknowledgement has not arrived yet is counted by the next look.
            let Some(lead_us) = tally.open.get(&task.id).and_then(|open| open.lead_us) else {
                continue;
            };
            tally.open.remove(&task.id);
            tally.ended(task, lead_us, at);
            settled += 1;
        }
        settled
    }
}

impl Tally {
    fn refused(&mut self, arrival: &mut Arrival, at: Duration) {
        arrival.refusals += 1;
        self.counts.refused += u64::from(arrival.refusals == 1);
        let row = LoadRow {
            refused: 1,
            ..LoadRow::default()
        };
        self.series.note(at, row);
    }

    /// Gives up an arrival that the service never accepted.
    fn leave(&mut self, arrival: &Arrival) {
        if arrival.refusals > 0 {
            self.counts.given_up += 1;
        } else {
            self.counts.unanswered += 1;
        }
        self.forget(arrival);
    }

    fn forget(&mut self, arrival: &Arrival) {
        if let Some(id) = &arrival.id {
            self.open.remove(id);
        }
    }

    /// The service no longer knows an acknowledged task.
    pub fn lose(&mut self, id: &TaskId) {
        if self.open.remove(id).is_some() {
            self.counts.lost += 1;
            self.reason(format!("the service does not know task {id} any more"));
        }
    }

    fn ended(&mut self, task: &TaskSummary, lead_us: u64, at: Duration) {
        let failure = listed::failure(task);
        let row = LoadRow {
            done: 1,
            failed: u64::from(failure.is_some()),
            ..LoadRow::default()
        };
        self.series.note(at, row);
        self.counts.missed += u64::from(listed::missed(task));
        match failure {
            None => {
                self.counts.succeeded += 1;
                if let Some((queue_us, rest_us)) = times::spent_us(task) {
                    self.queue.note(queue_us);
                    self.latency.note(lead_us.saturating_add(rest_us));
                }
            }
            Some(reason) => {
                self.counts.failed += 1;
                self.reason(format!("{reason} (the first of them: {})", task.id));
            }
        }
    }

    /// Keeps the first reason of each kind; the first words identify the kind.
    fn reason(&mut self, reason: String) {
        let kind = |reason: &str| reason.split([':', '(']).next().unwrap_or_default().to_owned();
        let known = self.reasons.iter().any(|known| kind(known) == kind(&reason));
        if !known && self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}
