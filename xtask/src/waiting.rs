//! What a person sees while a task is prepared: a spinner on a terminal, one line for each phase elsewhere.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::Duration;

use hybrid_cache_driver::{Driver, Ticket};
use hybrid_cache_model::Phase;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// How often to look whether a task still has no place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says why a task has no place to run yet, once for each reason.
pub async fn show_waits(driver: &dyn Driver, ticket: &Ticket) -> Infallible {
    let mut shown = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let waits = driver.waits(ticket);
        if let Some(why) = waits.as_ref().filter(|_| waits != shown) {
            eprintln!("waiting: {why}");
        }
        shown = waits.or(shown);
    }
}

/// Follows the phases until the task is dropped or nothing more can come.
pub async fn show_phases(mut preparing: watch::Receiver<Option<Phase>>) {
    let spinner = std::io::stderr().is_terminal().then(|| {
        let spinner = ProgressBar::no_length();
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner
    });
    while preparing.changed().await.is_ok() {
        match (*preparing.borrow_and_update(), &spinner) {
            (Some(phase), Some(spinner)) => {
                spinner.set_message(phase.label());
                spinner.enable_steady_tick(Duration::from_millis(120));
            }
            (Some(phase), None) => eprintln!("{}", phase.label()),
            // The program starts now, and the terminal is its own.
            (None, Some(spinner)) => {
                spinner.disable_steady_tick();
                spinner.finish_and_clear();
            }
            (None, None) => {}
        }
    }
}
