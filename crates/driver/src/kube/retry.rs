//! Which answers of an API server are worth asking again, how long to pause, and what the others mean.

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
/// How long one request may go unanswered: a connection whose other end is gone says nothing.
pub const ANSWER: Duration = Duration::from_secs(20);
/// How long the cluster may refuse to answer before a task is given up. An API server restarts within that.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For how long an API server that did not answer may say what is not so: until it has read who may do what, and which
/// kinds there are, it refuses what it will accept.
const UNSETTLED: Duration = Duration::from_secs(60);

/// When the API server last did not answer.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    /// It did not answer now.
    pub fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True where it was not long ago.
    fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < UNSETTLED)
    }
}

/// Repeats a request until it is answered, or refused for good, or `patience` is at its end.
///
/// The request is one of those that few may make at one time where there are `places`. The place is given up between
/// tries, so that those who are refused do not keep the others waiting; waiting for it is no silence of the cluster's,
/// and takes no patience.
///
/// # Errors
/// What the cluster said last, explained. `what` names what was to be done.
pub async fn persist<T, F: Future<Output = kube::Result<T>>>(
    trouble: &Trouble,
    places: Option<&Semaphore>,
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, Refusal> {
    let mut spent = Duration::ZERO;
    let mut pause = FIRST_PAUSE;
    loop {
        let place = match places {
            // It is never closed, so this only waits.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        let asked = Instant::now();
        let said = match tokio::time::timeout(ANSWER.min(patience), ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) if is_passing(&status) => status.message.clone(),
            Ok(Err(kube::Error::Api(status))) if trouble.is_recent() && is_unsettled(&status) => status.message.clone(),
            Ok(Err(kube::Error::Api(status))) => return Err(Refusal::Answered(status)),
            Ok(Err(error)) => {
                trouble.note();
                root_cause(&error)
            }
            Err(_) => {
                trouble.note();
                format!("no answer within {} s", ANSWER.as_secs())
            }
        };
        drop(place);
        spent += asked.elapsed() + pause;
        if spent >= patience {
            return Err(Refusal::Unanswered(unreachable(what, &said)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why a request did not succeed.
#[derive(Debug)]
pub enum Refusal {
    /// The API server answered, and means it.
    Answered(Box<Status>),
    /// It did not answer, or was not able to.
    Unanswered(Failure),
}

impl Refusal {
    /// True where there is no such object.
    pub fn is_absent(&self) -> bool {
        matches!(self, Refusal::Answered(status) if status.code == 404)
    }

    /// True where an object of that name is there already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Refusal::Answered(status) if status.reason == "AlreadyExists")
    }

    /// The same for a person; `what` was to be done.
    pub fn explain(self, what: &str) -> Failure {
        match self {
            Refusal::Unanswered(failure) => failure,
            Refusal::Answered(status) => answered(what, &status),
        }
    }
}

/// Overload, restarts and changes of leadership pass; so does a conflict with somebody's simultaneous change. We name no
/// version of what we write, so a conflict is one about another object: the namespace's ResourceQuota.
fn is_passing(status: &Status) -> bool {
    matches!(status.code, 408 | 429 | 500..=599) || status.code == 409 && status.reason == "Conflict"
}

/// What an API server also says that has not read everything yet.
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
            Failure::new(FailureKind::Cluster, message).hint("the kubeconfig's credentials are not accepted (any more)")
        }
        403 if said.contains("cannot ") && said.contains("in API group") => Failure::new(FailureKind::Refused, message)
            .hint("the kubeconfig's user lacks a right in this namespace: see manifests/ for the Role it needs"),
        403 if said.contains("because it is being terminated") => Failure::new(FailureKind::Cluster, message)
            .hint("the namespace is being deleted; `cargo xtask up` makes it again"),
        403 | 422 | 400 => Failure::new(FailureKind::Refused, message).hint(
            "a rule of the cluster (a quota, an admission policy) says no: change what the task asks for, or the rule",
        ),
        404 => Failure::new(FailureKind::Cluster, message)
            .hint("is the namespace there? `cargo xtask up` makes it, `cargo xtask status` looks"),
        code => Failure::new(FailureKind::Cluster, format!("{message} ({code})")),
    }
}

fn unreachable(what: &str, said: &str) -> Failure {
    Failure::new(
        FailureKind::Cluster,
        format!("cannot {what}: the cluster does not answer: {said}"),
    )
    .hint("is it up? `cargo xtask status`; a cluster of kind ends with its machine: `cargo xtask up`")
}

/// The innermost reason: "connection refused" rather than "client error".
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
    async fn overload_is_waited_out() {
        let trouble = Trouble::default();
        let asked = AtomicU32::new(0);
        let answer = persist(&trouble, None, "try", PATIENCE, || async {
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
    async fn a_conflict_over_the_quota_is_tried_again_and_a_taken_name_is_not() {
        let trouble = Trouble::default();
        let asked = AtomicU32::new(0);
        // As recorded under load: "Operation cannot be fulfilled on resourcequotas: the object has been modified".
        let answer = persist(&trouble, None, "create the Secret", PATIENCE, || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Err(status(409, "Conflict")),
                _ => Ok(()),
            }
        });
        answer.await.unwrap();
        let taken = persist::<(), _>(&trouble, None, "create the Secret", PATIENCE, || async {
            Err(status(409, "AlreadyExists"))
        });
        assert!(taken.await.unwrap_err().is_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_repeated_and_an_outage_ends() {
        let trouble = Trouble::default();
        let asked = AtomicU32::new(0);
        let refused = persist::<(), _>(&trouble, None, "create the Job", PATIENCE, || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(status(403, "Forbidden"))
        });
        let failure = refused.await.unwrap_err().explain("create the Job");
        assert_eq!((failure.kind, asked.load(Ordering::Relaxed)), (FailureKind::Refused, 1));
        let down = || async { Err(kube::Error::ReadEvents(std::io::Error::other("connection refused"))) };
        let failure = persist::<(), _>(&trouble, None, "create the Job", PATIENCE, down)
            .await
            .unwrap_err();
        let failure = failure.explain("create the Job");
        assert_eq!(failure.kind, FailureKind::Cluster);
        assert!(failure.message.contains("connection refused"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_place_takes_no_patience() {
        let trouble = Trouble::default();
        let places = Semaphore::new(1);
        let slow = || async {
            tokio::time::sleep(ANSWER - Duration::from_secs(1)).await;
            Ok(())
        };
        let patience = ANSWER * 2;
        let one = || persist(&trouble, Some(&places), "write", patience, slow);
        let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
        assert!([a, b, c, d].iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_has_just_come_back_is_not_believed_that_nothing_is_allowed() {
        let said = "secrets is forbidden: User \"a\" cannot create resource \"secrets\" in API group \"\"";
        let refusal = || kube::Error::Api(Status::failure(said, "Forbidden").with_code(403).boxed());
        let trouble = Trouble::default();
        let ask = async |trouble: &Trouble| {
            let asked = AtomicU32::new(0);
            let answer = persist(trouble, None, "create the Secret", PATIENCE, || async {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    0..5 => Err(refusal()),
                    _ => Ok(()),
                }
            });
            answer
                .await
                .map_err(|refusal| refusal.explain("create the Secret").kind)
        };
        assert_eq!(ask(&trouble).await, Err(FailureKind::Refused));
        trouble.note();
        assert_eq!(ask(&trouble).await, Ok(()));
        tokio::time::advance(UNSETTLED).await;
        assert_eq!(ask(&trouble).await, Err(FailureKind::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_given_up() {
        let trouble = Trouble::default();
        let failure = persist::<(), _>(&trouble, None, "ask", Duration::from_secs(5), std::future::pending).await;
        assert!(matches!(failure, Err(Refusal::Unanswered(_))));
    }
}
