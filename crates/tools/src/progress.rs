//! Progress of long work. The implementation decides how it looks: a spinner on a terminal, lines in a log.

use std::sync::Mutex;
use std::time::Instant;

/// Receives the progress of long work. Every method may be called from several threads.
pub trait Progress: Send + Sync {
    /// A step begins, for a person to read: `unpacking uv 0.13.9`.
    fn step(&self, text: &str);
    /// What the step that began last is doing now. The next detail replaces it.
    fn detail(&self, text: &str);
    /// A line that stays: the result of a step, a note.
    fn line(&self, text: &str);
    /// A download or a copy begins, goes on or ends (`done_bytes == total_bytes`); `total_bytes` is 0 if it is not known.
    fn bytes(&self, what: &str, done_bytes: u64, total_bytes: u64) {
        let percent = (done_bytes * 100).checked_div(total_bytes).unwrap_or(0);
        self.detail(&format!("{what}: {percent} %"));
    }
    /// Of `total` parts `done` are done; `text` says which is next or how long the rest will take.
    fn count(&self, done: usize, total: usize, text: &str) {
        self.detail(&format!("[{done}/{total}] {text}"));
    }
}

/// Shows nothing: for tests and `--json`.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
    fn detail(&self, _text: &str) {}
    fn line(&self, _text: &str) {}
}

/// Named steps with the time that each took, shown by a [`Progress`].
pub struct Steps<'a> {
    progress: &'a dyn Progress,
    current: Mutex<(String, Instant)>,
}

impl<'a> Steps<'a> {
    /// No step has begun yet.
    pub fn new(progress: &'a dyn Progress) -> Steps<'a> {
        let current = Mutex::new((String::new(), Instant::now()));
        Steps { progress, current }
    }

    /// What shows the steps.
    pub fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Work on a step begins.
    pub fn begin(&self, step: &str, what: &str) {
        self.set(step);
        self.progress.step(&format!("{step}: {what}"));
    }

    /// What the step is doing now.
    pub fn detail(&self, text: &str) {
        self.progress.detail(text);
    }

    /// The step that began last is done.
    pub fn end(&self, result: &str) {
        let (step, began) = self.set("");
        let seconds = began.elapsed().as_secs_f64();
        self.progress.line(&format!("{step}: {result} ({seconds:.1} s)"));
    }

    /// A step had nothing to do.
    pub fn skip(&self, step: &str, why: &str) {
        self.progress.line(&format!("{step}: {why}"));
    }

    fn set(&self, step: &str) -> (String, Instant) {
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::replace(&mut *current, (step.to_owned(), Instant::now()))
    }
}
