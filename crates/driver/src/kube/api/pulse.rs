//! Whether the API server answers, and for how long in all it has not. No task can be observed in that time, so it does not
//! count against any task.
//!
//! A watch cannot show this: it is just as silent if the API server has stopped as if nothing happens. So the driver sends
//! a small request every few seconds, but only while someone waits for a task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kube::api::cluster::Cluster;
use crate::kube::observe::registry::WorkloadRegistry;

/// Time between two checks, and how long each may go unanswered.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long watches, controllers and kubelets may take to catch up once the API server answers again.
const CATCH_UP_TIME: Duration = Duration::from_secs(20);

/// Counts the time in which the API server does not answer.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Outages>);

#[derive(Debug, Default)]
struct Outages {
    /// The outages that are over, together.
    before: Duration,
    /// When the outage began that goes on.
    since: Option<Instant>,
    /// How many outages are over.
    returns: u64,
}

impl Pulse {
    /// The length of all outages so far.
    pub fn outage_time(&self) -> Duration {
        let outages = self.lock();
        outages.before + outages.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// True while the API server does not answer.
    pub fn is_down(&self) -> bool {
        self.lock().since.is_some()
    }

    /// How many outages are over.
    pub fn returns(&self) -> u64 {
        self.lock().returns
    }

    /// Starts a clock that stands still during outages.
    pub fn begin(self: &Arc<Self>) -> TaskClock {
        TaskClock {
            pulse: Arc::clone(self),
            since: Instant::now(),
            outages: self.outage_time(),
        }
    }

    /// Waits for `wait`, for at most `limit` without outages; `None` if that was not enough.
    pub async fn timeout<T>(self: &Arc<Self>, limit: Duration, wait: impl Future<Output = T>) -> Option<T> {
        let clock = self.begin();
        let mut wait = std::pin::pin!(wait);
        while let Some(left) = limit.checked_sub(clock.elapsed()).filter(|left| !left.is_zero()) {
            if let Ok(done) = tokio::time::timeout(left, &mut wait).await {
                return Some(done);
            }
        }
        None
    }

    /// Notes whether the check that was sent at `asked` was answered.
    fn note(&self, answered: bool, asked: Instant) {
        let mut outages = self.lock();
        match (answered, outages.since) {
            (true, Some(since)) => {
                outages.before += since.elapsed() + CATCH_UP_TIME;
                outages.since = None;
                outages.returns += 1;
            }
            // The outage may have begun right after the check before.
            (false, None) => outages.since = Some(asked.checked_sub(CHECK_INTERVAL).unwrap_or(asked)),
            (true, None) | (false, Some(_)) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outages> {
        // The numbers are consistent between any two calls, even if one panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts time from one moment on, without outages of the API server.
#[derive(Clone, Debug)]
pub struct TaskClock {
    pulse: Arc<Pulse>,
    since: Instant,
    outages: Duration,
}

impl TaskClock {
    /// The time since the clock was started, without outages.
    pub fn elapsed(&self) -> Duration {
        self.since
            .elapsed()
            .saturating_sub(self.pulse.outage_time() - self.outages)
    }
}

/// Checks the API server until the task that runs this is dropped.
pub async fn run(cluster: Arc<Cluster>, registry: Arc<WorkloadRegistry>, pulse: Arc<Pulse>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        if registry.is_idle() && !pulse.is_down() {
            continue;
        }
        let asked = Instant::now();
        let answered = tokio::time::timeout(CHECK_INTERVAL, cluster.answers())
            .await
            .unwrap_or(false);
        pulse.note(answered, asked);
        if !answered {
            cluster.last_outage.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_outage_does_not_count_and_the_cluster_gets_time_to_catch_up() {
        let pulse = Arc::new(Pulse::default());
        let clock = pulse.begin();
        tokio::time::advance(SECOND * 10).await;
        assert_eq!(clock.elapsed(), SECOND * 10);
        pulse.note(false, Instant::now());
        tokio::time::advance(SECOND * 3600).await;
        assert_eq!(
            clock.elapsed(),
            SECOND * 5,
            "it began up to five seconds before it was noticed"
        );
        pulse.note(false, Instant::now());
        pulse.note(true, Instant::now());
        tokio::time::advance(CATCH_UP_TIME + SECOND).await;
        assert_eq!(clock.elapsed(), SECOND * 6);
        assert_eq!(pulse.begin().elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_extended_by_an_outage_and_still_ends() {
        let pulse = Arc::new(Pulse::default());
        let begun = Instant::now();
        pulse.note(false, begun);
        let answer = async {
            tokio::time::sleep(SECOND * 100).await;
            pulse.note(true, Instant::now());
            std::future::pending::<()>().await;
        };
        let (ended, ()) = tokio::join!(pulse.timeout(SECOND * 30, std::future::pending::<()>()), async {
            tokio::select! { () = answer => {}, () = tokio::time::sleep(SECOND * 101) => {} }
        });
        assert_eq!(ended, None);
        let took = begun.elapsed();
        assert!(took > SECOND * 120 && took < SECOND * 160, "{took:?}");
    }
}
