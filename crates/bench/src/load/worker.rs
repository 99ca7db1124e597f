//! Sends the due arrivals: each worker has its own connection and one request at a time.

use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hybrid_cache_api::{Client, ClientError};
use hybrid_cache_model::TaskSpec;

use super::board::Board;
use super::schedule::{Arrival, Next};

/// Time between two checks of a waiting worker whether an arrival is due or the schedule is over.
const SCHEDULE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// State that all workers share.
pub struct WorkerContext<'a> {
    /// The schedule and the counts.
    pub board: &'a Board,
    /// Held by the one worker that waits for the next arrival.
    pub turn: Mutex<()>,
    /// Tasks of the arrivals, used in turn.
    pub specs: &'a [TaskSpec],
    /// A name that distinguishes the tasks of this run from those of any other.
    pub run: &'a str,
}

impl WorkerContext<'_> {
    /// Sends arrivals until the schedule is over.
    pub fn send_arrivals(&self, client: &Client) {
        while let Some(arrival) = self.next() {
            self.send(client, arrival);
        }
    }

    fn next(&self) -> Option<Arrival> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            let now = Instant::now();
            // The lock is not held during the sleep, because other workers return arrivals.
            let next = self.board.schedule().look(now);
            match next {
                Next::Due(arrival) => return Some(arrival),
                Next::Wait(due) => sleep(due.saturating_duration_since(now).min(SCHEDULE_POLL_INTERVAL)),
                Next::Idle => sleep(SCHEDULE_POLL_INTERVAL),
                Next::Over => return None,
            }
        }
    }

    fn send(&self, client: &Client, mut arrival: Arrival) {
        let id = match arrival.id.clone() {
            Some(id) => id,
            None => {
                if !std::mem::replace(&mut arrival.sent, true) {
                    self.board.sending(&arrival);
                }
                let key = format!("{}-{}", self.run, arrival.index);
                let spec = &self.specs[usize::try_from(arrival.index).unwrap_or_default() % self.specs.len()];
                match client.submit(spec, Some(&key)) {
                    Ok(submitted) => {
                        let id = submitted.id;
                        self.board.saved(&arrival, &id);
                        arrival.id = Some(id.clone());
                        id
                    }
                    Err(error) => return self.after(client, arrival, &error),
                }
            }
        };
        match client.run(&id) {
            Ok(_) => self.board.queued(&arrival, &id),
            Err(error) => self.after(client, arrival, &error),
        }
    }

    fn after(&self, client: &Client, arrival: Arrival, error: &ClientError) {
        // One that cannot be deleted is saved and never run: the service forgets it by itself.
        if let Some(id) = self.board.trouble(arrival, error)
            && client.delete(&id).is_ok()
        {
            self.board.tally().deleted += 1;
        }
    }
}
