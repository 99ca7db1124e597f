//! How far a bench run is and how long it will still take: a bar on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hybrid_cache_model::shown;
use indicatif::{ProgressBar, ProgressStyle};

use super::plan::{Measure, Step};
use hybrid_cache_model::Temperature;

/// Seconds assumed for a first run before one has been seen.
const ASSUMED_FIRST: Duration = Duration::from_secs(8);
/// Likewise for anything else.
const ASSUMED_OTHER: Duration = Duration::from_millis(300);
/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub struct Progress {
    remaining: Vec<Step>,
    seen: HashMap<Step, Duration>,
    bar: Option<ProgressBar>,
    total: usize,
    last_line: Instant,
}

impl Progress {
    /// For these steps, in this order.
    pub fn new(steps: Vec<Step>) -> Progress {
        let total = steps.len();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            let style = "{spinner} {bar:30} {pos}/{len}  {elapsed} elapsed, {prefix} left  {wide_msg}";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let mut remaining = steps;
        remaining.reverse();
        Progress {
            remaining,
            seen: HashMap::new(),
            bar,
            total,
            last_line: Instant::now(),
        }
    }

    /// A step begins.
    pub fn begin(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format_left(self.estimate()));
            bar.set_message(shown(what).into_owned());
        }
    }

    /// The step that began last has ended.
    pub fn end(&mut self, took: Duration, what: &str) {
        if let Some(step) = self.remaining.pop() {
            self.seen.insert(step, took);
        }
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.last_line.elapsed() >= LINE_EVERY || took > Duration::from_secs(2) => {
                self.last_line = Instant::now();
                let done = self.total - self.remaining.len();
                eprintln!(
                    "[{done}/{}] {what}: {took:.2?}; {} left",
                    self.total,
                    format_left(self.estimate())
                );
            }
            None => {}
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn estimate(&self) -> Duration {
        self.remaining
            .iter()
            .map(|step| self.seen.get(step).copied().unwrap_or_else(|| assumed(*step)))
            .sum()
    }
}

fn assumed(step: Step) -> Duration {
    match step.measure {
        Measure::Run(Temperature::First | Temperature::Uncached) => ASSUMED_FIRST,
        Measure::Run(Temperature::Cached) | Measure::Peer(_) => ASSUMED_OTHER,
    }
}

fn format_left(left: Duration) -> String {
    match left.as_secs() {
        seconds if seconds < 90 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
