//! What the containers of a task's pod are told, and by which way it reaches them.

use std::collections::BTreeMap;

use hybrid_cache_model::pod::{
    NIX_MOUNT, NetworkSettings, POD_PROTOCOL_VERSION, PYTHON_MOUNT, PodEnvironments, PodMaintainRequest,
    PodMaintenanceCommand, PodRequest,
};
use hybrid_cache_model::protocol::{Keep, Volumes};
use hybrid_cache_model::quantity;
use hybrid_cache_model::{CachePolicy, Failure, FailureKind, Task, TaskError, TaskSpec};
use k8s_openapi::ByteString;
use serde::Serialize;

use super::config::KubeConfig;
use super::names;
use super::workload::Workload;
use crate::SubmitOptions;

/// Key of a Secret: what the task's container reads.
pub const TASK_KEY: &str = "request.json";
/// Key of a Secret: what the preparing container reads.
pub const PREPARE_KEY: &str = "prepare.json";
/// Kubernetes holds no more in one Secret.
const MAX_SECRET_BYTES: usize = 1 << 20;
/// Linux counts processes per user on the whole node, so a limit of ours would count all tasks of the node together.
/// In a pod the kubelet's own `podPidsLimit` bounds them; this only has to be out of its way.
const PROCESSES_UNBOUNDED: u64 = 1 << 20;

/// How a task's pod comes to its environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One container that finds everything in the caches.
    Warm,
    /// A preparing container beside it.
    Prepared,
}

impl Form {
    /// The value of the annotation that tells a later process.
    pub fn name(self) -> &'static str {
        match self {
            Form::Warm => "warm",
            Form::Prepared => "prepared",
        }
    }

    /// The form of a workload's pod.
    pub fn of(workload: &Workload) -> Form {
        match workload.annotation(names::FORM) {
            Some(name) if name == Form::Prepared.name() => Form::Prepared,
            _ => Form::Warm,
        }
    }
}

/// Whether an environment that was resolved too long ago counts as a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It does not.
    Required,
    /// It does: the index cannot be reached.
    StaleAccepted,
}

/// Which packages a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Python packages.
    pub python: bool,
    /// System packages.
    pub system: bool,
}

impl Needs {
    /// Of a checked task.
    pub fn of(task: &Task) -> Needs {
        Needs {
            python: !task.requirements.is_empty(),
            system: !task.system.is_empty(),
        }
    }

    /// True where it asks for any.
    pub fn any(self) -> bool {
        self.python || self.system
    }
}

/// How a request reaches the runners of a pod. A pod that stands by with its runner waiting on standard input would be
/// another way, with the same content.
pub trait Delivery {
    /// Where the containers find it.
    type Place;

    /// Puts the request into its place.
    ///
    /// # Errors
    /// It does not fit.
    fn deliver(&self, content: &Content) -> Result<Self::Place, TaskError>;
}

/// The requests of one pod, by reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// For the task's container.
    pub task: PodRequest,
    /// For the preparing container, where there is one.
    pub prepare: Option<PodRequest>,
}

/// As the data of a Secret that the pod mounts.
pub struct BySecret;

impl Delivery for BySecret {
    type Place = BTreeMap<String, ByteString>;

    fn deliver(&self, content: &Content) -> Result<Self::Place, TaskError> {
        let mut data = BTreeMap::from([(TASK_KEY.to_owned(), bytes(&content.task)?)]);
        if let Some(prepare) = &content.prepare {
            data.insert(PREPARE_KEY.to_owned(), bytes(prepare)?);
        }
        let size: usize = data.iter().map(|(key, value)| key.len() + value.0.len()).sum();
        if size <= MAX_SECRET_BYTES {
            return Ok(data);
        }
        Err(TaskError {
            pointer: "/pythonCode",
            line: None,
            message: format!("the task takes {size} bytes as JSON, a Kubernetes Secret holds {MAX_SECRET_BYTES}"),
            hint: Some("put the bulk into a package, or read it as data".to_owned()),
        })
    }
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

/// What the containers of a pod of this form are told.
///
/// The preparing container gets a request of its own: it never sees the user's code, and the task's container never
/// sees the settings (which may hold credentials) that only uv and Nix need.
pub fn content(
    config: &KubeConfig,
    spec: &TaskSpec,
    task: &Task,
    options: &SubmitOptions,
    form: Form,
    freshness: Freshness,
) -> Content {
    let whole = PodRequest {
        protocol: POD_PROTOCOL_VERSION,
        task: spec.clone(),
        environments: match form {
            Form::Warm => PodEnvironments::Lookup,
            Form::Prepared => PodEnvironments::HandedOver,
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
            processes: PROCESSES_UNBOUNDED,
            threads: quantity::whole_cpus(&config.task_resources.cpu_limit).unwrap_or(1),
            ..options.limits.clone()
        },
        prepare_ms: options.prepare_ms,
        max_age_s: config.max_age_s,
        network: config.network.clone(),
        budgets: config.budgets(),
        variables: config.task_variables.clone(),
        tenant: options.tenant.clone(),
        describe: false,
    };
    let prepare = (form == Form::Prepared).then(|| PodRequest {
        task: TaskSpec {
            python_code: "pass".to_owned(),
            ..spec.clone()
        },
        variables: Vec::new(),
        ..whole.clone()
    });
    let task = PodRequest {
        network: NetworkSettings {
            index: config.network.index.clone(),
            index_scope: config.network.index_scope,
            ..NetworkSettings::default()
        },
        ..whole
    };
    Content { task, prepare }
}

/// What a maintenance pod reads, as the data of its Secret.
///
/// # Errors
/// It cannot be written as JSON.
pub fn question(
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
    use super::super::config::tests::config;
    use super::*;

    fn content_of(spec: &TaskSpec, form: Form) -> Content {
        let task = spec.check().unwrap();
        content(
            &config(),
            spec,
            &task,
            &SubmitOptions::default(),
            form,
            Freshness::Required,
        )
    }

    #[test]
    fn neither_container_sees_what_only_the_other_needs() {
        let spec = TaskSpec {
            dependencies: "numpy".to_owned(),
            ..TaskSpec::new("print('secret of the user')")
        };
        let content = content_of(&spec, Form::Prepared);
        let text = |request: &PodRequest| serde_json::to_string(request).unwrap();
        let (task, prepare) = (text(&content.task), text(content.prepare.as_ref().unwrap()));
        assert!(
            task.contains("secret of the user") && !task.contains("secret of the index"),
            "{task}"
        );
        assert!(
            prepare.contains("secret of the index") && !prepare.contains("secret of the user"),
            "{prepare}"
        );
        assert_eq!(content.task.network.index, config().network.index);
        assert_eq!(content.task.limits.threads, 2);
    }

    #[test]
    fn a_task_that_no_secret_can_hold_is_refused_with_the_field() {
        let content = content_of(&TaskSpec::new("\n#".repeat(400_000)), Form::Warm);
        let error = BySecret.deliver(&content).unwrap_err().to_string();
        assert!(error.contains("/pythonCode") && error.contains("1048576"), "{error}");
    }
}
