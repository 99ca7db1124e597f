//! Shows the progress of long work on standard error: a spinner or a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::shown;
use hybrid_cache_tools::{Progress, environment};
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines about the details of a step.
const DETAIL_EVERY: Duration = Duration::from_secs(15);
/// Time between two lines about the progress of the work.
const COUNT_EVERY: Duration = Duration::from_secs(10);

const SPINNER: &str = "{spinner} {elapsed} {wide_msg}";
const COUNT: &str = "{spinner} {bar:30} {pos}/{len} {elapsed} {wide_msg}";
const BYTES: &str = "{spinner} {bar:24} {bytes:>10}/{total_bytes:10} {wide_msg}";

/// Shows progress on standard error: animated on a terminal if `CI` is not set, as lines elsewhere.
pub struct Reporter {
    view: View,
}

enum View {
    Terminal(Mutex<OnTerminal>),
    Lines(Mutex<Lines>),
}

impl Reporter {
    /// Shows nothing yet.
    pub fn new() -> Reporter {
        let is_animated = std::io::stderr().is_terminal() && environment::raw("CI").is_none();
        let view = match is_animated {
            true => View::Terminal(Mutex::default()),
            false => View::Lines(Mutex::new(Lines::new(Instant::now()))),
        };
        Reporter { view }
    }

    /// Removes the spinner or the bar; a later step shows another one.
    pub fn finish(&self) {
        if let View::Terminal(terminal) = &self.view {
            lock(terminal).finish();
        }
    }

    fn show(&self, animate: impl FnOnce(&mut OnTerminal), line: impl FnOnce(&mut Lines, Instant) -> Option<String>) {
        match &self.view {
            View::Terminal(terminal) => animate(&mut lock(terminal)),
            View::Lines(lines) => {
                if let Some(line) = line(&mut lock(lines), Instant::now()) {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Progress for Reporter {
    fn step(&self, text: &str) {
        self.show(|terminal| terminal.step(text), |lines, now| Some(lines.step(text, now)));
    }

    fn detail(&self, text: &str) {
        self.show(|terminal| terminal.detail(text), |lines, now| lines.detail(text, now));
    }

    fn line(&self, text: &str) {
        self.show(|terminal| terminal.line(text), |_, _| Some(text.to_owned()));
    }

    fn bytes(&self, what: &str, done_bytes: u64, total_bytes: u64) {
        let animate = |terminal: &mut OnTerminal| match done_bytes < total_bytes {
            true => terminal.bar(BYTES, done_bytes, total_bytes, what),
            false => terminal.detail(what),
        };
        let percent = (done_bytes * 100).checked_div(total_bytes).unwrap_or(0);
        self.show(animate, |lines, now| lines.detail(&format!("{what}: {percent} %"), now));
    }

    fn count(&self, done: usize, total: usize, text: &str) {
        self.show(
            |terminal| terminal.bar(COUNT, done as u64, total as u64, text),
            |lines, now| lines.count(done, total, text, now),
        );
    }
}

/// Locks the mutex even after a panic: the displayed state is always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most one bar, in the shape that fits the current step.
#[derive(Default)]
struct OnTerminal {
    bar: Option<ProgressBar>,
    shape: &'static str,
    step: String,
}

impl OnTerminal {
    fn shaped(&mut self, shape: &'static str) -> &ProgressBar {
        let is_new = self.bar.is_none();
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        if is_new || self.shape != shape {
            self.shape = shape;
            bar.set_style(ProgressStyle::with_template(shape).unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    fn step(&mut self, text: &str) {
        text.clone_into(&mut self.step);
        let bar = self.shaped(SPINNER);
        bar.reset_elapsed();
        bar.set_message(shown(text).into_owned());
    }

    fn detail(&mut self, text: &str) {
        let message = match self.step.is_empty() {
            true => text.to_owned(),
            false => format!("{}: {text}", self.step),
        };
        self.shaped(SPINNER).set_message(shown(&message).into_owned());
    }

    fn bar(&mut self, shape: &'static str, done: u64, total: u64, text: &str) {
        let bar = self.shaped(shape);
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(shown(text).into_owned());
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.step.clear();
    }
}

/// Output for a log: every step, and its progress at intervals.
struct Lines {
    /// When a step or a detail was printed last.
    last_line: Instant,
    counted: Option<Instant>,
}

impl Lines {
    fn new(now: Instant) -> Lines {
        let (last_line, counted) = (now, None);
        Lines { last_line, counted }
    }

    fn step(&mut self, text: &str, now: Instant) -> String {
        self.last_line = now;
        text.to_owned()
    }

    fn detail(&mut self, text: &str, now: Instant) -> Option<String> {
        if now.duration_since(self.last_line) < DETAIL_EVERY {
            return None;
        }
        self.last_line = now;
        Some(text.to_owned())
    }

    fn count(&mut self, done: usize, total: usize, text: &str, now: Instant) -> Option<String> {
        if self.counted.is_some_and(|at| now.duration_since(at) < COUNT_EVERY) {
            return None;
        }
        self.counted = Some(now);
        Some(format!("[{done}/{total}] {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_every_step_and_only_now_and_then_how_it_goes_on() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut lines = Lines::new(began);
        assert_eq!(lines.detail("5 %", at(1)), None);
        assert_eq!(lines.step("unpacking uv", at(14)), "unpacking uv");
        assert_eq!(lines.step("unpacking nix", at(14)), "unpacking nix");
        let details = [20, 29, 43, 44].map(|seconds| lines.detail(&format!("{seconds} %"), at(seconds)));
        assert_eq!(details, [None, Some("29 %".to_owned()), None, Some("44 %".to_owned())]);
        let counts = [50, 59, 60, 69].map(|seconds| lines.count(1, 9, "first; 8 s left", at(seconds)).is_some());
        assert_eq!(counts, [true, false, true, false]);
        assert_eq!(
            lines.count(2, 9, "cached; 1 s left", at(70)).unwrap(),
            "[2/9] cached; 1 s left"
        );
    }
}
