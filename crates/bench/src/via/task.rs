//! Runs one task through the service, from submit to deletion. Blocks; the waiting thread may ask it to stop.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hybrid_cache_api::{Client, ClientError, Event, OutputQuery, StreamName, TaskId};
use hybrid_cache_model::{TaskSpec, Timeline};

use super::failure::TaskError;
use super::{metrics, times};
use crate::machine::{Moment, Stopwatch};
use crate::target::{Run, TIME_LIMIT};

/// Longest time for a task: preparation, queue and program.
const TASK_TIMEOUT: Duration = Duration::from_secs(1200 + TIME_LIMIT.as_secs());
/// Longest total time of repeated requests to a busy service.
const BUSY_TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum number of requests to a service that does not answer while a task runs, and the pause between them.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait until publishing is done, and the pause between two checks.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two checks of a wait whether it should stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum size of the output that is kept, in bytes; no scenario expects as much.
const MAX_STDOUT_BYTES: usize = 8 << 20;

/// State that the waiting thread and the working thread share.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    id: Option<TaskId>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the work to stop; the task that has to be cancelled for that.
    pub fn stop(&self) -> Option<TaskId> {
        let mut state = self.state();
        state.stopped = true;
        state.id.clone()
    }

    fn check(&self) -> Result<(), TaskError> {
        match self.state().stopped {
            true => Err(TaskError::Stopped),
            false => Ok(()),
        }
    }

    /// From here on, whoever stops must cancel.
    fn has(&self, id: &TaskId) -> Result<(), TaskError> {
        self.state().id = Some(id.clone());
        self.check()
    }

    fn sleep(&self, pause: Duration) -> Result<(), TaskError> {
        let until = Instant::now() + pause;
        loop {
            self.check()?;
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => sleep(left.min(STOP_POLL_INTERVAL)),
                _ => return Ok(()),
            }
        }
    }
}

/// The run, with observations beside it.
pub struct Done {
    /// The run.
    pub run: Run,
    /// How often the service was too busy to accept the task.
    pub refusals: u32,
    /// False if the service had other work when the task was done: other clients use it too.
    pub settled: bool,
}

/// Runs a task and deletes it.
pub fn run(client: &Client, spec: &TaskSpec, control: &Control, settle: bool) -> Result<Done, TaskError> {
    run_within(client, spec, control, settle, BUSY_TIMEOUT)
}

/// Runs a task like [`run`], with another time limit for waiting on a busy service; all refusals of the task share this limit.
pub fn run_within(
    client: &Client,
    spec: &TaskSpec,
    control: &Control,
    settle: bool,
    mut patience: Duration,
) -> Result<Done, TaskError> {
    let mut refusals = 0;
    let (watch, id) = loop {
        // A refused task had not begun, so start the clock again.
        let watch = Stopwatch::start();
        match client.submit(spec, None) {
            Ok(submitted) => break (watch, submitted.id),
            Err(error) => {
                refusals += 1;
                wait_out(error, &mut patience, control)?;
            }
        }
    };
    let ended = carry(client, &id, (watch, patience), control, settle);
    let deleted = delete(client, &id);
    let (run, settled) = ended?;
    deleted?;
    Ok(Done { run, refusals, settled })
}

/// Waits as long as a busy service says, within what is `left` of patience.
fn wait_out(error: ClientError, left: &mut Duration, control: &Control) -> Result<(), TaskError> {
    match &error {
        ClientError::Busy { retry_after, .. } if retry_after <= left => {
            *left -= *retry_after;
            control.sleep(*retry_after)
        }
        _ => Err(error.into()),
    }
}

/// A task that still runs is cancelled first; what cannot be deleted then, the service forgets by itself.
fn delete(client: &Client, id: &TaskId) -> Result<(), ClientError> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match client.delete(id) {
            Err(ClientError::Refused { problem, .. }) if problem.status == 404 => return Ok(()),
            Err(ClientError::Refused { problem, .. }) if problem.status == 409 && Instant::now() < until => {
                client.cancel(id)?;
                sleep(SETTLE_POLL_INTERVAL);
            }
            other => return other,
        }
    }
}

fn carry(
    client: &Client,
    id: &TaskId,
    (watch, mut patience): (Stopwatch, Duration),
    control: &Control,
    settle: bool,
) -> Result<(Run, bool), TaskError> {
    control.has(id)?;
    let mut disturbed = None;
    while let Err(error) = client.run(id) {
        disturbed = Some(format!("not measured: {}", error.message()));
        wait_out(error, &mut patience, control)?;
    }
    let (stdout, moment, broken) = follow(client, id, watch, control)?;
    let settled = !settle || quiet(client, control)?;
    let task = client.get(id)?;
    let outcome = task.outcome();
    let timeline = Timeline::through_service(&outcome.timeline, moment.wall_us, times::queue_us(&task.summary));
    let run = Run {
        moment,
        outcome,
        timeline,
        stdout,
        disturbed: disturbed.or(broken),
    };
    Ok((run, settled))
}

/// Follows the task's output to its end. A broken connection is opened again, but the measured time then includes the client's own
/// pause.
fn follow(
    client: &Client,
    id: &TaskId,
    watch: Stopwatch,
    control: &Control,
) -> Result<(String, Moment, Option<String>), TaskError> {
    let until = Instant::now() + TASK_TIMEOUT;
    let (mut stdout, mut from) = (String::new(), 0);
    let mut broken: Option<String> = None;
    let mut failures = 0;
    loop {
        let query = OutputQuery { stream: None, from };
        let error = match client.follow(id, query) {
            Ok(mut events) => loop {
                match events.next_event() {
                    Ok(Some(Event::End(_))) => {
                        let moment = watch.stop();
                        events.finish();
                        return Ok((stdout, moment, broken));
                    }
                    Ok(Some(Event::Output { stream, text, next })) => {
                        failures = 0;
                        from = next.unwrap_or(from);
                        if stream == StreamName::Stdout && stdout.len() < MAX_STDOUT_BYTES {
                            stdout.push_str(&text);
                        }
                    }
                    Ok(None) => break broke_off(client, "it ended the connection before the task had ended"),
                    Err(error) => break broke_off(client, error),
                }
            },
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Busy { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        control.check()?;
        failures += 1;
        if failures >= MAX_ATTEMPTS {
            return Err(error.into());
        }
        if Instant::now() > until {
            return Err(TaskError::Overdue {
                url: client.url().to_owned(),
                id: id.clone(),
                limit: TASK_TIMEOUT,
            });
        }
        broken = Some(format!(
            "not measured: the connection broke while the task ran: {}",
            error.message()
        ));
        let pause = match &error {
            ClientError::Busy { retry_after, .. } => *retry_after,
            _ => RETRY_PAUSE,
        };
        control.sleep(pause)?;
    }
}

fn broke_off(client: &Client, reason: impl ToString) -> ClientError {
    ClientError::Unreachable {
        url: client.url().to_owned(),
        reason: reason.to_string(),
    }
}

/// Waits until the service has nothing to do, publishing included, so that no run slows the next one. False if other
/// clients keep the service busy.
fn quiet(client: &Client, control: &Control) -> Result<bool, TaskError> {
    let until = Instant::now() + SETTLE_TIMEOUT;
    while metrics::is_at_work(&client.metrics()?) {
        if Instant::now() > until {
            return Ok(false);
        }
        control.sleep(SETTLE_POLL_INTERVAL)?;
    }
    Ok(true)
}
