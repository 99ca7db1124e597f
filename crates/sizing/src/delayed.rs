//! Computes delayed evictions: an environment that a running task uses stays until the task's end.
//!
//! The recency list knows when uses end. In this module each use also has a beginning: the time at which the user's program began.
//! A request counts at a size if its environment was there at its beginning, and the requests that ended while its program ran
//! would have pushed the environment out. The volume then evicts the next environment instead, or exceeds its budget until the
//! task ends.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::Weight;
use crate::stack::Stack;
use crate::trace::{Event, Source, TraceError, Volume};

/// Longest time between the beginning and the end of a use: an earlier beginning counts from there on.
const LONGEST_US: u64 = 3_600_000_000;
/// Maximum number of beginnings and ends that are sorted at one time. With more, the earliest are processed before all have been
/// seen.
const MOST: usize = 1 << 17;

/// Evictions that a running task delays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delayed {
    /// Number of delayed evictions at each budget.
    pub evictions: Vec<u64>,
    /// Requests for which the trace has the program's duration; for the others the duration counts as 0.
    pub known: u64,
}

/// Counts delayed evictions for several budgets of one volume, smallest first.
///
/// # Errors
/// The trace cannot be read.
pub fn delayed(source: &dyn Source, volume: Volume, budgets: &[Weight]) -> Result<Delayed, TraceError> {
    let mut pass = DelayPass {
        stack: Stack::new(source.catalog().volume(volume)),
        budgets,
        marks: BinaryHeap::new(),
        begun_from: HashMap::new(),
        from: vec![0; budgets.len() + 1],
        to: vec![0; budgets.len() + 1],
    };
    let (mut number, mut known) = (0, 0);
    source.replay(&mut |event| match event {
        Event::Resident(at, environment) if *at == volume => drop(pass.stack.touch(*environment)),
        Event::Resident(..) => {}
        Event::Request(request) => {
            let Some(asked) = request.on(volume) else { return };
            number += 1;
            if request.held_us > 0 {
                known += 1;
                let begun_us = request.at_us.saturating_sub(request.held_us.min(LONGEST_US));
                pass.marks
                    .push(Reverse((begun_us, number, Mark::Begin, asked.environment)));
            }
            pass.marks
                .push(Reverse((request.at_us, number, Mark::End, asked.environment)));
            pass.take_until(request.at_us.saturating_sub(LONGEST_US));
        }
    })?;
    pass.take_until(u64::MAX);
    let mut now = 0;
    let evictions = pass.from.iter().zip(&pass.to).take(budgets.len()).map(|(from, to)| {
        now = now + from - to;
        now
    });
    Ok(Delayed {
        evictions: evictions.collect(),
        known,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Begin,
    End,
}

struct DelayPass<'a> {
    stack: Stack,
    budgets: &'a [Weight],
    /// Time, number of the request, kind of mark, environment.
    marks: BinaryHeap<Reverse<(u64, u64, Mark, u32)>>,
    /// The first budget at which the environment was resident when a request's program began.
    begun_from: HashMap<u64, usize>,
    /// For each budget, the number of requests that start to count there, and the number that stop counting from there on.
    from: Vec<u64>,
    to: Vec<u64>,
}

impl DelayPass<'_> {
    fn take_until(&mut self, until_us: u64) {
        while let Some(Reverse((at_us, ..))) = self.marks.peek()
            && (*at_us <= until_us || self.marks.len() > MOST)
            && let Some(Reverse((_, number, mark, environment))) = self.marks.pop()
        {
            match mark {
                Mark::Begin => {
                    let from = self.first(self.stack.distance(environment));
                    self.begun_from.insert(number, from);
                }
                Mark::End => {
                    let distance = self.stack.touch(environment);
                    let there_from = self.first(distance);
                    if let Some(from) = self.begun_from.remove(&number)
                        && from < there_from
                    {
                        self.from[from] += 1;
                        self.to[there_from] += 1;
                    }
                }
            }
        }
    }

    /// The first budget at which an environment of this distance is resident; the number of budgets if at none.
    fn first(&self, distance: Option<Weight>) -> usize {
        distance.map_or(self.budgets.len(), |distance| {
            self.budgets.partition_point(|budget| !distance.fits(*budget))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Environment, Recorded, Request, Use};

    /// A trace with environments of one byte each; `(environment, end, seconds of its program)`.
    fn trace(requests: &[(u32, u64, u64)]) -> Recorded {
        let mut recorded = Recorded::default();
        let catalog = recorded.catalog.volume_mut(Volume::Python);
        for number in 0..4 {
            catalog.environment(Environment {
                key: format!("{number}"),
                own: Weight::new(1, 1),
                ..Environment::default()
            });
        }
        let event = |(environment, end_s, held_s): &(u32, u64, u64)| {
            let on = Use {
                environment: *environment,
                ..Use::default()
            };
            Event::Request(Request {
                at_us: end_s * 1_000_000,
                uses: [Some(on), None],
                wait_us: None,
                held_us: held_s * 1_000_000,
            })
        };
        recorded.events = requests.iter().map(event).collect();
        recorded
    }

    fn counted(requests: &[(u32, u64, u64)]) -> Delayed {
        let budgets: Vec<Weight> = (1..=4).map(|size| Weight::new(size, size)).collect();
        delayed(&trace(requests), Volume::Python, &budgets).unwrap()
    }

    #[test]
    fn an_eviction_while_a_task_uses_the_environment_is_counted_at_the_sizes_where_it_falls() {
        // 0 is used until 100 s, and 1 and 2 end meanwhile: 1 would evict it at a budget of one, 2 at a budget of two.
        let found = counted(&[(0, 1, 0), (1, 50, 0), (2, 60, 0), (0, 100, 90)]);
        assert_eq!(found.evictions, [1, 1, 0, 0]);
        assert_eq!(found.known, 1);
        // An environment that was missing when the task began is built for it, and one that was not evicted stays.
        assert_eq!(
            counted(&[(0, 1, 0), (1, 5, 0), (2, 60, 0), (0, 100, 90)]).evictions,
            [0, 1, 0, 0]
        );
        assert_eq!(counted(&[(0, 1, 0), (1, 5, 0), (0, 100, 90)]).evictions, [0; 4]);
    }

    #[test]
    fn without_program_durations_delayed_evictions_are_unknown() {
        let found = counted(&[(0, 1, 0), (1, 50, 0), (2, 60, 0), (0, 100, 0)]);
        assert_eq!((found.evictions, found.known), (vec![0; 4], 0));
    }

    #[test]
    fn a_task_that_began_before_ones_that_ended_earlier_is_put_in_order() {
        // The lines are ordered by end; 3 began before all others.
        let all = [(3, 1, 0), (0, 10, 0), (1, 20, 0), (2, 30, 0), (3, 4000, 3999)];
        // The use counts from an hour before its end; by then the others have ended.
        assert_eq!(counted(&all).evictions, [0; 4]);
        let all = [(3, 1, 0), (0, 10, 0), (1, 20, 0), (2, 30, 0), (3, 3000, 2999)];
        assert_eq!(counted(&all).evictions, [1, 1, 1, 0]);
    }
}
