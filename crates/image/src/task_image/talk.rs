//! What a person sees of a build: a spinner with the time on a terminal, a line for each step elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hybrid_cache_model::shown;
use indicatif::{ProgressBar, ProgressStyle};

use crate::tools::Progress;

/// Says on standard error what goes on.
pub struct Talk {
    spinner: Option<ProgressBar>,
    started: Instant,
}

impl Talk {
    /// A spinner where standard error is a terminal and CI is not set.
    pub fn new() -> Talk {
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let spinner = is_terminal.then(|| {
            let spinner = ProgressBar::no_length();
            let style = ProgressStyle::with_template("  {spinner} {prefix} {elapsed} {wide_msg:.dim}");
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner
        });
        let started = Instant::now();
        Talk { spinner, started }
    }

    /// A step begins.
    pub fn step(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => {
                spinner.set_prefix(text.to_owned());
                spinner.set_message("");
                spinner.enable_steady_tick(Duration::from_millis(120));
            }
            None => eprintln!("{:>4} s  {text}", self.started.elapsed().as_secs()),
        }
    }

    /// Something within a step, shown where it can be shown in passing.
    pub fn detail(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(shown(text).into_owned());
        }
    }

    /// Something that stays on the screen.
    pub fn note(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| eprintln!("  {text}")),
            None => eprintln!("  {text}"),
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

impl Progress for Talk {
    fn step(&self, text: &str) {
        Talk::step(self, text);
    }

    fn bytes(&self, what: &str, done_bytes: u64, total_bytes: u64) {
        let percent = (done_bytes * 100).checked_div(total_bytes).unwrap_or(0);
        self.detail(&format!("{what}: {percent} %"));
    }
}
