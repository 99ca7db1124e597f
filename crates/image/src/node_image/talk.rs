//! How the build talks: a spinner with the time on a terminal, and a line for each part that was made.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// One part that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// What it is.
    pub part: String,
    /// How long it took.
    pub seconds: f64,
}

/// Talks on standard error and remembers what took how long.
#[derive(Debug, Default)]
pub struct Talk {
    made: RefCell<Vec<Made>>,
}

impl Talk {
    /// Says a sentence.
    pub fn say(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// Shows that a part is being made while `make` runs, and how long that took.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn making<T>(&self, part: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}");
            let spinner = ProgressBar::no_length().with_message(part.to_owned());
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            self.say(&format!("{part} ..."));
        }
        let made = make();
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        let made = made?;
        let seconds = started.elapsed().as_secs_f64();
        self.say(&format!("{part}: {seconds:.1} s"));
        self.made.borrow_mut().push(Made {
            part: part.to_owned(),
            seconds,
        });
        Ok(made)
    }

    /// What was made so far.
    pub fn made(&self) -> Vec<Made> {
        self.made.borrow().clone()
    }
}
