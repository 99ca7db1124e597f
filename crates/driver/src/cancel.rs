//! Cancellation of a task, as both drivers wait for it.

use tokio::sync::watch;

/// Whether a task is cancelled.
pub type CancelFlag = watch::Receiver<bool>;

/// Resolves when the task is cancelled. Never resolves if the sender is gone, because no one can cancel the task then.
pub async fn cancelled(flag: &mut CancelFlag) {
    if flag.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}
