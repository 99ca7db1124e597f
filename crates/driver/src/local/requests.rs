//! The requests to the runner, made of a task and the driver's configuration.

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::protocol::{
    BUILD_OUTPUT_BYTES, BuildOrder, BuildRequest, BuildSettings, Environments, Identity, Keep, Limits, PrepareRequest,
    RunRequest,
};
use hybrid_cache_model::{TaskSpec, Tenant};

use crate::local::config::{LocalConfig, Network};
use crate::local::mounts::{BASE_PATH, BUILD_OUT_MOUNT, BUILDS_MOUNT, SCRATCH};
use crate::local::sandbox::build_tools;
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
        task: spec.for_program(),
        context: config.context(&options.tenant),
        environments,
        accept_stale,
        limits: options.limits.clone(),
        identity,
        scratch: SCRATCH.to_owned(),
        base_path: BASE_PATH.to_owned(),
        require_landlock: options.tenant != Tenant::default(),
        variables: config.task_variables.clone(),
        readable: Vec::new(),
    }
}

/// Bytes that `/tmp` of a build may hold: source distributions, what they are built in, and uv's cache.
const BUILD_TMP_BYTES: u64 = 4 << 30;

/// The bounds of a build: those of a task, with room to build.
pub fn build_limits(options: &SubmitOptions, order: &BuildOrder) -> Limits {
    Limits {
        time_ms: order.time_ms,
        output_bytes: BUILD_OUTPUT_BYTES,
        tmp_bytes: options.limits.tmp_bytes.max(BUILD_TMP_BYTES),
        ..options.limits.clone()
    }
}

/// The request for `runner build`. Of the task it has the system packages alone.
pub fn build_request(
    config: &LocalConfig,
    spec: &TaskSpec,
    options: &SubmitOptions,
    identity: Option<Identity>,
    order: &BuildOrder,
) -> BuildRequest {
    let readable = build_tools(config)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    BuildRequest {
        run: RunRequest {
            limits: build_limits(options, order),
            readable,
            ..run_request(
                config,
                &order.program(spec),
                options,
                identity,
                order.environments(),
                false,
            )
        },
        out: BUILD_OUT_MOUNT.to_owned(),
    }
}

/// The request for `runner prepare`. `network` is that of builds; `None` if nothing is built.
pub fn prepare_request(
    config: &LocalConfig,
    spec: &TaskSpec,
    options: &SubmitOptions,
    needs: Needs,
    keep: Keep,
    network: Option<Network>,
) -> PrepareRequest {
    PrepareRequest {
        task: spec.for_preparation(),
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
        builds: network.map(|network| BuildSettings {
            folder: BUILDS_MOUNT.to_owned(),
            network: format!("{network:?}").to_lowercase(),
        }),
    }
}
