//! Runs a bare pod: the least that any task costs on this cluster, for benchmarks to compare a task with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::contents::UsedKeys;
use hybrid_cache_model::outcome::{CacheReport, CacheStatus, End, Output, Resolved};
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{Failure, FailureKind, TaskSpec, Timeline};
use serde_json::json;
use tokio::sync::watch;

use crate::cancel::CancelFlag;
use crate::kube::api::cluster::CreateTimeouts;
use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::recent_hits::CacheRequest;
use crate::kube::flow::workload_run::{self, WorkloadRun};
use crate::kube::logs::follow::{KnownOutput, LogSource, LogTail};
use crate::kube::logs::trailer;
use crate::kube::names::Component;
use crate::kube::observe::observed::ContainerEnd;
use crate::kube::observe::step::{Bounds, Step};
use crate::kube::pod::request::{self, Freshness};
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::workload::object::Workload;
use crate::kube::workload::render::{self, TaskPod};
use crate::kube::workload::workflow;
use crate::log::LogWriter;
use crate::needs::Needs;
use crate::{Epoch, SubmitOptions, ids};

/// The program of a Workflow, which every image with a shell has.
const PROGRAM: &str = "/bin/true";
/// The program of a Job. It ends the log as a runner does, because the driver learns the end of a task from its log.
const REPORTING_PROGRAM: [&str; 3] = ["/bin/sh", "-c", r#"printf '\036%s %s\n' "$1" "$2""#];
/// How long it may take once its container is running.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a bare pod took, from before it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarePod {
    /// Until its end was seen, in the same way as that of a task: at the end of its log, or for a Workflow in its container's state.
    pub wall: Duration,
    /// Until its container's state showed the end too; `None` for a Workflow, whose log holds no report.
    pub state: Option<Duration>,
}

/// Runs nothing in a pod like that of a cached task.
///
/// # Errors
/// The task is not acceptable, the cluster does not accept the pod, or its program fails.
pub async fn run(shared: &Arc<Shared>, epoch: &Epoch, spec: &TaskSpec) -> Result<BarePod, Failure> {
    let options = SubmitOptions::default();
    let id = ids::unique("bare");
    let started = Instant::now();
    let invalid = |error: hybrid_cache_model::TaskErrors| Failure::new(FailureKind::InvalidTask, error.to_string());
    let task = spec.check().map_err(invalid)?;
    let (variant, freshness) = (PodVariant::Warm, Freshness::Required);
    let config = shared.config.for_task(&spec.resources);
    let set = shared.place(&CacheRequest::new(epoch, &options.tenant, &task), &task);
    let requests = request::for_task(&config, set.place(), spec, &task, &options, variant, freshness);
    let data = request::secret_data(&requests).map_err(invalid)?;
    let secret = render::secret(Component::Task, &id, &id, data);
    let token = trailer::token_for(&config);
    let pod = render::task(
        &config,
        &TaskPod {
            id: &id,
            name: &id,
            variant,
            needs: Needs::from(&task),
            cache: task.cache,
            set: set.place(),
            epoch: epoch.name(),
            tenant: options.tenant.clone(),
            time_ms: options.limits.time_ms,
            prepare_ms: options.prepare_ms,
            token: token.as_deref(),
        },
    );
    let workload = bare(pod, token.as_deref());
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
    let ended = end(shared, &mut run, bounds, &mut cancel).await?;
    let wall = started.elapsed();
    let ended = match run.early.send_replace(None) {
        // The same again without the log.
        Some(_) => run.end(bounds, &mut cancel, |_, _| {}).await?,
        None => ended,
    };
    let state = run.token.is_some().then(|| started.elapsed());
    if ended.code == 0 {
        tokio::spawn(workload_run::delete(Arc::clone(shared), run.kind, id, None));
        return Ok(BarePod { wall, state });
    }
    let message = format!("a pod without work ended with code {} ({})", ended.code, ended.reason);
    Err(Failure::new(FailureKind::Tool, message).hint("use an image with /bin/sh and /bin/true"))
}

/// Waits for the end as a task does: in the log, if it holds a report, otherwise in the container's state.
async fn end(
    shared: &Arc<Shared>,
    run: &mut WorkloadRun,
    bounds: Bounds,
    cancel: &mut CancelFlag,
) -> Result<ContainerEnd, Failure> {
    let (kind, token, early) = (run.kind, run.token.clone(), run.early.clone());
    let mut tail = None;
    let ended = run.end(bounds, cancel, |observed, step| {
        if let (Step::Follow, None, Some(pod), Some(_)) = (step, &tail, &observed.pod, &token) {
            tail = Some(LogTail::start(LogSource {
                cluster: Arc::clone(&shared.cluster),
                splitting: Arc::clone(&shared.splitting),
                kind,
                pod: pod.name.clone(),
                log: Arc::new(LogWriter::new()),
                token: token.clone(),
                early: early.clone(),
                known: KnownOutput::default(),
            }));
        }
    });
    let ended = ended.await?;
    if let Some(tail) = tail {
        tail.finish(Some([Output::default(); 2]), &shared.pulse).await;
    }
    Ok(ended)
}

/// The same workload with another program. `token` marks the report that ends the log.
fn bare(workload: Workload, token: Option<&str>) -> Workload {
    match workload {
        Workload::Job(mut job) => {
            let pod = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
            for container in pod.into_iter().flat_map(|pod| &mut pod.containers) {
                container.command = Some(program(token));
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
        pod @ Workload::Pod(_) => pod,
    }
}

/// What runs in the pod.
fn program(token: Option<&str>) -> Vec<String> {
    let Some(token) = token else {
        return vec![PROGRAM.to_owned()];
    };
    let report = RunReport::Finished {
        end: End::Exited { code: 0 },
        cache: CacheReport {
            python: CacheStatus::NotAsked,
            system: CacheStatus::NotAsked,
        },
        timeline: Timeline::default(),
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: Vec::new(),
        keys: UsedKeys::default(),
    };
    // No field of it can fail to be written.
    let report = serde_json::to_string(&report).unwrap_or_default();
    let words = REPORTING_PROGRAM.into_iter().chain(["sh", token, &report]);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::tests::{argo, config};
    use crate::kube::observe::step;
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
            set: 0,
            epoch: Some("epoch-a"),
            tenant: hybrid_cache_model::Tenant::default(),
            time_ms: 1,
            prepare_ms: 1,
            token: Some("token"),
        };
        for config in [config(), argo()] {
            let token = config.argo.is_none().then_some("token");
            let [theirs, ours] = [render::task(&config, &pod), bare(render::task(&config, &pod), token)].map(as_json);
            let (path, first) = match config.argo {
                None => ("/spec/template/spec/containers/0", "/bin/sh"),
                Some(_) => ("/spec/templates/0/containerSet/containers/0", "/bin/true"),
            };
            let container = ours.pointer(path).unwrap();
            assert_eq!(container["command"][0], json!(first));
            assert!(container["args"].as_array().is_none_or(Vec::is_empty), "{container}");
            assert_eq!(without_program(ours, path), without_program(theirs, path));
        }
    }

    #[test]
    fn a_bare_job_ends_its_log_like_a_task_so_that_its_end_is_seen_in_the_same_way() {
        let words = program(Some("0123"));
        let printed = std::process::Command::new(&words[0])
            .args(&words[1..])
            .output()
            .unwrap();
        assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
        let mut passed = Vec::new();
        let report = trailer::TrailerScanner::new(Some("0123")).take(&printed.stdout, &mut passed);
        let ended = ContainerEnd {
            code: 0,
            reason: "Completed".to_owned(),
            message: report.unwrap(),
        };
        assert!(step::tells_all(&ended) && passed.is_empty());
    }

    fn as_json(workload: Workload) -> Value {
        match workload {
            Workload::Job(job) => serde_json::to_value(job).unwrap(),
            Workload::Workflow(workflow) => serde_json::to_value(workflow).unwrap(),
            Workload::Pod(pod) => serde_json::to_value(pod).unwrap(),
        }
    }

    fn without_program(mut workload: Value, container: &str) -> Value {
        let container = workload.pointer_mut(container).unwrap().as_object_mut().unwrap();
        container.retain(|field, _| !["command", "args"].contains(&field.as_str()));
        workload
    }
}
