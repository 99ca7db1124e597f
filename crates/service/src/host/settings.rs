//! What a command line can set about tasks, with the defaults of all programs.

use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::protocol::Limits;

use crate::ServiceConfig;

/// Bounds and retention of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most tasks that run at the same time.
    pub running: usize,
    /// Most tasks of one tenant that may wait in the queue.
    pub queued: u64,
    /// Time limit of a task's program, in seconds.
    pub timeout_s: u64,
    /// Bytes of standard output, and as many of standard error, that are kept of a task.
    pub output_bytes: u64,
    /// Days for which ended tasks are kept.
    pub retain_days: u64,
    /// Most ended tasks of one tenant that are kept.
    pub retain_tasks: u64,
    /// Bytes of output and database that are kept; `None` means a tenth of the volume.
    pub retain_bytes: Option<u64>,
    /// Hours for which tasks are kept that no client has run.
    pub retain_saved_hours: u64,
}

impl Settings {
    /// The default number of tasks that run on a cluster at the same time.
    pub const ON_CLUSTER: usize = 16;

    /// The defaults on a cluster.
    pub fn on_cluster() -> Settings {
        Settings {
            running: Settings::ON_CLUSTER,
            queued: 1000,
            timeout_s: 600,
            output_bytes: Limits::default().output_bytes,
            retain_days: 30,
            retain_tasks: 100_000,
            retain_bytes: None,
            retain_saved_hours: 24,
        }
    }

    /// The configuration of a service in a folder.
    pub fn config(&self, folder: impl Into<PathBuf>) -> ServiceConfig {
        let mut config = ServiceConfig::new(folder);
        config.concurrency = self.running;
        config.queue = self.queued;
        config.limits = self.limits(config.limits);
        config.retention.age = Duration::from_secs(self.retain_days * 24 * 3600);
        config.retention.count = self.retain_tasks;
        config.retention.bytes = self.retain_bytes;
        config.retention.saved = Duration::from_secs(self.retain_saved_hours * 3600);
        config
    }

    /// The limits of a task: `limits`, except for what is set here.
    pub fn limits(&self, limits: Limits) -> Limits {
        Limits {
            time_ms: self.timeout_s * 1000,
            output_bytes: self.output_bytes,
            ..limits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_service() {
        let (ours, service) = (Settings::on_cluster().config("/x"), ServiceConfig::new("/x"));
        assert_eq!(ours.queue, service.queue);
        assert_eq!(ours.limits, service.limits);
        assert_eq!(ours.retention.age, service.retention.age);
        assert_eq!(ours.retention.count, service.retention.count);
        assert_eq!(ours.retention.bytes, service.retention.bytes);
        assert_eq!(ours.retention.saved, service.retention.saved);
    }
}
