//! The configuration of the kube driver: namespace, image, claims, and how much a task may use.

use std::collections::HashSet;

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::placement::PodPlacement;
use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_model::prepared::{self, PreparedInterpreter};
use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::quantity;
use hybrid_cache_model::{Failure, FailureKind, TaskResources};
use serde::{Deserialize, Serialize};

use crate::kube::standby::range::StandbyRange;

/// The name of the only set.
const FIRST_SET: &str = "0";
/// Most bytes of a label's value.
const MAX_LABEL_BYTES: usize = 63;

/// Everything that the kube driver needs. The driver reads no environment variable and no kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeConfig {
    /// Namespace of tasks and claims.
    pub namespace: String,
    /// Image of both containers.
    pub image: String,
    /// PersistentVolumeClaim of the Python volume.
    pub python_claim: String,
    /// PersistentVolumeClaim of the system volume.
    pub nix_claim: String,
    /// ServiceAccount of a task's pod, without rights and without a token.
    pub service_account: String,
    /// User and group of every container.
    pub identity: Identity,
    /// What the task's container may use.
    pub task_resources: Resources,
    /// What the preparing container may use.
    pub prepare_resources: Resources,
    /// ConfigMap with the key `ca-certificates.crt`, mounted over the image's own certificates.
    pub certificates: Option<String>,
    /// The package index and other settings of the cluster's network.
    pub network: NetworkSettings,
    /// Age in seconds after which a request is resolved again.
    pub max_age_s: u64,
    /// Most bytes that each volume may hold; 0 for a part of the claim's size.
    pub budget_bytes: u64,
    /// Most inodes that each volume may hold; 0 for a part of the claim's inodes.
    pub budget_inodes: u64,
    /// Bytes of the Python volume's claim; 0 if unknown, then its file system counts.
    #[serde(default)]
    pub python_claim_bytes: u64,
    /// Bytes of the system volume's claim; 0 if unknown, then its file system counts.
    #[serde(default)]
    pub nix_claim_bytes: u64,
    /// The volume sets, the pair of claims above first; empty if that pair is the only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_sets: Vec<VolumeSet>,
    /// Seconds after its end at which Kubernetes deletes a task's workload, if no driver has. A driver may be cut off from its
    /// cluster for this long without losing a task.
    pub ttl_s: u32,
    /// Seconds that a pod may wait for a node and its image before the task is given up.
    pub start_s: u64,
    /// Variables for the user's program.
    pub task_variables: Vec<(String, String)>,
    /// How many pods are started ahead for cached tasks; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyRange>,
    /// If present, tasks run as Argo Workflows; otherwise as Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argo: Option<Argo>,
    /// Where pods run and what they need there: nodes, RuntimeClass, logins of registries.
    #[serde(default, skip_serializing_if = "PodPlacement::is_empty")]
    pub placement: PodPlacement,
    /// Interpreters that standby pods prepare. Without standby pods they mean nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<PreparedInterpreter>,
    /// The most that a task may ask for; an amount that is not set is the limit in `task_resources`.
    #[serde(default, skip_serializing_if = "TaskResources::is_empty")]
    pub task_maximum: TaskResources,
}

/// A pair of claims with its budget. An environment is on one set, and a task runs where its environment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSet {
    /// Its number as text; the value of the label `hybrid-cache.dev/set` of its pods.
    pub name: String,
    /// PersistentVolumeClaim of the Python volume.
    pub python_claim: String,
    /// PersistentVolumeClaim of the system volume.
    pub nix_claim: String,
    /// Bytes of the Python volume's claim; 0 if unknown, then its file system counts.
    #[serde(default)]
    pub python_claim_bytes: u64,
    /// Bytes of the system volume's claim; 0 if unknown, then its file system counts.
    #[serde(default)]
    pub nix_claim_bytes: u64,
    /// True for block storage that is attached to the node of its pods. Then pods of the set are kept on one node by affinity;
    /// otherwise the volume's own node affinity places them.
    #[serde(default)]
    pub follows_pods: bool,
}

/// What tasks as Workflows need in addition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argo {
    /// ServiceAccount of the container that Argo adds to a pod: it may create and patch WorkflowTaskResults.
    pub executor_account: String,
    /// What each container that Argo adds may use.
    pub executor_resources: Resources,
}

/// Requests and limits of one container, in Kubernetes' own notation (`500m`, `1Gi`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU that the scheduler sets aside.
    pub cpu_request: String,
    /// CPU it may use at most.
    pub cpu_limit: String,
    /// Memory that the scheduler sets aside.
    pub memory_request: String,
    /// Memory it may use at most.
    pub memory_limit: String,
    /// Disk space of its emptyDirs and its log at most.
    pub disk_limit: String,
}

impl KubeConfig {
    /// The volume sets, at least one: those that are listed, or the one pair of claims.
    pub fn sets(&self) -> Vec<VolumeSet> {
        if !self.volume_sets.is_empty() {
            return self.volume_sets.clone();
        }
        vec![VolumeSet {
            name: FIRST_SET.to_owned(),
            python_claim: self.python_claim.clone(),
            nix_claim: self.nix_claim.clone(),
            python_claim_bytes: self.python_claim_bytes,
            nix_claim_bytes: self.nix_claim_bytes,
            follows_pods: false,
        }]
    }

    /// One set by its place in [`KubeConfig::sets`]; the first one if there is no such place.
    pub fn set(&self, place: usize) -> VolumeSet {
        let mut sets = self.sets();
        let place = if place < sets.len() { place } else { 0 };
        sets.swap_remove(place)
    }

    /// The name that objects of a set carry; `None` if nothing needs to tell the sets apart.
    pub(in crate::kube) fn mark(&self, set: usize) -> Option<String> {
        let is_marked = self.volume_sets.len() > 1 || self.set(set).follows_pods;
        is_marked.then(|| self.set(set).name)
    }

    /// How much each volume of a set may hold.
    pub fn budgets(&self, set: &VolumeSet) -> Budgets {
        let asked = BudgetRequest::from_settings(self.budget_bytes, self.budget_inodes);
        Budgets::both(asked).on_claims(set.python_claim_bytes, set.nix_claim_bytes)
    }

    /// Checks what Kubernetes would refuse only once a task is submitted.
    ///
    /// # Errors
    /// A resource is not a quantity, or the volume sets contradict each other.
    pub(in crate::kube) fn check(&self) -> Result<(), Failure> {
        if self.standby.is_some() && self.argo.is_some() {
            let message = "standby pods replace Jobs, and this driver runs tasks as Workflows of Argo";
            return Err(Failure::new(FailureKind::Refused, message)
                .hint("leave standby pods out, or run tasks as Jobs: `--driver kube`"));
        }
        self.check_sets()?;
        let executor = self.argo.as_ref().map(|argo| ("executor", &argo.executor_resources));
        let ours = [("task", &self.task_resources), ("prepare", &self.prepare_resources)];
        for (whose, resources) in ours.into_iter().chain(executor) {
            let all = [
                ("CPU request", &resources.cpu_request),
                ("CPU limit", &resources.cpu_limit),
                ("memory request", &resources.memory_request),
                ("memory limit", &resources.memory_limit),
                ("disk limit", &resources.disk_limit),
            ];
            if let Some((what, text)) = all.into_iter().find(|(_, text)| quantity::value(text).is_none()) {
                let message = format!("the {what} of the {whose} container is {text:?}, which is not a quantity");
                return Err(Failure::new(FailureKind::Refused, message)
                    .hint("write it as Kubernetes does, such as `500m` or `2` for CPUs, `512Mi` or `2Gi` for bytes"));
            }
        }
        for entry in &self.prepared {
            entry.check_packages()?;
            let modules = entry.imports.iter().map(|name| prepared::check_module(name));
            let is_number = (1..=prepared::MAX_PODS).contains(&entry.pods);
            if let Some(refusal) = modules.filter_map(Result::err).next() {
                return Err(Failure::new(FailureKind::Refused, refusal.message).hint(refusal.hint));
            }
            if !is_number || self.prepared.len() > prepared::MAX_ENTRIES {
                let message = "a prepared interpreter has an impossible number of pods, or there are too many of them";
                return Err(Failure::new(FailureKind::Refused, message)
                    .hint("correct `pods.preparedInterpreters` in the operator's settings"));
            }
        }
        if let Some((kind, text)) = self
            .task_maximum
            .amounts()
            .find(|(kind, text)| kind.check(text).is_err())
        {
            let message = format!(
                "the most {} that a task may ask for is {text:?}, which is not an amount",
                kind.name()
            );
            return Err(Failure::new(FailureKind::Refused, message)
                .hint("correct `pods.taskResources.maximum` in the operator's settings"));
        }
        Ok(())
    }

    fn check_sets(&self) -> Result<(), Failure> {
        let mut faults = Vec::new();
        let (mut names, mut claims) = (HashSet::new(), HashSet::new());
        for set in &self.volume_sets {
            let name = &set.name;
            if !is_label(name) {
                faults.push(format!("{name:?} cannot be the value of a label"));
            }
            if !names.insert(name) {
                faults.push(format!("two sets have the name {name:?}"));
            }
            for claim in [&set.python_claim, &set.nix_claim] {
                if !claims.insert(claim) {
                    faults.push(format!("the claim {claim:?} is used twice"));
                }
            }
        }
        if let Some(first) = self.volume_sets.first()
            && (&first.python_claim, &first.nix_claim) != (&self.python_claim, &self.nix_claim)
        {
            faults.push(format!(
                "the first set has the claims {:?} and {:?} instead of {:?} and {:?}",
                first.python_claim, first.nix_claim, self.python_claim, self.nix_claim
            ));
        }
        if faults.is_empty() {
            return Ok(());
        }
        let message = format!("the volume sets cannot be used: {}", faults.join("; "));
        Err(Failure::new(FailureKind::Refused, message).hint(
            "give each set in `volume_sets` a name and two claims of its own, the first one `python_claim` and `nix_claim`",
        ))
    }
}

/// True for what Kubernetes accepts as the value of a label, in lower case.
fn is_label(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let has_dash = text.starts_with('-') || text.ends_with('-');
    !text.is_empty() && text.len() <= MAX_LABEL_BYTES && text.chars().all(is_inner) && !has_dash
}

#[cfg(test)]
pub(in crate::kube) mod tests {
    use super::*;

    /// A configuration with every field set.
    pub fn config() -> KubeConfig {
        let resources = |cpu_limit: &str| Resources {
            cpu_request: "100m".to_owned(),
            cpu_limit: cpu_limit.to_owned(),
            memory_request: "128Mi".to_owned(),
            memory_limit: "1Gi".to_owned(),
            disk_limit: "2Gi".to_owned(),
        };
        KubeConfig {
            namespace: "tasks".to_owned(),
            image: "nix-portable-base:latest".to_owned(),
            python_claim: "uv-cache-pvc".to_owned(),
            nix_claim: "nix-store-pvc".to_owned(),
            service_account: "task".to_owned(),
            identity: Identity { uid: 10001, gid: 10001 },
            task_resources: resources("1500m"),
            prepare_resources: resources("2"),
            certificates: None,
            network: NetworkSettings {
                index: "default".to_owned(),
                python_variables: vec![("UV_DEFAULT_INDEX".to_owned(), "secret of the index".to_owned())],
                ..NetworkSettings::default()
            },
            max_age_s: 604_800,
            budget_bytes: 0,
            budget_inodes: 0,
            python_claim_bytes: 0,
            nix_claim_bytes: 0,
            volume_sets: Vec::new(),
            ttl_s: 600,
            start_s: 120,
            task_variables: vec![("TZ".to_owned(), "UTC".to_owned())],
            standby: None,
            argo: None,
            placement: PodPlacement::default(),
            prepared: Vec::new(),
            task_maximum: TaskResources::default(),
        }
    }

    /// The same with so many volume sets, named by number.
    pub fn with_sets(config: KubeConfig, count: usize) -> KubeConfig {
        let set = |number: usize| {
            let suffix = if number == 0 {
                String::new()
            } else {
                format!("-{number}")
            };
            VolumeSet {
                name: number.to_string(),
                python_claim: format!("{}{suffix}", config.python_claim),
                nix_claim: format!("{}{suffix}", config.nix_claim),
                python_claim_bytes: 0,
                nix_claim_bytes: 0,
                follows_pods: false,
            }
        };
        KubeConfig {
            volume_sets: (0..count).map(set).collect(),
            ..config
        }
    }

    /// The same, for Workflows.
    pub fn argo() -> KubeConfig {
        let config = config();
        KubeConfig {
            argo: Some(Argo {
                executor_account: "executor".to_owned(),
                executor_resources: config.task_resources.clone(),
            }),
            ..config
        }
    }

    /// The same, with an operator's wishes for pods.
    pub fn placed() -> KubeConfig {
        let placement = serde_json::json!({
            "nodeSelector": {"pool": "tasks"},
            "tolerations": [{"key": "dedicated", "value": "tasks", "effect": "NoSchedule"}, {"operator": "Exists",
                             "effect": "NoExecute", "tolerationSeconds": 30}],
            "runtimeClassName": "gvisor",
            "imagePullSecrets": ["registry"],
        });
        KubeConfig {
            placement: serde_json::from_value(placement).unwrap(),
            ..config()
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_a_new_one_says_nothing_that_is_not_set() {
        let mut old = serde_json::to_value(config()).unwrap();
        let fields = old.as_object_mut().unwrap();
        assert!(
            ["placement", "task_maximum"]
                .iter()
                .all(|name| !fields.contains_key(*name))
        );
        fields.remove("python_claim_bytes");
        assert_eq!(serde_json::from_value::<KubeConfig>(old).unwrap(), config());
        let text = serde_json::to_string(&placed()).unwrap();
        assert_eq!(serde_json::from_str::<KubeConfig>(&text).unwrap(), placed());
    }

    #[test]
    fn a_maximum_that_is_no_amount_is_named_before_any_task_is_submitted() {
        let mut config = config();
        config.task_maximum.memory = Some("8GB".to_owned());
        let reported = config.check().unwrap_err().to_string();
        for part in ["memory", "8GB", "pods.taskResources.maximum"] {
            assert!(reported.contains(part), "{reported}");
        }
    }

    #[test]
    fn a_file_of_one_pair_of_claims_reads_and_writes_as_before_and_is_one_set() {
        let text = serde_json::to_string(&config()).unwrap();
        assert!(!text.contains("volume_sets"), "{text}");
        let read: KubeConfig = serde_json::from_str(&text).unwrap();
        let sets = read.sets();
        assert_eq!(
            (sets.len(), sets[0].python_claim.as_str(), read.mark(0)),
            (1, "uv-cache-pvc", None)
        );
        assert_eq!(read, config());
        let listed = with_sets(config(), 2);
        let text = serde_json::to_string(&listed).unwrap();
        let read: KubeConfig = serde_json::from_str(&text).unwrap();
        assert_eq!((read.set(1).name, read.mark(0).as_deref()), ("1".to_owned(), Some("0")));
        listed.check().unwrap();
    }

    #[test]
    fn each_set_has_budgets_of_its_own_claims() {
        let mut sets = with_sets(config(), 2);
        sets.volume_sets[1].python_claim_bytes = 10 << 30;
        let claims = [0, 1].map(|set| sets.budgets(&sets.set(set)).python.claim_bytes);
        assert_eq!(claims, [None, Some(10 << 30)]);
    }

    #[test]
    fn all_faults_of_the_sets_are_reported_at_once() {
        let mut sets = with_sets(config(), 3);
        sets.volume_sets[0].nix_claim = "other".to_owned();
        sets.volume_sets[1].name = "A b".to_owned();
        sets.volume_sets[2].python_claim = sets.volume_sets[1].python_claim.clone();
        let said = sets.check().unwrap_err().to_string();
        for text in ["\"A b\" cannot be", "is used twice", "the first set has the claims"] {
            assert!(said.contains(text), "{said}");
        }
    }
}
