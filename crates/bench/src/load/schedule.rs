//! The schedule: arrivals at fixed intervals, whether or not the service keeps up, and repeated requests for refused arrivals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use hybrid_cache_api::TaskId;

/// Most refused or unanswered arrivals that wait to be sent again; one more is given up at once.
pub const MOST_RETRIES: usize = 10_000;

/// An arrival on its way to the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Number of the arrival, from 0.
    pub index: u64,
    /// When the arrival was due.
    pub scheduled: Instant,
    /// The task's id, once it was saved.
    pub id: Option<TaskId>,
    /// How often it was refused for the time being.
    pub refusals: u32,
    /// True after a request was sent for the arrival.
    pub sent: bool,
}

/// The arrivals and when they are due.
pub struct Schedule {
    began: Instant,
    per_s: f64,
    total: u64,
    next: u64,
    again: BinaryHeap<Reverse<(Instant, Arrival)>>,
    /// Arrivals that a worker holds: taken, not done, and not waiting to be sent again.
    in_hand: usize,
    stopped: bool,
}

/// The answer to a worker that asks what is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This arrival is due, and now belongs to the worker.
    Due(Arrival),
    /// Nothing is due before this time.
    Wait(Instant),
    /// Nothing is due until another worker returns an arrival.
    Idle,
    /// Nothing will be due any more.
    Over,
}

impl Schedule {
    /// Schedules arrivals from now on, at this rate and for this time.
    pub fn new(began: Instant, per_s: f64, lasts: Duration) -> Schedule {
        // A schedule has at least one arrival, so that every run sends some load.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rates and times are bounded by the flags"
        )]
        #[expect(clippy::cast_sign_loss, reason = "neither is negative")]
        let total = ((per_s * lasts.as_secs_f64()).round() as u64).max(1);
        Schedule {
            began,
            per_s,
            total,
            next: 0,
            again: BinaryHeap::new(),
            in_hand: 0,
            stopped: false,
        }
    }

    /// Number of planned arrivals.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Computes each time from the first arrival: a sum of rounded intervals would drift.
    fn due(&self, index: u64) -> Instant {
        self.began + Duration::from_secs_f64(index as f64 / self.per_s)
    }

    /// Returns what is due.
    pub fn look(&mut self, now: Instant) -> Next {
        if self.stopped {
            return Next::Over;
        }
        let arrival = (self.next < self.total).then(|| self.due(self.next));
        let again = self.again.peek().map(|Reverse((due, _))| *due);
        let (due, is_again) = match (arrival, again) {
            (Some(arrival), Some(again)) => (arrival.min(again), again < arrival),
            (Some(arrival), None) => (arrival, false),
            (None, Some(again)) => (again, true),
            (None, None) if self.in_hand > 0 => return Next::Idle,
            (None, None) => return Next::Over,
        };
        if due > now {
            return Next::Wait(due);
        }
        self.in_hand += 1;
        if is_again && let Some(Reverse((_, arrival))) = self.again.pop() {
            return Next::Due(arrival);
        }
        let index = self.next;
        self.next += 1;
        Next::Due(Arrival {
            index,
            scheduled: due,
            id: None,
            refusals: 0,
            sent: false,
        })
    }

    /// Schedules an arrival to be sent again at this time; returns it as an error if too many are waiting.
    pub fn again(&mut self, arrival: Arrival, due: Instant) -> Result<(), Arrival> {
        if self.again.len() >= MOST_RETRIES || self.stopped {
            return Err(arrival);
        }
        self.in_hand -= 1;
        self.again.push(Reverse((due, arrival)));
        Ok(())
    }

    /// Records that an arrival is settled, with any result.
    pub fn done(&mut self) {
        self.in_hand -= 1;
    }

    /// Stops the schedule. Returns the arrivals that waited to be sent again.
    pub fn stop(&mut self) -> Vec<Arrival> {
        self.stopped = true;
        self.again.drain().map(|Reverse((_, arrival))| arrival).collect()
    }

    /// Number of arrivals that were due until now.
    pub fn arrived(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &mut Schedule, now: Instant) -> Arrival {
        match schedule.look(now) {
            Next::Due(arrival) => arrival,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arrivals_are_due_at_fixed_intervals_however_late_they_are_taken() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 4.0, Duration::from_secs(2));
        assert_eq!(schedule.total(), 8);
        assert_eq!(due(&mut schedule, began).scheduled, began);
        assert_eq!(schedule.look(began), Next::Wait(began + Duration::from_millis(250)));
        // Nothing was taken for ten seconds: each arrival's delay counts from its own scheduled time.
        let late = began + Duration::from_secs(10);
        let scheduled: Vec<_> = (1..8).map(|_| due(&mut schedule, late).scheduled - began).collect();
        let expected: Vec<_> = (1..8).map(|index| Duration::from_millis(250 * index)).collect();
        assert_eq!(scheduled, expected);
        assert_eq!((schedule.look(late), schedule.arrived()), (Next::Idle, 8));
        (0..8).for_each(|_| schedule.done());
        assert_eq!(schedule.look(late), Next::Over);
    }

    #[test]
    fn a_long_run_does_not_drift() {
        let began = Instant::now();
        let schedule = Schedule::new(began, 3.0, Duration::from_secs(86_400));
        let last = schedule.due(259_199) - began;
        assert!((last.as_secs_f64() - 259_199.0 / 3.0).abs() < 1e-6, "{last:?}");
    }

    #[test]
    fn what_was_refused_is_due_again_when_the_service_said_and_keeps_its_scheduled_time() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 1.0, Duration::from_secs(2));
        let mut first = due(&mut schedule, began);
        first.refusals = 1;
        let later = began + Duration::from_millis(1500);
        schedule.again(first.clone(), later).unwrap();
        assert_eq!(schedule.look(began), Next::Wait(began + Duration::from_secs(1)));
        assert_eq!(due(&mut schedule, later).index, 1);
        assert_eq!(due(&mut schedule, later), first);
        assert_eq!(schedule.look(later), Next::Idle);
    }

    #[test]
    fn a_stop_ends_everything_and_gives_back_what_waited() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 1.0, Duration::from_secs(9));
        let first = due(&mut schedule, began);
        schedule.again(first.clone(), began).unwrap();
        assert_eq!(schedule.stop(), std::slice::from_ref(&first));
        assert_eq!(schedule.look(began + Duration::from_secs(5)), Next::Over);
        assert_eq!(schedule.again(first.clone(), began), Err(first));
    }

    #[test]
    fn only_so_many_wait_to_be_sent_again() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 1e6, Duration::from_secs(1));
        let late = began + Duration::from_secs(2);
        for _ in 0..MOST_RETRIES {
            let arrival = due(&mut schedule, late);
            schedule.again(arrival, late + Duration::from_secs(60)).unwrap();
        }
        let arrival = due(&mut schedule, late);
        assert_eq!(schedule.again(arrival.clone(), late), Err(arrival));
    }
}
