//! Runs code of packages, when a preparation orders it, in a sandbox of its own with the bounds and the network of a task.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use hybrid_cache_model::protocol::{BuildOrder, BuildReport};
use hybrid_cache_model::{End, Failure, FailureKind};

use crate::local::flow::task_run::{RunError, TaskRun};
use crate::local::volumes::VolumePair;
use crate::local::{memory, process, requests, sandbox};
use crate::log::LogWriter;

/// Runs one order. Its files are in the folder with its number below `builds`.
///
/// # Errors
/// Someone cancelled the task. Any other failure is in the report.
pub async fn build(
    run: &mut TaskRun,
    volumes: &VolumePair,
    builds: &Path,
    order: &BuildOrder,
) -> Result<BuildReport, RunError> {
    let failed = |failure| BuildReport {
        end: End::Failed { failure },
        files: Vec::new(),
    };
    let out = builds.join(order.number.to_string());
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(&out) {
        let message = format!("cannot create the folder {}: {error}", out.display());
        return Ok(failed(Failure::new(FailureKind::CacheAccess, message)));
    }
    let needs = run.needs();
    let limits = requests::build_limits(&run.options, order);
    if let Err(error) = run.claim_network().await {
        return match error {
            RunError::Cancelled => Err(RunError::Cancelled),
            RunError::Failed(failure) => Ok(failed(failure)),
        };
    }
    let TaskRun { network, host, .. } = run;
    let Some(network) = network else {
        let message = "a build has no network to run in";
        return Ok(failed(Failure::new(FailureKind::Internal, message)));
    };
    let host = host.for_task(network.resolver());
    let (config, tenant) = (&run.config, &run.options.tenant);
    let command = sandbox::build_command(config, &host, volumes, tenant, needs, &out, &limits);
    let command = network.enter(command);
    let request = requests::build_request(config, &run.spec, &run.options, run.host.identity, order);
    let (mut group, mut warnings) = (None, Vec::new());
    let id = format!("{}-build", run.id);
    let enter = || memory::enter(&run.memory, &id, limits.memory_bytes, &mut group, &mut warnings);
    // What the program prints is nobody's output.
    let log = LogWriter::new();
    log.hold_to(&limits);
    let ran = process::run(&command, &request, &limits, enter, &log, &mut run.cancel).await;
    if ran.ended {
        network.left();
    }
    let out_of_memory = group.and_then(|group| group.out_of_memory("--memory"));
    match (ran.report, out_of_memory) {
        _ if ran.cancelled => Err(RunError::Cancelled),
        (
            Ok(BuildReport {
                end: End::Signaled { .. },
                ..
            }),
            Some(warning),
        ) => {
            let message = format!("building a package that has no wheel failed: {warning}");
            Ok(failed(
                Failure::new(FailureKind::NoWheel, message).hint("raise `--memory`"),
            ))
        }
        (Ok(report), _) => Ok(report),
        (Err(failure), _) => Ok(failed(failure)),
    }
}
