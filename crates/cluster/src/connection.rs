//! Connects to a running cluster: its API server and the settings of the driver. `bench`, `run`, `status` and `doctor` use it.

use std::path::{Path, PathBuf};

use hybrid_cache_driver::kube::{Argo, KubeConfig, KubeDriver, Resources};
use hybrid_cache_driver::local::config::DEFAULT_MAX_AGE_S;
use hybrid_cache_driver::trace;
use hybrid_cache_image::task_image as image;
use hybrid_cache_model::placement::PodPlacement;
use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::quantity;
use hybrid_cache_model::resources::{ResourceKind, TaskResources};
use hybrid_cache_model::settings::PodSettings;
use hybrid_cache_tools::{Checkout, Error, OperatorSettings, Result, TaskNetwork, default_root, network_settings};

use crate::api::ClusterApi;
use crate::facts::ClaimFacts;
use crate::names::{CERTIFICATES, EXECUTOR_ACCOUNT, NAMESPACE, NIX_CLAIM, OWNER, PYTHON_CLAIM, TASK_ACCOUNT};
use crate::options::{ClusterChoice, StandbyChoice};
use crate::resource_kinds;
use crate::setup_record::SetupRecord;
use crate::state::StateFolder;
use crate::volume_sets;

/// Seconds after which Kubernetes deletes a task that has ended and whose result no driver has fetched. The API server may be out
/// of a driver's reach for this long. A driver deletes a task that it saw end at once.
const TTL_S: u32 = 24 * 3600;
/// Seconds that a pod may wait for a node and its image.
const START_S: u64 = 120;

/// The API server of a running cluster, and the settings of the driver on it.
pub struct ClusterConnection {
    /// Client of the API server.
    pub api: ClusterApi,
    /// Settings of the driver.
    pub config: KubeConfig,
}

impl ClusterConnection {
    /// Opens the cluster that `up` made, or the one that a context names. Sends no request to the cluster yet.
    ///
    /// # Errors
    /// There is no such cluster or context, or the machine's settings cannot be read.
    pub async fn open(checkout: &Checkout, choice: &ClusterChoice) -> Result<ClusterConnection> {
        let api = api(choice).await?;
        let mut config = config(checkout, choice.settings.as_deref()).await?;
        config.namespace.clone_from(&api.namespace);
        Ok(ClusterConnection { api, config })
    }

    /// Gives the driver its standby pods. Returns true if no `up` has recorded any, so that they end with the driver.
    pub async fn choose_standby(&mut self, choice: StandbyChoice) -> bool {
        if choice == StandbyChoice::None {
            return false;
        }
        // An account that may not read the record has none; a server that does not answer is noticed when the driver opens.
        let recorded = SetupRecord::read(&self.api).await.unwrap_or_default().standby;
        self.config.standby = match choice {
            StandbyChoice::Pods(range) => Some(range),
            StandbyChoice::Recorded | StandbyChoice::None => recorded,
        };
        recorded.is_none() && self.config.standby.is_some()
    }

    /// Checks that Workflows can be created in the cluster.
    ///
    /// # Errors
    /// The API server does not know Workflows, or does not answer.
    pub async fn needs_argo(&self) -> Result<()> {
        if self.api.knows(resource_kinds::WORKFLOW).await? {
            return Ok(());
        }
        Err(Error::prerequisite(format!(
            "Argo Workflows is not installed in the cluster at {}\nhint: `cargo xtask up --with-argo` brings it into a kind \
             cluster; into another one its administrator does",
            self.api.address
        )))
    }

    /// Opens the driver.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn driver(&self) -> Result<KubeDriver> {
        // If this account may not read claims, use the sizes of the claims' file systems.
        let (claims, record) = tokio::join!(self.api.claims(&self.api.namespace), SetupRecord::read(&self.api));
        let (claims, record) = (claims.unwrap_or_default(), record.unwrap_or_default());
        let sets = (record.sets(), record.follows_pods);
        self.api.driver(on_claims(self.config.clone(), &claims, sets)).await
    }
}

/// The folder of this machine in which requests to a cluster are recorded.
///
/// # Errors
/// The name cannot be a cluster's, or the user has no cache folder.
pub fn trace_folder(choice: &ClusterChoice) -> Result<PathBuf> {
    let folder = match &choice.context {
        // This is the only thing we keep of a cluster that is not ours.
        Some(context) => {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let name = format!("{context}.{}", choice.namespace);
            let name: String = name
                .chars()
                .map(|c| if good(c) || c == '.' { c } else { '_' })
                .collect();
            default_root()?.join("contexts").join(name.trim_start_matches('.'))
        }
        None => StateFolder::for_cluster(&choice.name)?.root().to_owned(),
    };
    Ok(folder.join(trace::FOLDER))
}

/// Returns the settings with so many volume sets, and with budgets for claims of the size that these have, or request. The second of
/// `sets` is true if the volumes attach to the node of the pod that mounts them.
pub fn on_claims(config: KubeConfig, claims: &[ClaimFacts], sets: (u32, bool)) -> KubeConfig {
    let size = |name: &str| {
        let claim = claims.iter().find(|claim| claim.name == name);
        claim.map_or(0, ClaimFacts::bytes)
    };
    KubeConfig {
        python_claim_bytes: size(&config.python_claim),
        nix_claim_bytes: size(&config.nix_claim),
        volume_sets: volume_sets::driver_sets(claims, sets.0, sets.1),
        ..config
    }
}

/// The API server of a running cluster.
///
/// # Errors
/// There is no such cluster or context.
pub async fn api(choice: &ClusterChoice) -> Result<ClusterApi> {
    if let Some(context) = &choice.context {
        let api = ClusterApi::from_context(context).await.map_err(|error| {
            Error::prerequisite(format!(
                "{error:#}\nhint: check KUBECONFIG; `kubectl config get-contexts` lists the contexts"
            ))
        });
        return Ok(api?.within(&choice.namespace));
    }
    api_of_kubeconfig(&choice.name, &StateFolder::for_cluster(&choice.name)?.kubeconfig()).await
}

/// The API server of the kind cluster that our own kubeconfig names.
///
/// # Errors
/// There is no such cluster.
pub async fn api_of_kubeconfig(name: &str, kubeconfig: &Path) -> Result<ClusterApi> {
    if !kubeconfig.is_file() {
        let message = format!("there is no cluster {name:?} on this machine");
        return Err(Error::prerequisite(format!(
            "{message}\nhint: `cargo xtask up` makes it"
        )));
    }
    ClusterApi::from_kubeconfig(kubeconfig).await
}

/// Settings of the driver for any cluster of this checkout and this machine, with the operator's settings of a file.
///
/// # Errors
/// No image was built yet, or the machine's settings cannot be read.
pub async fn config(checkout: &Checkout, settings: Option<&Path>) -> Result<KubeConfig> {
    let image = image::reference(checkout).ok_or_else(|| {
        Error::prerequisite("there is no image that tasks could run in\nhint: `cargo xtask up` builds it")
    })?;
    let config = config_with(image, network_settings(checkout, settings).await?);
    Ok(with_pods(config, &OperatorSettings::read(settings)?.pods))
}

/// The settings with what an operator's file says of pods. A request never exceeds its limit, and a limit that the file does not
/// name never exceeds the maximum.
pub fn with_pods(config: KubeConfig, pods: &PodSettings) -> KubeConfig {
    let (limits, requests, most) = (&pods.limits, &pods.requests, &pods.maximum);
    let limit = |kind: ResourceKind, default: &str| match (limits.get(kind), most.get(kind)) {
        (Some(limit), _) => limit.to_owned(),
        (None, most) => quantity::smaller(default, most.unwrap_or(default)).to_owned(),
    };
    let request = |kind: ResourceKind, default: &str, limit: &str| {
        quantity::smaller(requests.get(kind).unwrap_or(default), limit).to_owned()
    };
    let default = &config.task_resources;
    let cpu_limit = limit(ResourceKind::Cpu, &default.cpu_limit);
    let memory_limit = limit(ResourceKind::Memory, &default.memory_limit);
    KubeConfig {
        task_resources: Resources {
            cpu_request: request(ResourceKind::Cpu, &default.cpu_request, &cpu_limit),
            memory_request: request(ResourceKind::Memory, &default.memory_request, &memory_limit),
            disk_limit: limit(ResourceKind::Disk, &default.disk_limit),
            cpu_limit,
            memory_limit,
        },
        task_maximum: most.clone(),
        placement: pods.placement.clone(),
        prepared: pods.prepared.clone(),
        ..config
    }
}

/// Settings of the driver for an image and a network that are already known.
pub fn config_with(image: String, network: NetworkSettings) -> KubeConfig {
    let tasks = TaskNetwork::in_pods(&network);
    KubeConfig {
        namespace: NAMESPACE.to_owned(),
        image,
        python_claim: PYTHON_CLAIM.to_owned(),
        nix_claim: NIX_CLAIM.to_owned(),
        service_account: TASK_ACCOUNT.to_owned(),
        identity: Identity { uid: OWNER, gid: OWNER },
        task_resources: resources(["250m", "1"], ["256Mi", "1Gi"], "1Gi"),
        prepare_resources: resources(["250m", "2"], ["512Mi", "3Gi"], "4Gi"),
        certificates: Some(CERTIFICATES.to_owned()),
        network,
        max_age_s: DEFAULT_MAX_AGE_S,
        budget_bytes: 0,
        budget_inodes: 0,
        python_claim_bytes: 0,
        nix_claim_bytes: 0,
        volume_sets: Vec::new(),
        ttl_s: TTL_S,
        start_s: START_S,
        task_variables: tasks.variables,
        standby: None,
        argo: None,
        placement: PodPlacement::default(),
        prepared: Vec::new(),
        task_maximum: TaskResources::default(),
    }
}

/// Requests and limits.
fn resources(cpu: [&str; 2], memory: [&str; 2], disk: &str) -> Resources {
    Resources {
        cpu_request: cpu[0].to_owned(),
        cpu_limit: cpu[1].to_owned(),
        memory_request: memory[0].to_owned(),
        memory_limit: memory[1].to_owned(),
        disk_limit: disk.to_owned(),
    }
}

/// Settings of a driver that runs tasks as Workflows.
pub fn with_argo(config: KubeConfig) -> KubeConfig {
    KubeConfig {
        argo: Some(Argo {
            executor_account: EXECUTOR_ACCOUNT.to_owned(),
            executor_resources: resources(["10m", "1"], ["32Mi", "256Mi"], "512Mi"),
        }),
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> KubeConfig {
        let pods = hybrid_cache_model::settings::Settings::from_yaml(text).unwrap().pods;
        with_pods(config_with("base:1".into(), NetworkSettings::default()), &pods)
    }

    #[test]
    fn a_file_that_says_nothing_of_pods_changes_nothing() {
        assert_eq!(with("{}"), config_with("base:1".into(), NetworkSettings::default()));
    }

    #[test]
    fn the_example_is_read_and_its_amounts_are_the_defaults() {
        let text = std::fs::read_to_string(crate::tests::checkout().path("manifests/settings.yaml")).unwrap();
        let config = with(&text);
        let ours = config_with("base:1".into(), NetworkSettings::default());
        assert_eq!(config.task_resources, ours.task_resources);
        assert!(!config.placement.is_empty() && !config.task_maximum.is_empty());
    }

    #[test]
    fn what_a_file_says_of_pods_is_the_drivers_and_what_it_leaves_out_fits() {
        let config = with(
            "pods:\n  nodeSelector: {pool: tasks}\n  imagePullSecrets: [registry]\n  taskResources:\n    \
             requests: {memory: 64Mi}\n    limits: {cpu: 100m}\n    maximum: {memory: 512Mi, disk: 8Gi}\n",
        );
        let expected = Resources {
            cpu_request: "100m".into(),
            cpu_limit: "100m".into(),
            memory_request: "64Mi".into(),
            memory_limit: "512Mi".into(),
            disk_limit: "1Gi".into(),
        };
        assert_eq!(config.task_resources, expected);
        assert_eq!(config.task_maximum.shown(), "memory 512Mi, disk 8Gi");
        assert_eq!(config.placement.node_selector["pool"], "tasks");
        assert_eq!(config.placement.image_pull_secrets, ["registry"]);
        // Only tasks have the operator's amounts.
        let ours = config_with("base:1".into(), NetworkSettings::default());
        assert_eq!(config.prepare_resources, ours.prepare_resources);
        let larger = with("pods: {taskResources: {limits: {memory: 4Gi}}}");
        assert_eq!(
            (
                larger.task_resources.memory_request.as_str(),
                larger.task_resources.memory_limit.as_str()
            ),
            ("256Mi", "4Gi")
        );
    }
}
