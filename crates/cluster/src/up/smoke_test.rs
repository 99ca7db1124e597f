//! The first task on a new cluster.

use std::time::Duration;

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, DriverError, SubmitOptions};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, FailureKind, Outcome, Phase, TaskSpec};
use hybrid_cache_tools::{Error, Result, failed};
use tokio::time::timeout;

/// Longest time for the first task, including its packages.
const TASK_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs a task that prints a line. Returns its output and its duration, as text.
///
/// # Errors
/// The task cannot run, or fails.
pub async fn run(driver: &KubeDriver) -> Result<String> {
    let spec = TaskSpec::new("print('hello from the cluster')");
    let options = SubmitOptions {
        limits: Limits {
            time_ms: 60_000,
            ..Limits::default()
        },
        ..SubmitOptions::default()
    };
    let ended = timeout(TASK_TIMEOUT, async {
        let ticket = driver.submit(&spec, &options).await?;
        let mut log = driver.logs(&ticket)?;
        let outcome = driver.settle(&ticket).await?;
        let mut printed = Vec::new();
        while let Some(chunk) = log.next().await {
            printed.extend(chunk.bytes);
        }
        Ok::<_, DriverError>((outcome, String::from_utf8_lossy(&printed).into_owned()))
    });
    let late = |_| failed!("the first task did not end within {} s", TASK_TIMEOUT.as_secs());
    let (outcome, printed) = ended.await.map_err(late)??;
    match &outcome.end {
        End::Exited { code: 0 } => Ok(in_words(&outcome, printed.trim_end())),
        End::Failed { failure } => {
            let message = format!("the first task could not run: {failure}");
            Err(match failure.kind {
                FailureKind::Sandbox
                | FailureKind::Offline
                | FailureKind::Unschedulable
                | FailureKind::ImagePull
                | FailureKind::Refused => Error::prerequisite(message),
                _ => Error::failed(message),
            })
        }
        end => Err(failed!("the first task did not end well: {end:?}")),
    }
}

fn in_words(outcome: &Outcome, printed: &str) -> String {
    let milliseconds = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    format!(
        "it printed {printed:?}; {} in total: {} user code",
        milliseconds(outcome.timeline.total_us),
        milliseconds(outcome.timeline.phase_us(Phase::UserCode)),
    )
}
