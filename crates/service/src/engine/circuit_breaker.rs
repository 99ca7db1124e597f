//! Whether the driver answers: while it does not, nobody asks it more often than one attempt at growing intervals.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Backoff;

/// Open while the driver answers.
pub struct CircuitBreaker {
    backoff: Backoff,
    state: Mutex<State>,
    /// Raised by each change, to wake who waits.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    failures: u32,
    reason: Option<String>,
    until: Option<Instant>,
    /// True where the driver answers, and says "not now".
    answers: bool,
}

/// How long after the end of a pause the driver still counts as one that does not answer, where nobody has asked it since.
const KNOWN_DOWN: Duration = Duration::from_secs(60);

impl CircuitBreaker {
    /// An open breaker.
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

    /// The driver has answered.
    pub fn record_success(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            *state = State::default();
            drop(state);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// The driver has not answered. Returns how long to leave it alone.
    pub fn record_failure(&self, reason: &str) -> Duration {
        self.close(reason, false)
    }

    /// The driver has answered that it takes nothing now. Returns how long to leave it alone.
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

    /// Why the driver takes nothing; `None` while it does.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Why the driver does not answer; `None` while it does, and where nobody has asked it for long.
    pub fn down(&self) -> Option<String> {
        let state = self.state();
        let is_known = state.until.is_some_and(|until| until + KNOWN_DOWN > Instant::now());
        state.reason.clone().filter(|_| is_known && !state.answers)
    }

    /// Waits until the driver may be asked: it answers, or has been left alone for long enough.
    pub async fn wait_ready(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let until = self.state().until;
            let Some(until) = until.filter(|until| *until > Instant::now()) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                // The sender is this gate's own.
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
    async fn one_that_takes_nothing_now_answers_and_one_that_nobody_asks_is_not_down_for_ever() {
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
