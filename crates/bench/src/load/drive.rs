//! Runs the load: workers send requests, one thread watches, and every step has a time limit.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_api::{Client, TaskId};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::load::LoadRecord;
use hybrid_cache_tools::{ErrorContext, Progress, Result};

use super::board::{Board, Stop, Tally, WORKERS};
use super::schedule::Schedule;
use super::watch::{Depth, Watcher};
use super::worker::WorkerContext;
use crate::machine::micros;
use crate::target::END_LIMIT;
use crate::via;

/// Longest wait for an answer under load.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two queries of the service.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// One of this many queries reads the whole list of tasks.
const POLLS_PER_FULL_LISTING: u32 = 10;
/// Time between two checks for an interruption.
const INTERRUPT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The plan of a run under load.
pub struct LoadPlan {
    /// Address of the service.
    pub url: String,
    /// File with the service's token.
    pub token_file: Option<PathBuf>,
    /// Tasks of the arrivals, used in turn.
    pub specs: Vec<TaskSpec>,
    /// Arrivals per second.
    pub per_s: f64,
    /// How long tasks arrive.
    pub lasts: Duration,
    /// Maximum number of times that a refused request is sent again.
    pub retries: u32,
    /// Process id of the service, if it is a child of this process.
    pub process: Option<u32>,
    /// Time limits.
    pub limits: LoadLimits,
}

/// Time limits of a run under load.
pub struct LoadLimits {
    /// Silence after which the service counts as dead.
    pub silence: Duration,
    /// Maximum delay of the last arrival after its planned time.
    pub behind: Duration,
    /// After the last arrival: time without an ended task after which the rest is given up.
    pub stuck: Duration,
    /// After the last arrival: longest time until all tasks have ended.
    pub drain: Duration,
}

impl Default for LoadLimits {
    fn default() -> LoadLimits {
        LoadLimits {
            silence: Duration::from_secs(30),
            behind: Duration::from_secs(120),
            stuck: Duration::from_secs(120),
            drain: Duration::from_secs(3600),
        }
    }
}

/// Sends the arrivals and follows each task to its end. Returns why it stopped early, if it did.
///
/// # Errors
/// The service does not answer before the first arrival, or its address cannot be used.
pub fn drive(plan: &LoadPlan, interrupted: &AtomicBool, progress: &dyn Progress) -> Result<(LoadRecord, Option<Stop>)> {
    let builder = via::client(&plan.url, plan.token_file.as_deref())?.response_timeout(ANSWER_TIMEOUT);
    let client = builder.clone().build();
    // Clones of one client would share its connections.
    let clients: Vec<Client> = (0..WORKERS).map(|_| builder.clone().build()).collect();
    let began = Instant::now();
    let schedule = Schedule::new(began, plan.per_s, plan.lasts);
    let total = schedule.total();
    let board = Board::new(began, schedule, plan.retries).context("making a histogram")?;
    let mut watcher = Watcher::new(&client, &board, plan.process).map_err(|error| via::client_error(&error))?;
    let run = run_name();
    let context = WorkerContext {
        board: &board,
        turn: Mutex::new(()),
        specs: &plan.specs,
        run: &run,
    };
    let left = AtomicUsize::new(WORKERS);
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                let _at_work = AtWork(&left);
                context.send_arrivals(client);
            });
        }
        watch(plan, &board, &mut watcher, interrupted, &left);
    });
    let sent = board.began.elapsed();
    if board.stopped().is_none_or(|stop| matches!(stop, Stop::Behind)) {
        drain(plan, &board, &mut watcher, interrupted);
    }
    if matches!(board.stopped(), Some(Stop::Interrupted)) && plan.process.is_none() {
        cancel(&board, &client, progress);
    }
    let service = watcher.service_report(plan.process.is_some());
    let stopped = board.stopped();
    let watched = board.began.elapsed();
    let due = match stopped {
        None | Some(Stop::Behind) => total,
        Some(_) => board.schedule().arrived(),
    };
    let tally = board.into_tally();
    let arriving = match stopped {
        None => plan.lasts.max(tally.taken),
        Some(_) => sent.min(plan.lasts.max(tally.taken)),
    };
    let record = LoadRecord {
        offered_per_s: plan.per_s,
        planned_s: plan.lasts.as_secs(),
        retries: plan.retries,
        arriving_us: micros(arriving),
        watched_us: micros(watched),
        service,
        ..load_record(tally, due)
    };
    Ok((record, stopped))
}

fn load_record(tally: Tally, due: u64) -> LoadRecord {
    let mut counts = tally.counts;
    counts.due = due;
    let open = tally.open.len() as u64;
    counts.unfinished = tally.open.values().filter(|open| open.lead_us.is_some()).count() as u64;
    // These tasks were saved, but no answer said whether they were queued.
    counts.unanswered += open - counts.unfinished;
    let (row, rows) = tally.series.into_parts();
    LoadRecord {
        counts,
        latency: tally.latency.encode(),
        queue: tally.queue.encode(),
        sending: tally.sending.encode(),
        row_us: micros(row),
        rows,
        reasons: tally.reasons,
        ..LoadRecord::default()
    }
}

/// Counts a worker as ended when it is dropped, for whatever reason.
struct AtWork<'a>(&'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A name that distinguishes the tasks of this run from those of any other.
fn run_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    format!(
        "bench-load-{}-{}",
        now.unwrap_or_default().as_nanos(),
        std::process::id()
    )
}

/// Watches until no worker is left.
fn watch(plan: &LoadPlan, board: &Board, watcher: &mut Watcher<'_>, interrupted: &AtomicBool, left: &AtomicUsize) {
    let mut looks: u32 = 0;
    let mut next = board.began + POLL_INTERVAL;
    while left.load(Ordering::Relaxed) > 0 {
        if interrupted.load(Ordering::Relaxed) {
            board.stop(Stop::Interrupted);
        }
        if board.began.elapsed() > plan.lasts + plan.limits.behind {
            board.stop(Stop::Behind);
        }
        if Instant::now() < next || board.stopped().is_some() {
            sleep(INTERRUPT_POLL_INTERVAL);
            continue;
        }
        // Even a look that takes long is followed by a pause.
        next = Instant::now() + POLL_INTERVAL;
        looks += 1;
        let depth = if looks.is_multiple_of(POLLS_PER_FULL_LISTING) {
            Depth::Whole
        } else {
            Depth::Quick
        };
        look(plan, board, watcher, depth);
    }
}

/// Takes one look. Returns how many ended tasks it found.
fn look(plan: &LoadPlan, board: &Board, watcher: &mut Watcher<'_>, depth: Depth) -> usize {
    let looked = watcher.metrics().and_then(|()| watcher.list(depth));
    match looked {
        Ok(found) => found,
        Err(error) => {
            if board.silence() > plan.limits.silence {
                board.stop(Stop::Dead(error));
            }
            0
        }
    }
}

/// Waits for the last tasks to end.
fn drain(plan: &LoadPlan, board: &Board, watcher: &mut Watcher<'_>, interrupted: &AtomicBool) {
    let began = Instant::now();
    let mut moved = began;
    loop {
        if look(plan, board, watcher, Depth::Whole) > 0 {
            moved = Instant::now();
        }
        if board.tally().open.is_empty() {
            // Look once more, so that the service's counts include the last tasks.
            look(plan, board, watcher, Depth::Quick);
            return;
        }
        if interrupted.load(Ordering::Relaxed) {
            board.stop(Stop::Interrupted);
        }
        let given_up = moved.elapsed() > plan.limits.stuck || began.elapsed() > plan.limits.drain;
        if given_up || matches!(board.stopped(), Some(Stop::Interrupted | Stop::Dead(_))) {
            return;
        }
        sleep(POLL_INTERVAL);
    }
}

/// Cancels as many active tasks as possible in a short time: a user who interrupts the run does not want their results.
fn cancel(board: &Board, client: &Client, progress: &dyn Progress) {
    let until = Instant::now() + END_LIMIT;
    let ids: Vec<TaskId> = board.tally().open.keys().cloned().collect();
    for (at, id) in ids.iter().enumerate() {
        if Instant::now() > until {
            let count = ids.len() - at;
            progress.line(&format!(
                "warning: {count} tasks could not be cancelled in time; the service keeps running them"
            ));
            return;
        }
        // If the task has ended meanwhile, nothing is left to cancel.
        let _ = client.cancel(id);
    }
}
