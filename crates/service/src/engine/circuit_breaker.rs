//! Circuit breaker for the driver: after a failed call, callers wait out a pause that grows with each failure, up to a
//! limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Backoff;

/// Pauses calls to a driver that does not answer.
pub struct CircuitBreaker {
    backoff: Backoff,
    state: Mutex<State>,
    /// Changes with each result, to wake those who wait.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    failures: u32,
    reason: Option<String>,
    until: Option<Instant>,
    /// True if the driver answered that it accepts nothing at the moment.
    answers: bool,
}

/// How long after a pause the driver still counts as down if nobody has called it since.
const KNOWN_DOWN: Duration = Duration::from_secs(60);

impl CircuitBreaker {
    /// A breaker without failures.
    pub fn new(backoff: Backoff) -> CircuitBreaker {
        CircuitBreaker {
            backoff,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver answered.
    pub fn record_success(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            *state = State::default();
            drop(state);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// The driver did not answer. Returns the pause before the next call.
    pub fn record_failure(&self, reason: &str) -> Duration {
        self.close(reason, false)
    }

    /// The driver answered that it accepts nothing at the moment. Returns the pause before the next call.
    pub fn record_refusal(&self, reason: &str) -> Duration {
        self.close(reason, true)
    }

    fn close(&self, reason: &str, answers: bool) -> Duration {
        let mut state = self.state();
        state.answers = answers;
        state.failures = state.failures.saturating_add(1);
        state.reason = Some(reason.to_owned());
        let pause = self.backoff.pause(state.failures);
        state.until = Some(Instant::now() + pause);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        pause
    }

    /// Why the driver accepts nothing; `None` while it does.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Why the driver does not answer; `None` while it does, or if nobody has called it for long.
    pub fn down(&self) -> Option<String> {
        let state = self.state();
        let is_known = state.until.is_some_and(|until| until + KNOWN_DOWN > Instant::now());
        state.reason.clone().filter(|_| is_known && !state.answers)
    }

    /// Waits until the driver may be called: it answers, or the pause is over.
    pub async fn wait_ready(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let until = self.state().until;
            let Some(until) = until.filter(|until| *until > Instant::now()) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                // This breaker owns the sender, so it is never closed.
                _ = changed.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pauses_grow_and_an_answer_ends_them() {
        let breaker = CircuitBreaker::new(Backoff {
            first: Duration::from_secs(1),
            most: Duration::from_secs(3),
        });
        breaker.wait_ready().await;
        let pauses: Vec<u64> = (0..4).map(|_| breaker.record_failure("down").as_secs()).collect();
        assert_eq!(pauses, [1, 2, 3, 3]);
        assert_eq!(breaker.reason().as_deref(), Some("down"));
        let start = Instant::now();
        breaker.wait_ready().await;
        assert_eq!(start.elapsed().as_secs(), 3);
        breaker.record_failure("down");
        breaker.record_success();
        breaker.wait_ready().await;
        assert_eq!((breaker.reason(), start.elapsed().as_secs()), (None, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_driver_counts_as_up_and_an_unused_one_is_not_down_for_ever() {
        let breaker = CircuitBreaker::new(Backoff {
            first: Duration::from_secs(1),
            most: Duration::from_secs(3),
        });
        breaker.record_refusal("the quota is full");
        assert_eq!(
            (breaker.reason().as_deref(), breaker.down()),
            (Some("the quota is full"), None)
        );
        breaker.record_failure("it does not answer");
        assert_eq!(breaker.down().as_deref(), Some("it does not answer"));
        tokio::time::advance(KNOWN_DOWN + Duration::from_secs(3)).await;
        assert_eq!(breaker.down(), None);
    }
}
