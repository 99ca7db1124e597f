//! Runs a bare pod: the least that any task costs on this cluster, for benchmarks to compare a task with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind, TaskSpec};
use serde_json::json;
use tokio::sync::watch;

use crate::kube::api::cluster::CreateTimeouts;
use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::workload_run;
use crate::kube::logs::trailer;
use crate::kube::names::Component;
use crate::kube::observe::step::Bounds;
use crate::kube::pod::request::{self, Freshness};
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::workload::object::Workload;
use crate::kube::workload::render::{self, TaskPod};
use crate::kube::workload::workflow;
use crate::needs::Needs;
use crate::{Epoch, SubmitOptions, ids};

/// The program, which every image with a shell has.
const PROGRAM: &str = "/bin/true";
/// How long it may take once its container is running.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `true` in a pod like that of a cached task; returns the time until its container was seen to have ended.
///
/// # Errors
/// The task is not acceptable, the cluster does not accept the pod, or `true` fails.
pub async fn run(shared: &Arc<Shared>, epoch: &Epoch, spec: &TaskSpec) -> Result<Duration, Failure> {
    let options = SubmitOptions::default();
    let id = ids::unique("bare");
    let started = Instant::now();
    let invalid = |error: hybrid_cache_model::TaskErrors| Failure::new(FailureKind::InvalidTask, error.to_string());
    let task = spec.check().map_err(invalid)?;
    let (variant, freshness) = (PodVariant::Warm, Freshness::Required);
    let requests = request::for_task(&shared.config, spec, &task, &options, variant, freshness);
    let data = request::secret_data(&requests).map_err(invalid)?;
    let secret = render::secret(Component::Task, &id, &id, data);
    let workload = bare(render::task(
        &shared.config,
        &TaskPod {
            id: &id,
            name: &id,
            variant,
            needs: Needs::from(&task),
            cache: task.cache,
            epoch: epoch.name(),
            tenant: options.tenant.clone(),
            time_ms: options.limits.time_ms,
            prepare_ms: options.prepare_ms,
            token: trailer::token_for(&shared.config).as_deref(),
        },
    ));
    let start = Duration::from_secs(shared.config.start_s);
    let timeouts = CreateTimeouts {
        answer: OUTAGE_TIMEOUT,
        room: start,
    };
    // The sender lives until the end, so nothing cancels this.
    let (_keep, mut cancel) = watch::channel(false);
    let created = workload_run::create(shared, &secret, &workload, timeouts, &mut cancel).await;
    let (mut run, _) = created.map_err(|error| error.failure().clone())?;
    let bounds = Bounds {
        start,
        whole: start + PROGRAM_TIMEOUT,
    };
    let ended = run.end(bounds, &mut cancel, |_, _| {}).await?;
    let took = started.elapsed();
    if ended.code == 0 {
        tokio::spawn(workload_run::delete(Arc::clone(shared), run.kind, id, None));
        return Ok(took);
    }
    let message = format!("{PROGRAM} ended with code {} ({})", ended.code, ended.reason);
    Err(Failure::new(FailureKind::Tool, message).hint("use an image that has this program"))
}

/// The same workload with another program.
fn bare(workload: Workload) -> Workload {
    match workload {
        Workload::Job(mut job) => {
            let pod = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
            for container in pod.into_iter().flat_map(|pod| &mut pod.containers) {
                container.command = Some(vec![PROGRAM.to_owned()]);
                container.args = None;
            }
            Workload::Job(job)
        }
        Workload::Workflow(mut workflow) => {
            for container in workflow::containers_mut(&mut workflow) {
                container["command"] = json!([PROGRAM]);
                container["args"] = json!([]);
            }
            Workload::Workflow(workflow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::tests::{argo, config};
    use hybrid_cache_model::CachePolicy;
    use serde_json::Value;

    #[test]
    fn a_bare_pod_differs_from_a_warm_one_in_its_program_alone() {
        let pod = TaskPod {
            id: "bare-a",
            name: "bare-a",
            variant: PodVariant::Warm,
            needs: Needs::BOTH,
            cache: CachePolicy::Use,
            epoch: Some("epoch-a"),
            tenant: hybrid_cache_model::Tenant::default(),
            time_ms: 1,
            prepare_ms: 1,
            token: Some("token"),
        };
        for config in [config(), argo()] {
            let [theirs, ours] = [render::task(&config, &pod), bare(render::task(&config, &pod))].map(as_json);
            let path = match config.argo {
                None => "/spec/template/spec/containers/0",
                Some(_) => "/spec/templates/0/containerSet/containers/0",
            };
            let container = ours.pointer(path).unwrap();
            assert_eq!(container["command"], json!(["/bin/true"]));
            assert!(container["args"].as_array().is_none_or(Vec::is_empty), "{container}");
            assert_eq!(without_program(ours, path), without_program(theirs, path));
        }
    }

    fn as_json(workload: Workload) -> Value {
        match workload {
            Workload::Job(job) => serde_json::to_value(job).unwrap(),
            Workload::Workflow(workflow) => serde_json::to_value(workflow).unwrap(),
        }
    }

    fn without_program(mut workload: Value, container: &str) -> Value {
        let container = workload.pointer_mut(container).unwrap().as_object_mut().unwrap();
        container.retain(|field, _| !["command", "args"].contains(&field.as_str()));
        workload
    }
}
