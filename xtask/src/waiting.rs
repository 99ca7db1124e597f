//! Shows the preparation of a task: its phases, and why it waits.

use std::convert::Infallible;
use std::time::Duration;

use hybrid_cache_driver::{Driver, Ticket};
use hybrid_cache_model::Phase;
use hybrid_cache_tools::Progress;
use tokio::sync::watch;

use crate::progress::Reporter;

/// Time between two checks whether a task still waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reports why a task cannot start yet, once for each reason.
pub async fn show_waits(driver: &dyn Driver, ticket: &Ticket, reporter: &Reporter) -> Infallible {
    let mut shown = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let waits = driver.waits(ticket);
        if let Some(why) = waits.as_ref().filter(|_| waits != shown) {
            reporter.line(&format!("waiting: {why}"));
        }
        shown = waits.or(shown);
    }
}

/// Follows the phases until the task is dropped or no further phase can come.
pub async fn show_phases(mut preparing: watch::Receiver<Option<Phase>>, reporter: &Reporter) {
    while preparing.changed().await.is_ok() {
        match *preparing.borrow_and_update() {
            Some(phase) => reporter.step(phase.label()),
            // The program starts now; leave the terminal to it.
            None => reporter.finish(),
        }
    }
}
