//! How many tasks are in which state, counted along with what is committed.

use crate::state::{State, StateName};

/// The words of the database, in the order of [`Tally`]'s counts.
pub const STORED: [&str; 6] = ["saved", "queued", "starting", "running", "ended", "cancelled"];

/// Tasks by state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; 6],
    /// Raised by each commit that changed a task.
    pub version: u64,
    /// Changes that leave the counts as they are.
    touched: u64,
}

impl Tally {
    fn place(stored: &str) -> Option<usize> {
        STORED.iter().position(|known| *known == stored)
    }

    /// Adds tasks, as they are found when the database is opened.
    pub fn add(&mut self, stored: &str, count: u64) {
        if let Some(place) = Tally::place(stored) {
            self.counts[place] += count;
        }
    }

    /// Notes a task's step.
    pub fn step(&mut self, before: Option<&State>, after: Option<&State>) {
        if let Some(place) = before.and_then(|state| Tally::place(state.stored())) {
            self.counts[place] = self.counts[place].saturating_sub(1);
        }
        if let Some(after) = after {
            self.add(after.stored(), 1);
        }
        self.touched += 1;
    }

    /// Notes that a task changed in something else than its state.
    pub fn touch(&mut self) {
        self.touched += 1;
    }

    /// Notes that a final task was deleted.
    pub fn remove(&mut self, stored: &str) {
        if let Some(place) = Tally::place(stored) {
            self.counts[place] = self.counts[place].saturating_sub(1);
        }
        self.touched += 1;
    }

    /// Tasks waiting for their turn.
    pub fn waiting(&self) -> u64 {
        self.counts[1]
    }

    /// Tasks that the driver has or is about to get.
    pub fn under_way(&self) -> u64 {
        self.counts[2] + self.counts[3]
    }

    /// Tasks that have not ended.
    pub fn open(&self) -> u64 {
        self.counts[..4].iter().sum()
    }

    /// Tasks that have ended or were cancelled.
    pub fn last(&self) -> u64 {
        self.counts[4] + self.counts[5]
    }

    /// By the states that clients see.
    pub fn by_name(&self) -> [(StateName, u64); 5] {
        let [saved, queued, starting, running, ended, cancelled] = self.counts;
        [
            (StateName::Saved, saved),
            (StateName::Queued, queued + starting),
            (StateName::Running, running),
            (StateName::Ended, ended),
            (StateName::Cancelled, cancelled),
        ]
    }
}
