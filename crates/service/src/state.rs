//! A task's states and the only steps between them.

use hybrid_cache_api::StateName;
use hybrid_cache_driver::Ticket;

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Kept; nobody has asked to run it.
    Saved,
    /// Waiting for its turn.
    Queued,
    /// About to be given to the driver under this ticket, or given already: stored before the driver hears of it.
    Starting {
        /// What it is known by, whether or not the driver has heard of it.
        ticket: Ticket,
    },
    /// The driver has it.
    Running {
        /// What the driver knows it by.
        ticket: Ticket,
    },
    /// It came to its end, with an outcome.
    Ended,
    /// Somebody cancelled it, before it ran or while it did.
    Cancelled,
    /// A newer version of the service keeps it in a state that this one does not know. It is left alone.
    Unknown,
}

/// What happens to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asked to run it.
    Run,
    /// It is its turn.
    Claim {
        /// The ticket it will be submitted under.
        ticket: Ticket,
    },
    /// The driver certainly did not start it: it goes back to its place in the queue.
    Postpone,
    /// The driver has accepted it.
    Start {
        /// What the driver knows it by.
        ticket: Ticket,
    },
    /// It has an outcome.
    End,
    /// It was cancelled, and will not run on.
    Cancel,
}

/// A step that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {} cannot {event:?}", .state.stored())]
pub struct InvalidTransition {
    /// Where the task stands.
    pub state: State,
    /// What was to happen.
    pub event: Event,
}

impl State {
    /// The state after an event.
    ///
    /// # Errors
    /// There is no such step from here.
    pub fn next(self, event: Event) -> Result<State, InvalidTransition> {
        match (self, event) {
            (State::Saved, Event::Run) | (State::Starting { .. }, Event::Postpone) => Ok(State::Queued),
            (State::Queued, Event::Claim { ticket }) => Ok(State::Starting { ticket }),
            (State::Starting { .. }, Event::Start { ticket }) => Ok(State::Running { ticket }),
            (State::Starting { .. } | State::Running { .. }, Event::End) => Ok(State::Ended),
            (State::Saved | State::Queued | State::Starting { .. } | State::Running { .. }, Event::Cancel) => {
                Ok(State::Cancelled)
            }
            (state, event) => Err(InvalidTransition { state, event }),
        }
    }

    /// The word the database keeps.
    pub fn stored(&self) -> &'static str {
        match self {
            State::Saved => "saved",
            State::Queued => "queued",
            State::Starting { .. } => "starting",
            State::Running { .. } => "running",
            State::Ended => "ended",
            State::Cancelled => "cancelled",
            State::Unknown => "unknown",
        }
    }

    /// Reads what the database keeps.
    pub fn read(stored: &str, ticket: Option<Ticket>) -> State {
        match (stored, ticket) {
            ("saved", None) => State::Saved,
            ("queued", None) => State::Queued,
            ("starting", Some(ticket)) => State::Starting { ticket },
            ("running", Some(ticket)) => State::Running { ticket },
            ("ended", _) => State::Ended,
            ("cancelled", _) => State::Cancelled,
            _ => State::Unknown,
        }
    }

    /// The ticket, while it matters.
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            State::Starting { ticket } | State::Running { ticket } => Some(ticket),
            _ => None,
        }
    }

    /// What clients are told.
    pub fn name(&self) -> StateName {
        match self {
            State::Saved => StateName::Saved,
            State::Queued | State::Starting { .. } => StateName::Queued,
            State::Running { .. } => StateName::Running,
            State::Ended => StateName::Ended,
            State::Cancelled => StateName::Cancelled,
            State::Unknown => StateName::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            driver: "scripted".into(),
            id: "task-a".into(),
        }
    }

    pub fn events() -> Vec<Event> {
        vec![
            Event::Run,
            Event::Claim { ticket: ticket() },
            Event::Postpone,
            Event::Start { ticket: ticket() },
            Event::End,
            Event::Cancel,
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_final_state_stays_and_nothing_runs_twice(
            story in proptest::collection::vec(proptest::sample::select(events()), 0..40),
        ) {
            let mut state = State::Saved;
            let mut ran = 0;
            for event in story {
                let before = state.clone();
                state = match state.next(event.clone()) {
                    Ok(next) => next,
                    Err(illegal) => illegal.state,
                };
                if before.name().is_final() {
                    prop_assert_eq!(&before, &state);
                }
                ran += usize::from(before != state && matches!(state, State::Running { .. }));
                // Every state survives being stored and read.
                prop_assert_eq!(State::read(state.stored(), state.ticket().cloned()), state.clone());
            }
            prop_assert!(ran <= 1);
        }
    }

    #[test]
    fn the_steps_are_these_and_no_others() {
        let states = [
            State::Saved,
            State::Queued,
            State::Starting { ticket: ticket() },
            State::Running { ticket: ticket() },
            State::Ended,
            State::Cancelled,
        ];
        let steps = states.iter().flat_map(|state| {
            events().into_iter().filter_map(|event| {
                let next = state.clone().next(event).ok()?;
                Some((state.stored(), next.stored()))
            })
        });
        let expected = [
            ("saved", "queued"),
            ("saved", "cancelled"),
            ("queued", "starting"),
            ("queued", "cancelled"),
            ("starting", "queued"),
            ("starting", "running"),
            ("starting", "ended"),
            ("starting", "cancelled"),
            ("running", "ended"),
            ("running", "cancelled"),
        ];
        assert_eq!(steps.collect::<Vec<_>>(), expected);
    }
}
