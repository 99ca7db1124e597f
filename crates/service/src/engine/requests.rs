//! What clients request: submit, run, cancel, delete.

use hybrid_cache_api::{StateName, TaskId};
use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hybrid_cache_model::task_error::Faults;
use hybrid_cache_model::{TaskError, TaskErrors, TaskSpec};
use serde::Serialize;

use super::handle::Engine;
use super::housekeeping::CROWDED;
use super::inner::{Closing, Inner};
use super::intent::Intent;
use crate::error::ServiceError;
use crate::id::new_task_id;
use crate::store::insert::{self, Crowd, Inserted, NewTask};
use crate::store::secrets;
use crate::store::writer::WriteContext;
use crate::store::writes::{self, Cancelled, Deleted, Queued};

/// Longest Idempotency-Key in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Bounds of Retry-After.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(300);

/// The result of a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The task's id.
    pub id: TaskId,
    /// Whether the task is new, or an earlier one of the same Idempotency-Key.
    pub novelty: Novelty,
}

/// Whether a submit created a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It did.
    New,
    /// The task existed before.
    Repeated,
}

/// The result of running a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunAnswer {
    /// The task's id.
    pub id: TaskId,
    /// Its state: `queued` if this call queued it.
    pub state: StateName,
}

/// The result of cancelling a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It will never run.
    Cancelled,
    /// It runs and was asked to end; its state changes once it has.
    Requested,
    /// It had ended in this state before, and stays unchanged.
    Before(StateName),
}

impl Engine {
    /// Stores a task. It is on disk when this returns.
    ///
    /// # Errors
    /// The task is not acceptable, the key came with another body, there are too many tasks, or the write failed.
    pub async fn submit(&self, spec: &TaskSpec, idempotency_key: Option<&str>) -> Result<Submitted, ServiceError> {
        self.submit_holding(spec, idempotency_key, ()).await
    }

    /// The same. `held` is dropped once nothing of the task is in memory any longer, even if the caller goes away
    /// before.
    pub(crate) async fn submit_holding(
        &self,
        spec: &TaskSpec,
        idempotency_key: Option<&str>,
        held: impl Send + 'static,
    ) -> Result<Submitted, ServiceError> {
        let clock = Instant::now();
        let inner = &self.inner;
        inner.check_open()?;
        inner.check(spec)?;
        let secrets = secrets::to_json(spec).map_err(internal)?;
        let shown = if secrets.is_some() {
            Cow::Owned(spec.without_secrets())
        } else {
            Cow::Borrowed(spec)
        };
        let json = serde_json::to_string(&shown).map_err(internal)?;
        let idempotency = match idempotency_key {
            Some(key) => Some((check_key(key)?.to_owned(), digest(&json))),
            None => None,
        };
        let id = new_task_id().map_err(internal)?;
        let task = NewTask {
            tenant: self.tenant.clone(),
            id: id.clone(),
            spec: json,
            secrets,
            labels: spec.labels.clone(),
            idempotency,
            now_us: inner.clock.now_us(),
            open_limit: inner.config.open_tasks,
            saved_limit_bytes: inner.saved_limit_bytes(),
        };
        let write = move |context: &mut WriteContext<'_>| {
            let _held = &held;
            insert::insert(context, &task)
        };
        let inserted = inner.store.write(write).await?;
        inner.metrics.note_submit(clock.elapsed());
        match inserted {
            Inserted::New => {
                tracing::info!(task = %id, "saved");
                Ok(Submitted {
                    id,
                    novelty: Novelty::New,
                })
            }
            Inserted::Same(id) => Ok(Submitted {
                id,
                novelty: Novelty::Repeated,
            }),
            Inserted::OtherBody => Err(ServiceError::IdempotencyMismatch),
            Inserted::TooMany(crowd) => {
                let Crowd { open, saved, .. } = crowd;
                let retry_after = match saved > open / 2 {
                    true => inner.until_forgotten(crowd),
                    false => inner.retry_after(open),
                };
                let message =
                    format!("the limit is reached: {open} tasks have not ended, of which {saved} were never run");
                Err(ServiceError::TooMany { message, retry_after })
            }
            Inserted::TooLarge(crowd) => {
                let Crowd { saved, saved_bytes, .. } = crowd;
                let message =
                    format!("the limit is reached: {saved} saved tasks take {saved_bytes} bytes; run or delete some");
                let retry_after = inner.until_forgotten(crowd);
                Err(ServiceError::TooMany { message, retry_after })
            }
        }
    }

    /// Puts a task into the queue; does nothing if it was run before.
    ///
    /// # Errors
    /// There is no such task, it was cancelled, the queue is full, or the write failed.
    pub async fn run(&self, id: &TaskId) -> Result<RunAnswer, ServiceError> {
        let inner = &self.inner;
        inner.check_open()?;
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let (limit, now_us) = (inner.config.queue, inner.clock.now_us());
        let queued = inner
            .store
            .write(move |context| writes::queue(context, (&tenant, &wanted), limit, now_us))
            .await?;
        let state = match queued {
            Queued::Now => {
                tracing::info!(task = %id, "queued");
                StateName::Queued
            }
            Queued::Before(state) => state,
            Queued::Cancelled => {
                return Err(ServiceError::Conflict {
                    state: StateName::Cancelled,
                    message: "the task was cancelled and will not run\nhint: submit it again".to_owned(),
                });
            }
            Queued::Full(waiting) => {
                return Err(ServiceError::QueueFull {
                    waiting,
                    retry_after: inner.retry_after(waiting),
                });
            }
            Queued::Unknown => return Err(ServiceError::NotFound),
        };
        Ok(RunAnswer { id: id.clone(), state })
    }

    /// Cancels a task in any state; one that has ended stays unchanged.
    ///
    /// # Errors
    /// There is no such task, or the write failed.
    pub async fn cancel(&self, id: &TaskId) -> Result<CancelAnswer, ServiceError> {
        let inner = &self.inner;
        let (tenant, wanted, now_us) = (self.tenant.clone(), id.clone(), inner.clock.now_us());
        let cancelled = inner
            .store
            .write(move |context| writes::cancel(context, (&tenant, &wanted), now_us))
            .await?;
        match cancelled {
            Cancelled::Now => {
                tracing::info!(task = %id, "cancelled");
                inner.outputs.live.close(id);
                Ok(CancelAnswer::Cancelled)
            }
            Cancelled::Requested => {
                tracing::info!(task = %id, "asked to end");
                inner.set_intent(id, Intent::Cancel);
                Ok(CancelAnswer::Requested)
            }
            Cancelled::Before(state) => Ok(CancelAnswer::Before(state)),
            Cancelled::Unknown => Err(ServiceError::NotFound),
        }
    }

    /// Deletes a task and its output.
    ///
    /// # Errors
    /// There is no such task, it waits or runs, or the write failed.
    pub async fn delete(&self, id: &TaskId) -> Result<(), ServiceError> {
        let inner = &self.inner;
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let delete = move |context: &mut WriteContext<'_>| writes::delete(context, (&tenant, &wanted));
        match inner.store.write(delete).await? {
            Deleted::Now => {
                tracing::info!(task = %id, "deleted");
                inner.outputs.live.close(id);
                inner.remove_output(id).await;
                Ok(())
            }
            Deleted::UnderWay(state) => Err(ServiceError::Conflict {
                state,
                message: format!("the task is {}\nhint: cancel it first", state.name()),
            }),
            Deleted::Unknown => Err(ServiceError::NotFound),
        }
    }
}

impl Inner {
    fn check_open(&self) -> Result<(), ServiceError> {
        match *self.closing.borrow() {
            Closing::No => Ok(()),
            Closing::Draining => Err(ServiceError::ShuttingDown),
        }
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskErrors> {
        let (bytes, most) = (spec.python_code.len(), self.config.code_bytes);
        if bytes > most {
            return Err(TaskError {
                pointer: "/pythonCode",
                line: None,
                message: format!("the code has {bytes} bytes; at most {most} are accepted"),
                hint: Some("put the bulk into a package, or read it as data".to_owned()),
            }
            .into());
        }
        let mut faults = Faults::default();
        faults.keep(self.driver.check(spec));
        faults.keep(self.driver.check_limits(spec, &self.config.limits));
        let most_s = self.config.limits.time_ms / 1000;
        let above = |seconds: &u64| seconds.saturating_mul(1000) > self.config.limits.time_ms;
        if let Some(seconds) = spec.timeout_seconds.filter(above) {
            faults.push(TaskError {
                pointer: "/timeoutSeconds",
                line: None,
                message: format!("{seconds} s are more than the limit of this service, {most_s} s"),
                hint: Some(format!("give at most {most_s}, or leave the field out")),
            });
        }
        faults.result(())
    }

    /// When a slot should be free, estimated from how long tasks took so far.
    fn retry_after(&self, waiting: u64) -> Duration {
        let mean = Duration::from_micros(self.metrics.mean_total_us().unwrap_or_default());
        let ahead = u32::try_from(waiting / self.config.concurrency.max(1) as u64).unwrap_or(u32::MAX);
        // Once a tenth of the queue is gone, trying again makes sense.
        (mean.saturating_mul(ahead) / 10).clamp(RETRY_LEAST, RETRY_MOST)
    }

    /// When the first of too many saved tasks will have expired.
    fn until_forgotten(&self, crowd: Crowd) -> Duration {
        let kept = self.config.retention.saved.min(CROWDED);
        let age_us = crowd
            .oldest_us
            .map_or(0, |oldest_us| self.clock.now_us().saturating_sub(oldest_us));
        let age = Duration::from_micros(u64::try_from(age_us).unwrap_or_default());
        let left = kept.saturating_sub(age) + self.config.retention.every;
        left.clamp(RETRY_LEAST, kept + self.config.retention.every)
    }

    /// Deletes a task's output. If that fails, housekeeping tries again.
    pub(super) async fn remove_output(&self, id: &TaskId) {
        let (files, wanted) = (self.outputs.files.clone(), id.clone());
        let removed = tokio::task::spawn_blocking(move || files.remove(&wanted)).await;
        if let Err(error) = removed.map_err(std::io::Error::other).and_then(|removed| removed) {
            self.left_output.store(true, Ordering::Relaxed);
            tracing::warn!(task = %id, %error, "output cannot be deleted");
        }
    }
}

fn internal(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::Internal {
        message: error.to_string(),
    }
}

fn check_key(key: &str) -> Result<&str, ServiceError> {
    let good = !key.is_empty() && key.len() <= MAX_KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic());
    good.then_some(key).ok_or_else(|| ServiceError::Parameter {
        name: "Idempotency-Key",
        message: format!("1 to {MAX_KEY_BYTES} printable ASCII characters without spaces are accepted"),
    })
}

/// A digest of the body, independent of white space and of the order of fields.
fn digest(json: &str) -> Vec<u8> {
    blake3::hash(json.as_bytes()).as_bytes().to_vec()
}
