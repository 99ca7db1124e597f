//! The requests to the runner, made of a task and the driver's configuration.

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::protocol::{Environments, Identity, Keep, PrepareRequest, RunRequest};
use hybrid_cache_model::{TaskSpec, Tenant};

use crate::local::config::LocalConfig;
use crate::local::mounts::{BASE_PATH, SCRATCH};
use crate::needs::Needs;
use crate::{Epoch, SubmitOptions};

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
        context: config.context(&options.tenant),
        environments,
        accept_stale,
        limits: options.limits.clone(),
        identity,
        scratch: SCRATCH.to_owned(),
        base_path: BASE_PATH.to_owned(),
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
        context: config.context(&options.tenant),
        keep,
        python_tools: needs.python.then(|| config.python_tools.clone()),
        system_tools: config
            .system
            .as_ref()
            .filter(|_| needs.system)
            .map(|system| system.tools.clone()),
        deadline_ms: options.prepare_ms,
        other_pythons: config
            .other_interpreters
            .iter()
            .map(|other| other.interpreter.version.clone())
            .collect(),
        budgets: Budgets::both(BudgetRequest::from_settings(config.budget_bytes, config.budget_inodes)),
        describe: config.trace_bytes > 0 && options.epoch == Epoch::Standing,
    }
}
