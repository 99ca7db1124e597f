//! The bare pod: what the least of all tasks costs on this cluster, for benchmarks to hold a task against.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind, TaskSpec};
use serde_json::json;
use tokio::sync::watch;

use super::cluster::Patience;
use super::names::{self, Component};
use super::render::{self, TaskPod};
use super::request::{self, BySecret, Delivery, Form, Freshness, Needs};
use super::retry::PATIENCE;
use super::task::Bounds;
use super::workload::Workload;
use super::{KubeDriver, job, trailer, workflow};
use crate::{Epoch, SubmitOptions};

/// The program, in every image that has a shell.
const PROGRAM: &str = "/bin/true";
/// Longest that it may take once its container runs.
const LIMIT: Duration = Duration::from_secs(60);

impl KubeDriver {
    /// Runs `true` in a pod of the same image, mounts, requests and restrictions as the task's own would have where all
    /// it asks for is cached: made with its Secret as a task's is, by a Job or a Workflow as a task's, and watched alike.
    /// Returns the time until its container was seen to have ended.
    ///
    /// # Errors
    /// The task is not acceptable, the cluster does not take the pod, or `true` fails.
    pub async fn bare_pod(&self, epoch: &Epoch, spec: &TaskSpec) -> Result<Duration, Failure> {
        let shared = self.shared();
        let options = SubmitOptions::default();
        let id = names::unique("bare");
        let started = Instant::now();
        let invalid = |error: hybrid_cache_model::TaskError| Failure::new(FailureKind::InvalidTask, error.to_string());
        let task = spec.check().map_err(invalid)?;
        let content = request::content(&shared.config, spec, &task, &options, Form::Warm, Freshness::Required);
        let secret = render::secret(Component::Task, &id, &id, BySecret.deliver(&content).map_err(invalid)?);
        let epoch = match epoch {
            Epoch::Standing => None,
            Epoch::Fresh(name) => Some(name.as_str()),
        };
        let workload = bare(render::task(
            &shared.config,
            &TaskPod {
                id: &id,
                name: &id,
                form: Form::Warm,
                needs: Needs::of(&task),
                cache: task.cache,
                epoch,
                tenant: options.tenant.clone(),
                time_ms: options.limits.time_ms,
                prepare_ms: options.prepare_ms,
                token: trailer::token_for(&shared.config).as_deref(),
            },
        ));
        let start = Duration::from_secs(shared.config.start_s);
        let patience = Patience {
            answer: PATIENCE,
            room: start,
        };
        // The sender is kept until the end: nobody cancels this.
        let (_keep, mut cancel) = watch::channel(false);
        let made = job::make(shared, &secret, &workload, patience, &mut cancel).await;
        let (mut running, _) = made.map_err(|not_made| not_made.failure().clone())?;
        let bounds = Bounds {
            start,
            whole: start + LIMIT,
        };
        let ended = running.end(bounds, &mut cancel, |_, _| {}).await?;
        let took = started.elapsed();
        if ended.code == 0 {
            tokio::spawn(job::delete(Arc::clone(shared), running.kind, id, None));
            return Ok(took);
        }
        let message = format!("{PROGRAM} ended with code {} ({})", ended.code, ended.reason);
        Err(Failure::new(FailureKind::Tool, message).hint("the image has to bring it"))
    }
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
            for container in workflow::containers(&mut workflow) {
                container["command"] = json!([PROGRAM]);
                container["args"] = json!([]);
            }
            Workload::Workflow(workflow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::{argo, config};
    use super::*;
    use hybrid_cache_model::CachePolicy;
    use serde_json::Value;

    #[test]
    fn a_bare_pod_differs_from_a_warm_one_in_its_program_alone() {
        let pod = TaskPod {
            id: "bare-a",
            name: "bare-a",
            form: Form::Warm,
            needs: Needs {
                python: true,
                system: true,
            },
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
