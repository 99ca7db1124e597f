//! One task's way through the kube driver: a warm pod or a prepared one, again where that missed, and its outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::outcome::Output;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Outcome, Phase, Task, TaskSpec, Timeline};
use tokio::sync::watch;

use super::book::{Answer, Made};
use super::cluster::{NotMade, Patience};
use super::entrance::{WaitForRoom, Waiting};
use super::job::{self, CancelFlag, Running};
use super::logs::{Source, Tail};
use super::names::{Attempt, Component};
use super::render::{self, TaskPod};
use super::request::{self, BySecret, Delivery, Form, Freshness, Needs};
use super::retry::PATIENCE;
use super::sight::{Ended, PodSight, Sight};
use super::task::{self, Bounds, Preparation, Step};
use super::timeline::{self, Marks};
use super::warm::Request;
use super::workload::{Kind, Workload};
use super::{Shared, explain, maintain, trailer};
use crate::log::LogWriter;
use crate::trace::Notes;
use crate::{Epoch, SubmitOptions};

/// The runner keeps the bounds of preparing and running; the driver's own are for one that cannot.
pub const GRACE: Duration = Duration::from_secs(45);

/// What one task's flow works with.
pub struct Flow {
    /// The cluster, the watches, the configuration.
    pub shared: Arc<Shared>,
    /// The ticket's id.
    pub id: String,
    /// The task as submitted.
    pub spec: TaskSpec,
    /// The task as checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// Where its output goes.
    pub log: Arc<LogWriter>,
    /// Whether somebody cancelled it.
    pub cancel: CancelFlag,
    /// Tells which phase of preparing is under way.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Tells what it waits for while it has no place.
    pub waits: watch::Sender<WaitForRoom>,
    /// Tells whether the cluster has it.
    pub made: watch::Sender<Made>,
    /// Tells which of its workloads is the latest.
    pub carried_by: watch::Sender<Option<(Kind, String)>>,
    /// When it was submitted.
    pub clock: Instant,
    /// What a trace tells of it beside the outcome.
    pub notes: Notes,
}

/// How a task comes to its first workload.
pub enum Beginning {
    /// By making it.
    Make,
    /// Another process has made it.
    Found(Box<Found>),
}

/// A workload that another process has made.
pub struct Found {
    /// It.
    pub workload: Workload,
    /// Which of the task's workloads it is.
    pub attempt: Attempt,
    /// The form of its pod.
    pub form: Form,
}

/// What one attempt came to.
pub struct Ran {
    /// Its workload.
    pub running: Running,
    /// The form of its pod.
    pub form: Form,
    /// What the task's container left.
    pub report: Result<RunReport, Failure>,
    /// All attempts so far.
    pub timeline: Timeline,
    /// Where the runner's own origin lies on the driver's clock.
    pub origin_us: u64,
    /// What the user should know of it.
    pub warnings: Vec<String>,
}

/// What is known so far, over all attempts.
#[derive(Default)]
pub struct Progress {
    /// Where the time went.
    pub timeline: Timeline,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Flow {
    /// Runs the task. `ended` gets the outcome as soon as the task's container has ended; the returned one has what
    /// came after it too.
    ///
    /// # Errors
    /// The task was not made, or may not have been: it has no outcome.
    pub async fn run(mut self, beginning: Beginning, ended: &watch::Sender<Answer>) -> Result<Outcome, NotMade> {
        self.log.hold_to(&self.options.limits);
        let outcome = self.attempts(beginning, ended).await?;
        self.preparing.send_replace(None);
        self.log.close();
        ended.send_replace(Answer::of(&outcome));
        self.note(&outcome);
        Ok(outcome)
    }

    async fn attempts(&mut self, beginning: Beginning, ended: &watch::Sender<Answer>) -> Result<Outcome, NotMade> {
        let mut progress = Progress::default();
        let (mut attempt, mut form, mut beginning) = match beginning {
            Beginning::Found(found) => (found.attempt, found.form, Some(Beginning::Found(found))),
            make @ Beginning::Make => (Attempt::First, self.first_form(), Some(make)),
        };
        let mut offline = None;
        loop {
            let ran = match self.attempt(attempt, form, beginning.take(), &mut progress).await {
                Ok(ran) => ran,
                Err(Stop::NotMade(not_made)) if attempt == Attempt::First => match not_made {
                    NotMade::Never(failure) => return Ok(self.refused(failure, progress)),
                    not_made => return Err(not_made),
                },
                Err(stop) => return Ok(self.stopped(stop, progress)),
            };
            progress.timeline = ran.timeline.clone();
            progress.warnings.extend(ran.warnings.iter().cloned());
            match &ran.report {
                // Also what was prepared may be evicted before the task has its lease.
                Ok(RunReport::Missed { missed, .. }) if attempt == Attempt::First => {
                    self.notes.expired = missed.python_stale;
                    self.shared.known.remove(&self.request());
                    (attempt, form) = (Attempt::Prepared, Form::Prepared);
                }
                Ok(RunReport::Missed { .. }) if attempt == Attempt::Stale => {
                    let failure = offline.unwrap_or_else(|| Failure::new(FailureKind::Offline, "the index is offline"));
                    return Ok(self.failed(failure, progress));
                }
                Ok(RunReport::Finished {
                    end: End::Failed { failure },
                    ..
                }) if self.may_be_stale(failure, ran.form) => {
                    offline = Some(failure.clone());
                    (attempt, form) = (Attempt::Stale, Form::Warm);
                }
                _ => {
                    let mut outcome = self.outcome(&ran, progress);
                    if let Ok(RunReport::Finished { keys, .. }) = &ran.report {
                        self.notes.keys = keys.clone();
                    }
                    ended.send_replace(Answer::of(&outcome));
                    self.preparing.send_replace(None);
                    self.log.close();
                    self.settle(ran, &mut outcome).await;
                    return Ok(outcome);
                }
            }
        }
    }

    /// The prepared form, unless everything is known to be there.
    fn first_form(&self) -> Form {
        let warm = match self.task.cache {
            CachePolicy::Use => self.shared.known.contains(&self.request(), Instant::now()),
            CachePolicy::Bypass => false,
        };
        if warm || !self.needs().any() {
            Form::Warm
        } else {
            Form::Prepared
        }
    }

    /// True where what is there already may do, though it was resolved too long ago.
    fn may_be_stale(&self, failure: &Failure, form: Form) -> bool {
        failure.kind == FailureKind::Offline
            && form == Form::Prepared
            && self.task.cache == CachePolicy::Use
            && self.needs().python
    }

    async fn attempt(
        &mut self,
        attempt: Attempt,
        form: Form,
        beginning: Option<Beginning>,
        progress: &mut Progress,
    ) -> Result<Ran, Stop> {
        let mut marks = Marks {
            began_us: progress.timeline.total_us,
            ..Marks::default()
        };
        let (mut running, form, mut waiting) = match beginning {
            Some(Beginning::Found(found)) => (job::take_up(&self.shared, &found.workload), form, None),
            Some(Beginning::Make) | None => {
                self.ensure_folders().await?;
                let waiting = self.shared.entrance.enter();
                // A quota may have no room for the next workload of a task that has begun.
                let begun = attempt != Attempt::First;
                self.waits
                    .send_modify(|wait| wait.note(None, begun, &self.shared.pulse));
                let (running, form) = self.make(attempt, form).await?;
                marks.created_us = Some(self.now_us());
                (running, form, Some(waiting))
            }
        };
        self.made.send_replace(Made::Known);
        let before = self.carried_by.send_replace(Some((running.kind, running.name.clone())));
        if let Some((kind, name)) = before {
            // It has been seen to its end, and what takes its place is there.
            tokio::spawn(job::delete(Arc::clone(&self.shared), kind, name, None));
        }
        if marks.created_us.is_none() {
            running.ask().await.map_err(Stop::Failed)?;
        }
        let bounds = self.bounds(form);
        let source = self.source(&running);
        let (preparing, waits, pulse) = (
            self.preparing.clone(),
            self.waits.clone(),
            Arc::clone(&self.shared.pulse),
        );
        let mut tail = None;
        let needs = self.needs();
        let ended = running.end(bounds, &mut self.cancel, |sight, step| {
            if let (Step::Follow, None, Some(pod)) = (step, &tail, &sight.pod) {
                tail = Some(Tail::start(source(&pod.name)));
            }
            let output = tail
                .as_ref()
                .is_some_and(|tail: &Tail| tail.received.borrow().bytes > 0);
            show_preparing(&preparing, form, needs, sight, output);
            let (why, room) = (explain::waits_for_node(sight), explain::waits_for_room(sight));
            waits.send_modify(|wait| wait.note(why, room.is_some(), &pulse));
            match (&waiting, room) {
                (Some(waiting), Some(why)) => waiting.because(why),
                _ if sight.has_place() => waiting.take().into_iter().for_each(Waiting::placed),
                _ => {}
            }
        });
        let ended = ended.await;
        drop(waiting);
        self.waits.send_modify(|wait| wait.end(&self.shared.pulse));
        Ok(self.close(running, form, ended, tail, marks, progress).await)
    }

    /// Has the folders made that the task's pod mounts, where its tenant is a new one.
    async fn ensure_folders(&self) -> Result<(), Stop> {
        if self.needs().any() && self.task.cache == CachePolicy::Use {
            let (epoch, tenant) = (&self.options.epoch, &self.options.tenant);
            let ensured = maintain::ensure_tenant(&self.shared, epoch, tenant).await;
            ensured.map_err(|failure| Stop::NotMade(not_prepared(failure)))?;
        }
        Ok(())
    }

    async fn make(&mut self, attempt: Attempt, form: Form) -> Result<(Running, Form), Stop> {
        if *self.cancel.borrow() {
            return Err(Stop::Cancelled);
        }
        let freshness = match attempt {
            Attempt::Stale => Freshness::StaleAccepted,
            Attempt::First | Attempt::Prepared => Freshness::Required,
        };
        let (config, options) = (&self.shared.config, &self.options);
        let mut content = request::content(config, &self.spec, &self.task, options, form, freshness);
        if let Some(prepare) = &mut content.prepare {
            prepare.describe = self.shared.trace.get().is_some() && options.epoch == Epoch::Standing;
        }
        let data = BySecret.deliver(&content);
        let data = data.map_err(|error| Stop::Failed(Failure::new(FailureKind::InvalidTask, error.to_string())))?;
        let name = attempt.job(&self.id);
        let secret = render::secret(Component::Task, &self.id, &name, data);
        let epoch = match &options.epoch {
            Epoch::Standing => None,
            Epoch::Fresh(epoch) => Some(epoch.as_str()),
        };
        let token = trailer::token_for(config);
        let pod = TaskPod {
            id: &self.id,
            name: &name,
            form,
            needs: self.needs(),
            cache: self.task.cache,
            epoch,
            tenant: options.tenant.clone(),
            time_ms: options.limits.time_ms,
            prepare_ms: options.prepare_ms,
            token: token.as_deref(),
        };
        let workload = render::task(config, &pod);
        let patience = self.patience(attempt);
        let made = job::make(&self.shared, &secret, &workload, patience, &mut self.cancel).await;
        let (running, workload) = made.map_err(|not_made| match not_made {
            NotMade::Certainly(_) if *self.cancel.borrow() => Stop::Cancelled,
            not_made => Stop::NotMade(not_made),
        })?;
        // Where it was there already, it may be of the other form.
        Ok((running, Form::of(&workload)))
    }

    /// Whoever submits a task may submit it again; the later attempts of one are this process's alone.
    fn patience(&self, attempt: Attempt) -> Patience {
        let lasting = self.shared.lasting();
        match attempt {
            Attempt::First => Patience {
                answer: PATIENCE,
                // Who has given it an id submits it again.
                room: if self.options.id.is_some() {
                    Duration::ZERO
                } else {
                    lasting
                },
            },
            Attempt::Prepared | Attempt::Stale => Patience {
                answer: lasting,
                room: lasting,
            },
        }
    }

    /// Reads what the container left, waits for the last of its output, and lays the attempt on the timeline.
    async fn close(
        &mut self,
        running: Running,
        form: Form,
        ended: Result<Ended, Failure>,
        tail: Option<Tail>,
        mut marks: Marks,
        progress: &Progress,
    ) -> Ran {
        let sight = running.sight();
        let mut warnings = Vec::new();
        let report = match ended {
            Ok(ended) => {
                warnings.extend(explain::remark(&ended));
                task::report(&ended, &sight, running.will())
            }
            Err(failure) => Err(failure),
        };
        let (passed, inner) = match &report {
            Ok(RunReport::Finished {
                stdout,
                stderr,
                timeline,
                ..
            }) => (Some([*stdout, *stderr]), Some(timeline)),
            Ok(RunReport::Missed { timeline, .. }) => (Some([Output::default(); 2]), Some(timeline)),
            Err(_) => (None, None),
        };
        let pod = sight.pod.as_ref().filter(|pod| pod.task.ended().is_some());
        let silent = passed.is_some_and(|passed| passed.iter().all(|output| output.passed_bytes == 0));
        let source = self.source(&running);
        let late = |pod: &PodSight| Tail::start(source(&pod.name));
        let tail = tail.or_else(|| pod.filter(|_| !silent).map(late));
        if let Some(tail) = tail {
            let (received, missing) = tail.finish(passed, &self.shared.pulse).await;
            warnings.extend(missing.into_iter().chain(self.log.overflow()));
            marks.log_us = received.told.or(received.ended).map(|at| self.us_at(at));
        }
        marks.scheduled_us = sight.seen.scheduled.map(|at| self.us_at(at));
        marks.ended_us = sight.seen.task_ended.map(|at| self.us_at(at));
        marks.done_us = self.now_us();
        if marks.created_us.is_none() {
            warnings.push("the task was found at work by another process: earlier times are not known".to_owned());
        }
        let mut timeline = progress.timeline.clone();
        let origin_us = timeline::lay(&mut timeline, &marks, inner);
        Ran {
            running,
            form,
            report,
            timeline,
            origin_us,
            warnings,
        }
    }

    /// How the log of a pod of this workload is followed.
    fn source(&self, running: &Running) -> impl Fn(&str) -> Source + use<> {
        let (shared, log, early) = (Arc::clone(&self.shared), Arc::clone(&self.log), running.early.clone());
        let (kind, token) = (running.kind, running.token.clone());
        move |pod| Source {
            cluster: Arc::clone(&shared.cluster),
            splitting: Arc::clone(&shared.splitting),
            kind,
            pod: pod.to_owned(),
            log: Arc::clone(&log),
            token: token.clone(),
            early: early.clone(),
        }
    }

    fn bounds(&self, form: Form) -> Bounds {
        let start = Duration::from_secs(self.shared.config.start_s);
        let prepare_ms = match form {
            Form::Warm => 0,
            Form::Prepared => self.options.prepare_ms,
        };
        let work = Duration::from_millis(self.options.limits.time_ms.saturating_add(prepare_ms));
        Bounds {
            start,
            whole: start.saturating_add(work).saturating_add(GRACE),
        }
    }

    /// Which packages the task asks for.
    pub fn needs(&self) -> Needs {
        Needs::of(&self.task)
    }

    /// What it asks of the caches.
    pub fn request(&self) -> Request {
        Request::new(&self.options.epoch, &self.options.tenant, &self.task)
    }

    /// Microseconds since it was submitted.
    pub fn now_us(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    fn us_at(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.clock))
    }
}

/// Why there is no workload to wait for.
pub enum Stop {
    /// Somebody cancelled the task first.
    Cancelled,
    /// It was not made, or may not have been.
    NotMade(NotMade),
    /// It cannot be made, or not be seen.
    Failed(Failure),
}

/// Shows that a preparation is under way. The watches do not tell its phases: it is the longest one that a task of this
/// kind has, until the preparing container has ended or the task has written something.
fn show_preparing(preparing: &watch::Sender<Option<Phase>>, form: Form, needs: Needs, sight: &Sight, output: bool) {
    let going =
        sight.has_place() && form == Form::Prepared && !output && task::preparation(sight) == Preparation::Going;
    let longest = if needs.system {
        Phase::SystemRealise
    } else {
        Phase::PythonInstall
    };
    let phase = going.then_some(longest);
    preparing.send_if_modified(|shown| std::mem::replace(shown, phase) != phase);
}

/// Whole microseconds of a duration.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What it means for a task that the folders of its tenant could not be made: what is wrong with the volumes is told, and any
/// other reason is one of the pod that was to make them. The task was not started and may be tried again.
fn not_prepared(failure: Failure) -> NotMade {
    match failure.kind {
        FailureKind::CacheFormat | FailureKind::CacheAccess => NotMade::Never(failure),
        _ => NotMade::not_yet(failure),
    }
}
