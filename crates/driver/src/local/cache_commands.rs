//! Runs the runner's cache commands on a pair of volumes, in the sandbox that may write them.

use std::time::Duration;

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};

use crate::local::config::LocalConfig;
use crate::local::mounts::{NIX_MOUNT, PYTHON_MOUNT};
use crate::local::process;
use crate::local::sandbox::{self, HostLayout};
use crate::local::volumes::VolumePair;
use crate::needs::Needs;

/// How long a cache command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1800);

/// A request for both volumes, with the tools of this machine and without budgets.
pub fn request(config: &LocalConfig) -> MaintainRequest {
    MaintainRequest {
        python: Some(PYTHON_MOUNT.to_owned()),
        nix: Some(NIX_MOUNT.to_owned()),
        python_tools: Some(config.python_tools.clone()),
        system_tools: config.system.as_ref().map(|system| system.tools.clone()),
        budgets: Budgets::default(),
        repair: false,
        deadline_ms: u64::try_from(COMMAND_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Runs one of the runner's subcommands.
///
/// # Errors
/// The runner could not be started, or did not answer in time.
pub async fn run(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    subcommand: &str,
    request: &MaintainRequest,
) -> Result<MaintainReport, Failure> {
    let command = sandbox::maintenance_command(config, host, volumes, Needs::BOTH, subcommand);
    process::ask(&command, request, COMMAND_TIMEOUT).await
}
