//! Whether the API server answers, and for how long in all it has not: in that time no task can be seen, so that none of
//! it counts against a task.
//!
//! A watch does not tell: one whose API server is stopped is as silent as one on which nothing happens. So as long as
//! somebody waits for a task, and only then, a small question is asked every few seconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::watch::Registry;

/// Time between two questions, and how long each may go unanswered.
const EVERY: Duration = Duration::from_secs(5);
/// How long watches, controllers and kubelets may take to come back behind an API server that answers again.
const CATCH_UP: Duration = Duration::from_secs(20);

/// The time in which the API server did not answer.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Lost>);

#[derive(Debug, Default)]
struct Lost {
    /// Over and done with.
    before: Duration,
    /// When the silence began that goes on.
    since: Option<Instant>,
    /// How often it has answered again after a silence.
    returns: u64,
}

impl Pulse {
    /// All of it so far.
    pub fn lost(&self) -> Duration {
        let lost = self.lock();
        lost.before + lost.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// True while it does not answer.
    pub fn is_lost(&self) -> bool {
        self.lock().since.is_some()
    }

    /// How often it has answered again after a silence.
    pub fn returns(&self) -> u64 {
        self.lock().returns
    }

    /// Begins to count what a task takes while the API server answers.
    pub fn begin(self: &Arc<Self>) -> Counted {
        Counted {
            pulse: Arc::clone(self),
            since: Instant::now(),
            lost: self.lost(),
        }
    }

    /// Waits for so long, not counting the time in which the API server does not answer; `None` where it was not enough.
    pub async fn timeout<T>(self: &Arc<Self>, limit: Duration, wait: impl Future<Output = T>) -> Option<T> {
        let counted = self.begin();
        let mut wait = std::pin::pin!(wait);
        while let Some(left) = limit.checked_sub(counted.elapsed()).filter(|left| !left.is_zero()) {
            if let Ok(done) = tokio::time::timeout(left, &mut wait).await {
                return Some(done);
            }
        }
        None
    }

    /// Takes in that a question asked then was answered, or was not.
    fn note(&self, answered: bool, asked: Instant) {
        let mut lost = self.lock();
        match (answered, lost.since) {
            (true, Some(since)) => {
                lost.before += since.elapsed() + CATCH_UP;
                lost.since = None;
                lost.returns += 1;
            }
            // It may have begun directly after the question before.
            (false, None) => lost.since = Some(asked.checked_sub(EVERY).unwrap_or(asked)),
            (true, None) | (false, Some(_)) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lost> {
        // Two numbers that are whole between any two calls, whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time that counts, from one moment on.
#[derive(Clone, Debug)]
pub struct Counted {
    pulse: Arc<Pulse>,
    since: Instant,
    lost: Duration,
}

impl Counted {
    /// How much of it has passed.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed().saturating_sub(self.pulse.lost() - self.lost)
    }
}

/// Asks for as long as it is let.
pub async fn run(cluster: Arc<Cluster>, registry: Arc<Registry>, pulse: Arc<Pulse>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if registry.is_idle() && !pulse.is_lost() {
            continue;
        }
        let asked = Instant::now();
        let answered = tokio::time::timeout(EVERY, cluster.answers()).await.unwrap_or(false);
        pulse.note(answered, asked);
        if !answered {
            cluster.trouble.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn silence_does_not_count_and_what_follows_it_has_time_to_come_back() {
        let pulse = Arc::new(Pulse::default());
        let counted = pulse.begin();
        tokio::time::advance(SECOND * 10).await;
        assert_eq!(counted.elapsed(), SECOND * 10);
        pulse.note(false, Instant::now());
        tokio::time::advance(SECOND * 3600).await;
        assert_eq!(
            counted.elapsed(),
            SECOND * 5,
            "it began up to five seconds before it was noticed"
        );
        pulse.note(false, Instant::now());
        pulse.note(true, Instant::now());
        tokio::time::advance(CATCH_UP + SECOND).await;
        assert_eq!(counted.elapsed(), SECOND * 6);
        assert_eq!(pulse.begin().elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_longer_by_a_silence_and_ends() {
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
