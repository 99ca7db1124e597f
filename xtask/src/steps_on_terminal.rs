//! What a person sees while a cluster is made: a spinner with the time so far on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hybrid_cache_model::shown;
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines of the same step where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Shows steps on standard error.
pub struct Talk {
    spinner: Option<ProgressBar>,
    began: Instant,
    said: Instant,
    step: String,
}

impl Talk {
    /// A spinner where standard error is a terminal and CI is not set, lines elsewhere.
    pub fn new() -> Talk {
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let spinner = live.then(|| {
            let spinner = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{spinner} {prefix}  {elapsed}  {wide_msg}");
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner
        });
        Talk {
            spinner,
            began: Instant::now(),
            said: Instant::now(),
            step: String::new(),
        }
    }

    /// Work on a step begins.
    pub fn begin(&mut self, step: &str, what: &str) {
        (self.began, self.said) = (Instant::now(), Instant::now());
        step.clone_into(&mut self.step);
        match &self.spinner {
            Some(spinner) => {
                spinner.reset_elapsed();
                spinner.set_prefix(step.to_owned());
                spinner.set_message(shown(what).into_owned());
                spinner.enable_steady_tick(Duration::from_millis(120));
            }
            None => eprintln!("{step}: {what}"),
        }
    }

    /// What the step is doing now.
    pub fn hear(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.set_message(shown(line).into_owned()),
            None if self.said.elapsed() > LINE_EVERY => {
                self.said = Instant::now();
                eprintln!("{}: {line} ({} s)", self.step, self.began.elapsed().as_secs());
            }
            None => {}
        }
    }

    /// The step that began last is done.
    pub fn end(&mut self, result: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let step = std::mem::take(&mut self.step);
        self.line(&format!("{step}: {result} ({seconds:.1} s)"));
    }

    /// A step had nothing to do.
    pub fn skip(&mut self, step: &str, why: &str) {
        self.line(&format!("{step}: {why}"));
    }

    fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => {
                spinner.disable_steady_tick();
                spinner.suspend(|| eprintln!("{text}"));
            }
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
