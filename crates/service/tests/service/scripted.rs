//! A driver that does what a task's code says, line by line, and counts how often it had to.
//!
//! `print TEXT`, `err TEXT`, `burst N` (so many lines), `sleep MS`, `hold` (until it is cancelled), `exit CODE`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_driver::log::{LogWriter, Stream};
use hybrid_cache_driver::{Driver, DriverError, Epoch, Lifetime, LogReader, SubmitOptions, Ticket};
use hybrid_cache_model::outcome::{CacheReport, Output, Resolved};
use hybrid_cache_model::{CacheStatus, End, Failure, FailureKind, Lane, Outcome, Phase, TaskSpec, Timeline};
use tokio::sync::watch;
use tokio::task::AbortHandle;

struct Job {
    ended: watch::Receiver<Option<Outcome>>,
    cancel: watch::Sender<bool>,
    log: Arc<LogWriter>,
    work: Option<AbortHandle>,
}

/// The driver.
pub struct Scripted {
    lifetime: Lifetime,
    jobs: Mutex<HashMap<String, Job>>,
    /// Ids in the order in which they were started.
    pub started: Mutex<Vec<String>>,
    /// What was submitted, in the same order.
    pub specs: Mutex<Vec<TaskSpec>>,
    /// While true, nothing can be submitted, and the caller does not know whether it was.
    pub down: AtomicBool,
    /// While true, nothing can be submitted, and that is certain.
    pub away: AtomicBool,
    /// How long it reports to remember tasks.
    pub remembers: Mutex<Duration>,
    /// While true, a submit that arrives succeeds without an answer.
    pub mute: AtomicBool,
    /// How long it takes to answer that it has started something.
    pub slow: Mutex<Duration>,
    /// While true, ends are not reported.
    pub deaf: AtomicBool,
    /// Why its tasks have no room yet, and since when.
    waits: Mutex<Option<(String, Instant)>>,
    /// How long they had none before.
    waited: Mutex<Duration>,
    /// How often something was submitted, with any result.
    pub attempts: AtomicUsize,
    /// Changes whenever it loses its connection to its tasks.
    blinks: watch::Sender<u32>,
    running: Arc<AtomicUsize>,
    /// Most tasks that ran at the same time.
    pub most: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(lifetime: Lifetime) -> Scripted {
        Scripted {
            lifetime,
            jobs: Mutex::default(),
            started: Mutex::default(),
            specs: Mutex::default(),
            down: AtomicBool::new(false),
            away: AtomicBool::new(false),
            remembers: Mutex::new(Duration::MAX),
            mute: AtomicBool::new(false),
            slow: Mutex::default(),
            deaf: AtomicBool::new(false),
            waits: Mutex::default(),
            waited: Mutex::default(),
            attempts: AtomicUsize::new(0),
            blinks: watch::Sender::new(0),
            running: Arc::default(),
            most: Arc::default(),
        }
    }

    /// A driver whose tasks outlive the service.
    pub fn independent() -> Scripted {
        Scripted::new(Lifetime::Independent)
    }

    /// A driver whose tasks die with it.
    pub fn with_process() -> Scripted {
        Scripted::new(Lifetime::WithProcess)
    }

    /// Forgets everything, like a driver whose process was killed.
    pub fn die(&self) {
        for (_, job) in self.jobs.lock().unwrap().drain() {
            job.work.unwrap().abort();
        }
    }

    /// Forgets every ended task, like a cluster after a while.
    pub fn forget_all(&self) {
        self.jobs.lock().unwrap().clear();
    }

    /// Loses the connection to every task for a moment: waits fail, logs end, and cancels are forgotten.
    pub fn blink(&self) {
        self.blinks.send_modify(|count| *count += 1);
    }

    /// From now on its tasks have no room, for this reason, or have room again.
    pub fn fill(&self, why: Option<&str>) {
        let before = std::mem::replace(
            &mut *self.waits.lock().unwrap(),
            why.map(|why| (why.to_owned(), Instant::now())),
        );
        *self.waited.lock().unwrap() += before.map(|(_, since)| since.elapsed()).unwrap_or_default();
    }

    fn start_once(&self, id: &str, spec: &TaskSpec) {
        let mut jobs = self.jobs.lock().unwrap();
        if !jobs.contains_key(id) {
            let (reported, ended) = watch::channel(None);
            let (cancel, cancelled) = watch::channel(false);
            let log = Arc::new(LogWriter::new());
            let mut job = Job {
                ended,
                cancel,
                log: Arc::clone(&log),
                work: None,
            };
            self.started.lock().unwrap().push(id.to_owned());
            self.specs.lock().unwrap().push(spec.clone());
            let (code, running, most) = (
                spec.python_code.clone(),
                Arc::clone(&self.running),
                Arc::clone(&self.most),
            );
            let work = tokio::spawn(async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let outcome = perform(&code, &log, cancelled).await;
                running.fetch_sub(1, Ordering::SeqCst);
                log.close();
                reported.send_replace(Some(outcome));
            });
            job.work = Some(work.abort_handle());
            jobs.insert(id.to_owned(), job);
        }
    }

    /// Tasks that it knows.
    pub fn known(&self) -> usize {
        self.jobs.lock().unwrap().len()
    }

    pub fn times_started(&self, id: &str) -> usize {
        self.started.lock().unwrap().iter().filter(|known| *known == id).count()
    }

    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&Job) -> T) -> Result<T, DriverError> {
        let jobs = self.jobs.lock().unwrap();
        let found = jobs.get(&ticket.id).map(pick);
        found.ok_or_else(|| DriverError::UnknownTicket(ticket.clone()))
    }
}

pub fn is_down() -> DriverError {
    DriverError::Failed(Failure::new(FailureKind::Cluster, "the cluster does not answer"))
}

/// The outcome of a task with this end.
pub fn outcome(end: End) -> Outcome {
    let mut timeline = Timeline {
        total_us: 1500,
        ..Timeline::default()
    };
    timeline.push(Phase::UserCode, Lane::Runner, 100, 1000);
    Outcome {
        end,
        cache: CacheReport {
            python: CacheStatus::Hit,
            system: CacheStatus::NotAsked,
        },
        timeline,
        runner_us: 1200,
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: Vec::new(),
        not_kept: None,
    }
}

/// Does what the code says.
pub async fn perform(code: &str, log: &LogWriter, mut cancel: watch::Receiver<bool>) -> Outcome {
    let mut written = [Output::default(); 2];
    let (mut end, mut resolved) = (End::Exited { code: 0 }, Resolved::default());
    for line in code.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut print = |stream: Stream, text: String| {
            log.append(stream, text.as_bytes());
            let output = &mut written[usize::from(stream == Stream::Stderr)];
            output.written_bytes += text.len() as u64;
            output.passed_bytes += text.len() as u64;
        };
        match word {
            "print" => print(Stream::Stdout, format!("{rest}\n")),
            "err" => print(Stream::Stderr, format!("{rest}\n")),
            "burst" => {
                for number in 0..rest.parse::<u32>().unwrap() {
                    print(Stream::Stdout, format!("line {number}\n"));
                    if number % 100 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            "packages" => resolved.python = rest.split_whitespace().map(str::to_owned).collect(),
            "exit" => {
                end = End::Exited {
                    code: rest.parse().unwrap(),
                }
            }
            "sleep" | "hold" => {
                let long = Duration::from_millis(rest.parse().unwrap_or(3_600_000));
                tokio::select! {
                    () = tokio::time::sleep(long) => {}
                    _ = cancel.wait_for(|cancel| *cancel) => {
                        end = End::Cancelled;
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    let [stdout, stderr] = written;
    Outcome {
        stdout,
        stderr,
        resolved,
        ..outcome(end)
    }
}

#[async_trait]
impl Driver for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    fn remembers(&self) -> Duration {
        *self.remembers.lock().unwrap()
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(is_down());
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(DriverError::NotStarted(Failure::new(
                FailureKind::Cluster,
                "the cluster does not answer",
            )));
        }
        let id = options.id.clone().expect("the service names its tasks");
        let ticket = Ticket {
            driver: self.name().to_owned(),
            id: id.clone(),
        };
        // Decided before the task can be seen to have started: a test may end the silence as soon as it sees that.
        let mute = self.mute.load(Ordering::SeqCst);
        self.start_once(&id, spec);
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        if mute {
            return Err(is_down());
        }
        Ok(ticket)
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(is_down());
        }
        let mut ended = self.find(ticket, |job| job.ended.clone())?;
        let gone = |_| DriverError::UnknownTicket(ticket.clone());
        let mut blinks = self.blinks.subscribe();
        tokio::select! {
            outcome = ended.wait_for(Option::is_some) => Ok(outcome.map_err(gone)?.clone().unwrap()),
            _ = blinks.changed() => Err(is_down()),
        }
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let mut outcome = self.wait(ticket).await?;
        outcome.timeline.push(Phase::PythonPublish, Lane::Publish, 1100, 500);
        Ok(outcome)
    }

    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(is_down());
        }
        self.find(ticket, |job| job.cancel.send_replace(true)).map(|_| ())
    }

    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        self.find(ticket, |_| watch::channel(None).1)
    }

    fn waits(&self, ticket: &Ticket) -> Option<String> {
        let known = self.find(ticket, |_| ()).is_ok();
        let waits = self.waits.lock().unwrap().clone();
        waits.map(|(why, _)| why).filter(|_| known)
    }

    fn waited(&self, _: &Ticket) -> Duration {
        let going = self.waits.lock().unwrap().as_ref().map(|(_, since)| since.elapsed());
        *self.waited.lock().unwrap() + going.unwrap_or_default()
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        let mut whole = self.find(ticket, |job| job.log.reader())?;
        let (seen, mut blinks) = (LogWriter::new(), self.blinks.subscribe());
        let reader = seen.reader();
        tokio::spawn(async move {
            let copy = async {
                while let Some(chunk) = whole.next().await {
                    seen.append(chunk.stream, &chunk.bytes);
                }
            };
            tokio::select! {
                () = copy => {}
                _ = blinks.changed() => {}
            }
        });
        Ok(reader)
    }

    fn forget(&self, ticket: &Ticket) {
        self.jobs.lock().unwrap().remove(&ticket.id);
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(is_down())
    }

    async fn discard_epoch(&self, _: &Epoch) -> Result<(), DriverError> {
        Err(is_down())
    }
}
