//! How provisioning talks while it works: bars on a terminal, plain lines elsewhere, nothing in tests.
use std::io::IsTerminal as _;
use std::sync::Mutex;

use hybrid_cache_model::shown;
use indicatif::{ProgressBar, ProgressStyle};

/// A listener for what provisioning does. Every method may be called from several threads.
pub trait Progress: Send + Sync {
    /// Something begins, for a person to read: `unpacking uv 0.13.9`.
    fn step(&self, text: &str);
    /// A download of `total_bytes` (0 where unknown) begins, goes on or ends (`done_bytes == total_bytes`).
    fn bytes(&self, what: &str, done_bytes: u64, total_bytes: u64);
}

/// Says nothing: for tests and `--json`.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
    fn bytes(&self, _what: &str, _done_bytes: u64, _total_bytes: u64) {}
}

/// Lines on stderr, one for each step: what CI shows.
#[derive(Debug, Default)]
pub struct Lines;

impl Progress for Lines {
    fn step(&self, text: &str) {
        eprintln!("  {text}");
    }
    fn bytes(&self, _what: &str, _done_bytes: u64, _total_bytes: u64) {}
}

/// One bar that shows the download at work, steps printed above it.
pub struct Bars {
    bar: Mutex<ProgressBar>,
}

impl Bars {
    /// A bar on stderr, hidden until the first download.
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("  {bar:24} {bytes:>10}/{total_bytes:10} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar: Mutex::new(bar) }
    }
}

impl Progress for Bars {
    fn step(&self, text: &str) {
        if let Ok(bar) = self.bar.lock() {
            bar.suspend(|| eprintln!("  {text}"));
        }
    }

    fn bytes(&self, what: &str, done_bytes: u64, total_bytes: u64) {
        let Ok(bar) = self.bar.lock() else { return };
        bar.set_length(total_bytes);
        bar.set_position(done_bytes);
        bar.set_message(shown(what).into_owned());
        if done_bytes >= total_bytes {
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

/// Bars where stderr is a terminal and CI is not set, lines elsewhere.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() && std::env::var_os("CI").is_none() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines)
    }
}
