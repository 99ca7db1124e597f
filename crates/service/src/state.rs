//! A task's states and the transitions between them.

use hybrid_cache_api::StateName;
use hybrid_cache_driver::Ticket;

/// A task's state, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Stored; no client has run it.
    Saved,
    /// Waiting in the queue.
    Queued,
    /// About to be submitted to the driver under this ticket, or already submitted. It is stored before the driver is
    /// called.
    Starting {
        /// The driver's name for the task, whether or not the driver knows it yet.
        ticket: Ticket,
    },
    /// The driver has it.
    Running {
        /// The driver's name for the task.
        ticket: Ticket,
    },
    /// Ended, with an outcome.
    Ended,
    /// Cancelled, before it ran or while it ran.
    Cancelled,
    /// A state of a newer version that this one does not know. The task is left unchanged.
    Unknown,
}

/// What happens to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client runs it.
    Run,
    /// It leaves the queue.
    Claim {
        /// The ticket it will be submitted under.
        ticket: Ticket,
    },
    /// The driver certainly did not start it, so it returns to its place in the queue.
    Postpone,
    /// The driver has accepted it.
    Start {
        /// What the driver knows it by.
        ticket: Ticket,
    },
    /// It ended with an outcome.
    End,
    /// It was cancelled and will not continue.
    Cancel,
}

/// A transition that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {} cannot {event:?}", .state.stored())]
pub struct InvalidTransition {
    /// The task's state.
    pub state: State,
    /// The refused event.
    pub event: Event,
}

impl State {
    /// The state after an event.
    ///
    /// # Errors
    /// The event is not allowed in this state.
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

    /// The word in the database.
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

    /// Reads the word in the database.
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

    /// The ticket, while the driver has the task or is about to get it.
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            State::Starting { ticket } | State::Running { ticket } => Some(ticket),
            _ => None,
        }
    }

    /// The state that clients see.
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
    fn only_the_listed_transitions_exist() {
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
