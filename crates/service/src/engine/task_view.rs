//! Makes the view of a stored task: its fields, the ends of its output, and what it waits for.

use super::inner::Inner;
use crate::error::ServiceError;
use crate::output::{Follow, ShownStream, beginning, ends};
use crate::store::rows::Stored;
use crate::store::writes;
use hybrid_cache_api::{OutputView, StateName, TaskId, TaskSummary, TaskView};

impl Inner {
    /// Fills in what a waiting task waits for.
    pub(super) fn explain(&self, summary: &mut TaskSummary) {
        if summary.waiting_for.is_some() {
            return;
        }
        summary.waiting_for = match summary.state {
            StateName::Queued => self.circuit_breaker.reason().or_else(|| self.driver.full()),
            // The driver has it, but the cluster may have no room for it yet.
            StateName::Running => self.driver.waits(&writes::ticket(self.driver.name(), &summary.id)),
            _ => None,
        };
    }

    pub(super) async fn shown_output(&self, id: &TaskId, stored: &Stored) -> Result<OutputView, ServiceError> {
        let limit = self.config.shown_output_bytes;
        let written = stored.outcome.as_ref().map(|outcome| {
            let [stdout, stderr] = [outcome.stdout, outcome.stderr];
            [stdout.passed_bytes, stderr.passed_bytes]
        });
        let so_far = self.outputs.live.progress(id).map(|progress| {
            let extent = progress.extent;
            [extent.stdout_bytes, extent.stderr_bytes]
        });
        let [stdout_bytes, stderr_bytes] = written.or(so_far).unwrap_or_default();
        let nothing_printed = stdout_bytes + stderr_bytes == 0;
        let reader = self.outputs.reader(id, 0, Follow::Stored);
        let read = if nothing_printed {
            Ok(Default::default())
        } else if stored.outcome.is_some() {
            ends(reader, limit).await
        } else {
            // Clients ask often for a task that runs.
            beginning(reader, limit).await
        };
        let streams: [ShownStream; 2] = read.map_err(|error| ServiceError::Storage {
            message: format!("the task's output cannot be read: {error}"),
        })?;
        let [stdout, stderr] = &streams;
        let truncated = stdout_bytes > stdout.shown_bytes || stderr_bytes > stderr.shown_bytes;
        let [stdout, stderr] = streams.map(|stream| String::from_utf8_lossy(&stream.text).into_owned());
        Ok(OutputView {
            stdout,
            stderr,
            stdout_bytes,
            stderr_bytes,
            truncated,
        })
    }

    pub(super) fn view(&self, stored: Stored, output: OutputView) -> TaskView {
        let strange = stored.strange;
        let mut view = TaskView {
            summary: stored.summary,
            request: stored.spec,
            signal: None,
            limit_ms: None,
            failure: None,
            timeline: None,
            runner_us: None,
            resolved: None,
            output,
            warnings: Vec::new(),
            not_kept: None,
        };
        self.explain(&mut view.summary);
        if let Some(outcome) = stored.outcome {
            view.set_outcome(outcome);
        }
        view.warnings.extend(strange);
        view
    }
}
