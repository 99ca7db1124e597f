//! Progress of a bench run, and the remaining time, estimated from the steps taken so far.

use std::collections::HashMap;
use std::time::Duration;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::level::Level;
use hybrid_cache_tools::Progress;

use crate::plan::{Measure, Step};

/// Assumed duration of a first run before one was measured.
const ASSUMED_FIRST: Duration = Duration::from_secs(8);
/// Assumed duration of any other step before one was measured.
const ASSUMED_OTHER: Duration = Duration::from_millis(300);

/// The remaining steps, with their estimated durations.
struct TimeLeft {
    /// The steps in reverse: the next one is last.
    steps: Vec<Step>,
    seen: HashMap<Step, Duration>,
}

impl TimeLeft {
    fn new(mut steps: Vec<Step>) -> TimeLeft {
        steps.reverse();
        let seen = HashMap::new();
        TimeLeft { steps, seen }
    }

    /// Records that the next step was done.
    fn note(&mut self, took: Duration) {
        if let Some(step) = self.steps.pop() {
            self.seen.insert(step, took);
        }
    }

    fn estimate(&self) -> Duration {
        let one = |step: &Step| self.seen.get(step).copied().unwrap_or_else(|| assumed(*step));
        self.steps.iter().map(one).sum()
    }
}

/// Reports the progress of a bench run.
pub struct BenchProgress<'a> {
    progress: &'a dyn Progress,
    left: TimeLeft,
    total: usize,
    /// How narrow the intervals are, and how long the run may go on; empty if counts decide.
    until: String,
}

impl<'a> BenchProgress<'a> {
    /// Takes the steps in their order.
    pub fn new(steps: Vec<Step>, progress: &'a dyn Progress) -> BenchProgress<'a> {
        BenchProgress {
            progress,
            total: steps.len(),
            left: TimeLeft::new(steps),
            until: String::new(),
        }
    }

    /// Shows from now on how narrow the intervals are, and how long the run may go on.
    pub fn until(&mut self, shown: &str, most: Duration) {
        self.until = format!("; {shown}; at most {} more", format_left(most));
    }

    /// Reports that the next step begins.
    pub fn begin(&self, what: &str) {
        self.report(what);
    }

    /// Reports that the current step is done.
    pub fn end(&mut self, took: Duration, what: &str) {
        self.left.note(took);
        self.report(&format!("{what}: {took:.2?}"));
    }

    /// Prints a line that stays.
    pub fn line(&self, line: &str) {
        self.progress.line(line);
    }

    fn report(&self, what: &str) {
        let done = self.total - self.left.steps.len();
        let left = format_left(self.left.estimate());
        // Whether a run ends at the next look is open.
        let left = match self.until.as_str() {
            "" => format!("{left} left"),
            until => format!("next look in {left}{until}"),
        };
        self.progress.count(done, self.total, &format!("{what}; {left}"));
    }
}

fn assumed(step: Step) -> Duration {
    match step.measure {
        Measure::Run(Temperature::Cached) | Measure::Peer(_) | Measure::Level(Level::Environment | Level::Warm) => {
            ASSUMED_OTHER
        }
        Measure::Run(Temperature::First | Temperature::Uncached) | Measure::Level(_) => ASSUMED_FIRST,
    }
}

fn format_left(left: Duration) -> String {
    match left.as_secs() {
        seconds if seconds < 90 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_what_was_seen_of_the_same_step() {
        let step = |temperature| Step {
            scenario: 0,
            measure: Measure::Run(temperature),
        };
        let [first, cached] = [Temperature::First, Temperature::Cached].map(step);
        let mut left = TimeLeft::new(vec![first, cached, cached, first]);
        assert_eq!(left.estimate(), 2 * ASSUMED_FIRST + 2 * ASSUMED_OTHER);
        left.note(Duration::from_secs(60));
        left.note(Duration::from_secs(1));
        assert_eq!(left.estimate(), Duration::from_secs(61));
        assert_eq!(format_left(left.estimate()), "61 s");
        assert_eq!(format_left(Duration::from_secs(91)), "2 min");
    }
}
