//! The requests that the containers of a pod read, as the data of a Secret.

use std::collections::BTreeMap;

use hybrid_cache_model::pod::{
    NIX_MOUNT, NetworkSettings, POD_PROTOCOL_VERSION, PYTHON_MOUNT, PodEnvironments, PodMaintainRequest,
    PodMaintenanceCommand, PodRequest,
};
use hybrid_cache_model::protocol::{Keep, MAX_POD_GRACE_MS, Volumes};
use hybrid_cache_model::{CachePolicy, Failure, FailureKind, Task, TaskError, TaskErrors, TaskResources, TaskSpec};
use k8s_openapi::ByteString;
use serde::Serialize;

use crate::SubmitOptions;
use crate::kube::config::KubeConfig;
use crate::kube::pod::variant::PodVariant;
use hybrid_cache_model::quantity;

/// Key of a Secret: the request of the task's container.
pub const TASK_KEY: &str = "request.json";
/// Key of a Secret: the request of the preparing container.
pub const PREPARE_KEY: &str = "prepare.json";
/// Key of a Secret: the request of the building container.
pub const BUILD_KEY: &str = "build.json";
/// Most bytes that Kubernetes stores in one Secret.
const MAX_SECRET_BYTES: usize = 1 << 20;
/// Linux counts processes per user on the whole node, so a lower limit would count all tasks of the node together. In a
/// pod the kubelet's `podPidsLimit` is the bound, and this limit only has to be higher.
const UNBOUNDED_PROCESSES: u64 = 1 << 20;

/// Whether an environment that was resolved too long ago counts as a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// No.
    Required,
    /// Yes, because the index cannot be reached.
    StaleAccepted,
}

/// The requests of one pod, by reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRequests {
    /// For the task's container.
    pub task: PodRequest,
    /// For the preparing container, if there is one.
    pub prepare: Option<PodRequest>,
    /// For the building container, if there is one.
    pub build: Option<PodRequest>,
}

/// The requests as the data of the Secret that the pod mounts.
///
/// # Errors
/// The requests do not fit into a Secret.
pub fn secret_data(requests: &PodRequests) -> Result<BTreeMap<String, ByteString>, TaskErrors> {
    let mut data = BTreeMap::from([(TASK_KEY.to_owned(), bytes(&requests.task)?)]);
    if let Some(prepare) = &requests.prepare {
        data.insert(PREPARE_KEY.to_owned(), bytes(prepare)?);
    }
    if let Some(build) = &requests.build {
        data.insert(BUILD_KEY.to_owned(), bytes(build)?);
    }
    let size: usize = data.iter().map(|(key, value)| key.len() + value.0.len()).sum();
    if size <= MAX_SECRET_BYTES {
        return Ok(data);
    }
    let (pointer, hint) = largest(&requests.task.task);
    Err(TaskError {
        pointer,
        line: None,
        message: format!("the task takes {size} bytes as JSON, a Kubernetes Secret holds {MAX_SECRET_BYTES}"),
        hint: Some(hint.to_owned()),
    }
    .into())
}

/// The field that takes most of a Secret, and what to do about it.
fn largest(spec: &TaskSpec) -> (&'static str, &'static str) {
    let fewer = "leave out packages that the code does not need, or hashes of other platforms";
    let bulk = "put the bulk into a package, or read it as data";
    let pairs = |of: &mut dyn Iterator<Item = (&str, &str)>| of.map(|(name, value)| name.len() + value.len()).sum();
    let fields: [(usize, &str, &str); 7] = [
        (spec.python_code.len(), "/pythonCode", bulk),
        // The pod gets its requirements twice, everything else once.
        (2 * spec.requirements_file.len(), "/requirementsFile", fewer),
        (2 * spec.constraints.len(), "/constraints", fewer),
        (spec.stdin.len(), "/stdin", bulk),
        (spec.args.iter().map(String::len).sum(), "/args", bulk),
        (
            pairs(&mut spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            "/env",
            bulk,
        ),
        (pairs(&mut spec.secret_env.iter()), "/secretEnv", bulk),
    ];
    let largest = fields.into_iter().max_by_key(|(bytes, ..)| *bytes);
    largest.map_or(("/pythonCode", bulk), |(_, pointer, hint)| (pointer, hint))
}

fn bytes(request: &impl Serialize) -> Result<ByteString, TaskError> {
    let text = serde_json::to_vec(request).map_err(|error| TaskError {
        pointer: "",
        line: None,
        message: format!("the task cannot be written as JSON: {error}"),
        hint: None,
    })?;
    Ok(ByteString(text))
}

/// The requests of a task's pod.
///
/// The preparing container gets a request of its own: it never sees the user's code, and the task's container never
/// sees the settings that only uv and Nix need and that may hold credentials. The building container gets neither. `set` is the
/// place of the volume set that the pod mounts.
pub fn for_task(
    config: &KubeConfig,
    set: usize,
    spec: &TaskSpec,
    task: &Task,
    options: &SubmitOptions,
    variant: PodVariant,
    freshness: Freshness,
) -> PodRequests {
    let whole = PodRequest {
        protocol: POD_PROTOCOL_VERSION,
        task: spec.for_program(),
        environments: match variant {
            PodVariant::Warm => PodEnvironments::Lookup,
            PodVariant::Prepared | PodVariant::Building => PodEnvironments::HandedOver,
        },
        volumes: Volumes {
            python: PYTHON_MOUNT.to_owned(),
            nix: NIX_MOUNT.to_owned(),
        },
        keep: match task.cache {
            CachePolicy::Use => Keep::Publish,
            CachePolicy::Bypass => Keep::Discard,
        },
        accept_stale: freshness == Freshness::StaleAccepted,
        limits: hybrid_cache_model::protocol::Limits {
            processes: UNBOUNDED_PROCESSES,
            grace_ms: options.limits.grace_ms.min(MAX_POD_GRACE_MS),
            threads: quantity::whole_cpus(&config.task_resources.cpu_limit).unwrap_or(1),
            ..options.limits.clone()
        },
        prepare_ms: options.prepare_ms,
        max_age_s: config.max_age_s,
        network: config.network.clone(),
        budgets: config.budgets(&config.set(set)),
        variables: config.task_variables.clone(),
        tenant: options.tenant.clone(),
        describe: false,
        builds: false,
        resources: spec.resources.clone(),
    };
    let prepare = variant.prepares().then(|| PodRequest {
        task: spec.for_preparation(),
        variables: Vec::new(),
        builds: variant == PodVariant::Building,
        resources: TaskResources::default(),
        ..whole.clone()
    });
    let task = PodRequest {
        network: NetworkSettings {
            index: config.network.index.clone(),
            index_scope: config.network.index_scope,
            no_builds: config.network.no_builds,
            sources: config.network.sources.clone(),
            ..NetworkSettings::default()
        },
        ..whole
    };
    let build = (variant == PodVariant::Building).then(|| PodRequest {
        task: spec.for_preparation(),
        variables: Vec::new(),
        resources: TaskResources::default(),
        ..task.clone()
    });
    PodRequests { task, prepare, build }
}

/// The request of a maintenance pod, as the data of its Secret.
///
/// # Errors
/// It cannot be written as JSON.
pub fn for_maintenance(
    config: &KubeConfig,
    question: PodMaintenanceCommand,
    deadline_ms: u64,
) -> Result<BTreeMap<String, ByteString>, Failure> {
    let request = PodMaintainRequest {
        protocol: POD_PROTOCOL_VERSION,
        question,
        network: config.network.clone(),
        deadline_ms,
    };
    let text = bytes(&request).map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
    Ok(BTreeMap::from([(TASK_KEY.to_owned(), text)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::tests::config;

    fn requests_of(spec: &TaskSpec, variant: PodVariant) -> PodRequests {
        let task = spec.check().unwrap();
        for_task(
            &config(),
            0,
            spec,
            &task,
            &SubmitOptions::default(),
            variant,
            Freshness::Required,
        )
    }

    #[test]
    fn neither_container_sees_what_only_the_other_needs() {
        let spec = TaskSpec {
            dependencies: "numpy".to_owned(),
            ..TaskSpec::new("print('secret of the user')")
        };
        let requests = requests_of(&spec, PodVariant::Prepared);
        let text = |request: &PodRequest| serde_json::to_string(request).unwrap();
        let (task, prepare) = (text(&requests.task), text(requests.prepare.as_ref().unwrap()));
        assert!(
            task.contains("secret of the user") && !task.contains("secret of the index"),
            "{task}"
        );
        assert!(
            prepare.contains("secret of the index") && !prepare.contains("secret of the user"),
            "{prepare}"
        );
        assert_eq!(requests.task.network.index, config().network.index);
        assert_eq!(requests.task.limits.threads, 2);
    }

    #[test]
    fn preparing_gets_the_packages_that_the_program_names_and_nothing_that_the_program_gets() {
        let mut spec = TaskSpec {
            stdin: "typed".to_owned(),
            args: vec!["--flag".to_owned()],
            timeout_seconds: Some(5),
            ..TaskSpec::new("# /// script\n# dependencies = [\"idna\"]\n# ///\nprint(1)")
        };
        spec.env.insert("OPEN".to_owned(), "open".to_owned());
        spec.secret_env.insert("TOKEN", "hush");
        spec.labels.insert("team".to_owned(), "blue".to_owned());
        let requests = requests_of(&spec, PodVariant::Prepared);
        let [task, prepare] = [&requests.task.task, &requests.prepare.as_ref().unwrap().task];
        assert_eq!(
            prepare.check().unwrap().requirements,
            task.check().unwrap().requirements
        );
        assert_eq!(
            (&task.stdin, &task.args, &task.env, &task.secret_env),
            (&spec.stdin, &spec.args, &spec.env, &spec.secret_env)
        );
        assert_eq!(*prepare, spec.for_preparation());
        // Labels are the service's, and the time limit is among the limits.
        assert!(task.labels.is_empty() && task.timeout_seconds.is_none());
        let mut workload = String::new();
        for text in secret_data(&requests).unwrap().keys() {
            workload.push_str(text);
        }
        assert!(!workload.contains("hush"));
    }

    #[test]
    fn threads_follow_what_the_task_asks_for_and_its_amounts_are_kept_for_who_adopts_it() {
        let mut spec = TaskSpec::new("1");
        spec.resources.cpu = Some("700m".to_owned());
        let (config, task) = (config(), spec.check().unwrap());
        let config = config.for_task(&spec.resources);
        let (options, fresh) = (SubmitOptions::default(), Freshness::Required);
        let requests = for_task(&config, 0, &spec, &task, &options, PodVariant::Prepared, fresh);
        assert_eq!(requests.task.limits.threads, 1);
        assert_eq!(requests.task.resources, spec.resources);
        // A runner of an earlier version refuses a task with fields that it does not know.
        assert!(!requests.task.task.asks_for_resources());
        assert!(requests.prepare.unwrap().resources.is_empty());
    }

    #[test]
    fn a_task_too_large_for_a_secret_is_refused_with_the_field() {
        let requests = requests_of(&TaskSpec::new("\n#".repeat(400_000)), PodVariant::Warm);
        let error = secret_data(&requests).unwrap_err().to_string();
        assert!(error.contains("/pythonCode") && error.contains("1048576"), "{error}");
        let spec = TaskSpec {
            stdin: "\n".repeat(1 << 19),
            ..TaskSpec::new("1")
        };
        let error = secret_data(&requests_of(&spec, PodVariant::Warm))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/stdin"), "{error}");
    }
}
