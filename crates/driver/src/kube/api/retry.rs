//! Retries requests to the API server: which answers are worth another try, how long to pause, and what the others mean.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use kube::core::Status;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// First pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long one request may go unanswered. A connection whose other end is gone shows no error.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the cluster may not answer before a task is given up. An API server restarts within this time.
pub const OUTAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an API server may give wrong refusals after an outage: until it has read roles and resource kinds, it refuses
/// what it will accept later.
const UNSETTLED_PERIOD: Duration = Duration::from_secs(60);

/// When the API server last did not answer.
#[derive(Debug, Default)]
pub struct LastOutage(Mutex<Option<Instant>>);

impl LastOutage {
    /// Notes that it does not answer now.
    pub fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True if that was not long ago.
    fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < UNSETTLED_PERIOD)
    }
}

/// Repeats a request until it is answered, refused for good, or `timeout` has passed without an answer.
///
/// `slots` bounds how many requests of its kind are sent at one time. A request gives its slot back between tries, so
/// that refused requests do not block the others. Waiting for a slot does not count against `timeout`.
///
/// # Errors
/// What the cluster said last, explained. `what` names the action.
pub async fn persist<T, F: Future<Output = kube::Result<T>>>(
    last_outage: &LastOutage,
    slots: Option<&Semaphore>,
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, Refusal> {
    let mut spent = Duration::ZERO;
    let mut pause = FIRST_PAUSE;
    loop {
        let slot = match slots {
            // The semaphore is never closed, so this only waits.
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        };
        let asked = Instant::now();
        let said = match tokio::time::timeout(ANSWER_TIMEOUT.min(timeout), ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) if is_transient(&status) => status.message.clone(),
            Ok(Err(kube::Error::Api(status))) if last_outage.is_recent() && is_unsettled(&status) => {
                status.message.clone()
            }
            Ok(Err(kube::Error::Api(status))) => return Err(Refusal::Answered(status)),
            Ok(Err(error)) => {
                last_outage.note();
                root_cause(&error)
            }
            Err(_) => {
                last_outage.note();
                format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())
            }
        };
        drop(slot);
        spent += asked.elapsed() + pause;
        if spent >= timeout {
            return Err(Refusal::Unanswered(unreachable(what, &said)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why a request did not succeed.
#[derive(Debug)]
pub enum Refusal {
    /// The API server answered, and the answer is final.
    Answered(Box<Status>),
    /// It did not answer, or could not.
    Unanswered(Failure),
}

impl Refusal {
    /// True if there is no such object.
    pub fn is_absent(&self) -> bool {
        matches!(self, Refusal::Answered(status) if status.code == 404)
    }

    /// True if an object of that name exists already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Refusal::Answered(status) if status.reason == "AlreadyExists")
    }

    /// Explains the refusal to a person; `what` names the action.
    pub fn explain(self, what: &str) -> Failure {
        match self {
            Refusal::Unanswered(failure) => failure,
            Refusal::Answered(status) => answered(what, &status),
        }
    }
}

/// True for overload, restarts, changes of leadership, and a conflict with another client's simultaneous change. The
/// driver names no version of what it writes, so such a conflict is about another object: the namespace's ResourceQuota.
fn is_transient(status: &Status) -> bool {
    matches!(status.code, 408 | 429 | 500..=599) || status.code == 409 && status.reason == "Conflict"
}

/// True for what an API server also says before it has read everything.
fn is_unsettled(status: &Status) -> bool {
    let said = &status.message;
    match status.code {
        401 => true,
        403 => said.contains("cannot ") && said.contains("in API group"),
        404 => said.contains("could not find the requested resource"),
        _ => false,
    }
}

fn answered(what: &str, status: &Status) -> Failure {
    let said = &status.message;
    let message = format!("cannot {what}: {said}");
    match status.code {
        401 => {
            Failure::new(FailureKind::Cluster, message).hint("the cluster does not accept, or no longer accepts, the kubeconfig's credentials")
        }
        403 if said.contains("cannot ") && said.contains("in API group") => Failure::new(FailureKind::Refused, message)
            .hint("the kubeconfig's user lacks a right in this namespace: see manifests/ for the Role it needs"),
        403 if said.contains("because it is being terminated") => Failure::new(FailureKind::Cluster, message)
            .hint("the namespace is being deleted; `cargo xtask up` creates it again"),
        403 | 422 | 400 => Failure::new(FailureKind::Refused, message).hint(
            "a rule of the cluster (a quota, an admission policy) refuses this: change what the task asks for, or the rule",
        ),
        404 => Failure::new(FailureKind::Cluster, message)
            .hint("does the namespace exist? `cargo xtask status` shows it, and `cargo xtask up` creates it"),
        code => Failure::new(FailureKind::Cluster, format!("{message} ({code})")),
    }
}

fn unreachable(what: &str, said: &str) -> Failure {
    Failure::new(
        FailureKind::Cluster,
        format!("cannot {what}: the cluster does not answer: {said}"),
    )
    .hint("check it with `cargo xtask status`. A kind cluster stops with its machine; `cargo xtask up` starts it again")
}

/// The innermost cause, such as "connection refused" rather than "client error".
fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn status(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("said", reason).with_code(code).boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn overload_is_retried() {
        let last_outage = LastOutage::default();
        let asked = AtomicU32::new(0);
        let answer = persist(&last_outage, None, "try", OUTAGE_TIMEOUT, || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Err(status(429, "TooManyRequests")),
                1 => Err(status(503, "ServiceUnavailable")),
                2 => Err(kube::Error::ReadEvents(std::io::Error::other("connection refused"))),
                _ => Ok(7),
            }
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_over_the_quota_is_retried_and_a_taken_name_is_not() {
        let last_outage = LastOutage::default();
        let asked = AtomicU32::new(0);
        // As recorded under load: "Operation cannot be fulfilled on resourcequotas: the object has been modified".
        let answer = persist(&last_outage, None, "create the Secret", OUTAGE_TIMEOUT, || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Err(status(409, "Conflict")),
                _ => Ok(()),
            }
        });
        answer.await.unwrap();
        let taken = persist::<(), _>(&last_outage, None, "create the Secret", OUTAGE_TIMEOUT, || async {
            Err(status(409, "AlreadyExists"))
        });
        assert!(taken.await.unwrap_err().is_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_retried_and_an_outage_ends_the_request() {
        let last_outage = LastOutage::default();
        let asked = AtomicU32::new(0);
        let refused = persist::<(), _>(&last_outage, None, "create the Job", OUTAGE_TIMEOUT, || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(status(403, "Forbidden"))
        });
        let failure = refused.await.unwrap_err().explain("create the Job");
        assert_eq!((failure.kind, asked.load(Ordering::Relaxed)), (FailureKind::Refused, 1));
        let down = || async { Err(kube::Error::ReadEvents(std::io::Error::other("connection refused"))) };
        let failure = persist::<(), _>(&last_outage, None, "create the Job", OUTAGE_TIMEOUT, down)
            .await
            .unwrap_err();
        let failure = failure.explain("create the Job");
        assert_eq!(failure.kind, FailureKind::Cluster);
        assert!(failure.message.contains("connection refused"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_slot_does_not_count_against_the_timeout() {
        let last_outage = LastOutage::default();
        let slots = Semaphore::new(1);
        let slow = || async {
            tokio::time::sleep(ANSWER_TIMEOUT - Duration::from_secs(1)).await;
            Ok(())
        };
        let timeout = ANSWER_TIMEOUT * 2;
        let one = || persist(&last_outage, Some(&slots), "write", timeout, slow);
        let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
        assert!([a, b, c, d].iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_right_after_an_outage_is_retried() {
        let said = "secrets is forbidden: User \"a\" cannot create resource \"secrets\" in API group \"\"";
        let refusal = || kube::Error::Api(Status::failure(said, "Forbidden").with_code(403).boxed());
        let last_outage = LastOutage::default();
        let ask = async |last_outage: &LastOutage| {
            let asked = AtomicU32::new(0);
            let answer = persist(last_outage, None, "create the Secret", OUTAGE_TIMEOUT, || async {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    0..5 => Err(refusal()),
                    _ => Ok(()),
                }
            });
            answer
                .await
                .map_err(|refusal| refusal.explain("create the Secret").kind)
        };
        assert_eq!(ask(&last_outage).await, Err(FailureKind::Refused));
        last_outage.note();
        assert_eq!(ask(&last_outage).await, Ok(()));
        tokio::time::advance(UNSETTLED_PERIOD).await;
        assert_eq!(ask(&last_outage).await, Err(FailureKind::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_times_out() {
        let last_outage = LastOutage::default();
        let failure = persist::<(), _>(&last_outage, None, "ask", Duration::from_secs(5), std::future::pending).await;
        assert!(matches!(failure, Err(Refusal::Unanswered(_))));
    }
}
