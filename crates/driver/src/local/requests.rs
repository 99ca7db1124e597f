//! What the local driver asks of the runner, put together from a task and the driver's configuration.

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::protocol::{Environments, Identity, Keep, PrepareRequest, RunRequest};
use hybrid_cache_model::{Task, TaskSpec, Tenant};

use super::config::LocalConfig;
use super::sandbox::{self, Needs};
use crate::{Epoch, SubmitOptions};

/// Which volumes a task's sandboxes need.
pub fn needs(task: &Task) -> Needs {
    Needs {
        python: !task.requirements.is_empty(),
        system: !task.system.is_empty(),
    }
}

/// The request for `runner run`.
pub fn run_request(
    config: &LocalConfig,
    spec: &TaskSpec,
    options: &SubmitOptions,
    identity: Option<Identity>,
    environments: Environments,
    accept_stale: bool,
) -> RunRequest {
    RunRequest {
        task: spec.clone(),
        place: config.place(&options.tenant),
        environments,
        accept_stale,
        limits: options.limits.clone(),
        identity,
        scratch: sandbox::SCRATCH.to_owned(),
        base_path: sandbox::BASE_PATH.to_owned(),
        require_landlock: options.tenant != Tenant::default(),
        variables: config.task_variables.clone(),
    }
}

/// The request for `runner prepare`.
pub fn prepare_request(
    config: &LocalConfig,
    spec: &TaskSpec,
    options: &SubmitOptions,
    needs: Needs,
    keep: Keep,
) -> PrepareRequest {
    PrepareRequest {
        task: spec.clone(),
        place: config.place(&options.tenant),
        keep,
        python_tools: needs.python.then(|| config.python_tools.clone()),
        system_tools: config
            .system
            .as_ref()
            .filter(|_| needs.system)
            .map(|system| system.tools.clone()),
        deadline_ms: options.prepare_ms,
        budgets: Budgets::both(BudgetRequest::from_settings(config.budget_bytes, config.budget_inodes)),
        describe: config.trace_bytes > 0 && options.epoch == Epoch::Standing,
    }
}
