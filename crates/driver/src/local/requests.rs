//! What the local driver asks of the runner, put together from a task and the driver's configuration.

use hybrid_cache_model::protocol::{Environments, Keep, Place, PrepareRequest, RunRequest, Volumes};

use super::flow::Flow;
use super::sandbox::{self, Needs};

impl Flow {
    /// Which volumes the task's sandboxes need.
    pub(super) fn needs(&self) -> Needs {
        Needs {
            python: !self.task.requirements.is_empty(),
            system: !self.task.system.is_empty(),
        }
    }

    fn place(&self) -> Place {
        Place {
            volumes: Volumes {
                python: sandbox::PYTHON_MOUNT.to_owned(),
                nix: sandbox::NIX_MOUNT.to_owned(),
            },
            interpreter: self.config.interpreter.clone(),
            index: self.config.index.clone(),
            system_source: self
                .config
                .system
                .as_ref()
                .map(|system| system.source_id.clone())
                .unwrap_or_default(),
            max_age_s: self.config.max_age_s,
        }
    }

    /// The request for `runner run`.
    pub(super) fn run_request(&self, environments: Environments, accept_stale: bool) -> RunRequest {
        RunRequest {
            task: self.spec.clone(),
            place: self.place(),
            environments,
            accept_stale,
            limits: self.options.limits.clone(),
            identity: self.host.identity,
            scratch: sandbox::SCRATCH.to_owned(),
            base_path: sandbox::BASE_PATH.to_owned(),
            variables: self.config.task_variables.clone(),
        }
    }

    /// The request for `runner prepare`.
    pub(super) fn prepare_request(&self, keep: Keep) -> PrepareRequest {
        let needs = self.needs();
        PrepareRequest {
            task: self.spec.clone(),
            place: self.place(),
            keep,
            python_tools: needs.python.then(|| self.config.python_tools.clone()),
            system_tools: self
                .config
                .system
                .as_ref()
                .filter(|_| needs.system)
                .map(|system| system.tools.clone()),
            deadline_ms: self.options.prepare_ms,
            budget_bytes: self.config.budget_bytes,
            budget_inodes: self.config.budget_inodes,
        }
    }
}
