//! The ReplicaSet of a pool, and the pods that it makes.

use std::collections::BTreeMap;

use hybrid_cache_model::pod::{PREPARED_VARIABLE, PreparedSetup, STANDBY_FOLDER};
use hybrid_cache_model::prepared::PreparedInterpreter;
use hybrid_cache_model::{CachePolicy, Tenant, quantity};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{EnvVar, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::kube::config::{KubeConfig, Resources};
use crate::kube::names::{self, Component, TASK_CONTAINER};
use crate::kube::pod::affinity;
use crate::kube::pod::containers::{PodParts, container, pod_spec};
use crate::kube::pod::request::{self, Freshness};
use crate::kube::pod::variant::PodVariant;
use crate::kube::pod::volumes::{self, CacheMounts, MountAccess};
use crate::kube::standby::range::StandbyRange;
use crate::needs::Needs;
use crate::{Epoch, SubmitOptions};

/// CPU that the scheduler sets aside for a pod that waits. Its limit is that of a task.
const IDLE_CPU_REQUEST: &str = "20m";
/// Hexadecimal digits of a template's hash in the name of its pool.
const HASH_DIGITS: usize = 12;

/// Whose caches the pods of a pool mount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The epoch.
    pub epoch: Epoch,
    /// The tenant.
    pub tenant: Tenant,
    /// The place of the volume set.
    pub set: usize,
    /// The interpreter that its pods prepare; `None` for pods that take any cached task.
    pub prepared: Option<PreparedInterpreter>,
}

impl PoolKey {
    /// The standing caches of the tenant that has no name of its own, on the first volume set.
    pub fn standing() -> PoolKey {
        PoolKey {
            epoch: Epoch::Standing,
            tenant: Tenant::default(),
            set: 0,
            prepared: None,
        }
    }
}

/// The pools whose pods prepare an interpreter, and how many pods each has. They have the standing caches of the tenant without a name.
pub fn prepared_pools(config: &KubeConfig) -> impl Iterator<Item = (PoolKey, StandbyRange)> {
    let sets = 0..config.sets().len();
    let pairs = sets.flat_map(|set| config.prepared.iter().map(move |prepared| (set, prepared)));
    pairs.filter_map(|(set, prepared)| {
        let key = PoolKey {
            set,
            prepared: Some(prepared.clone()),
            ..PoolKey::standing()
        };
        Some((key, prepared.pods.to_string().parse().ok()?))
    })
}

/// The packages for which a pool prepares an interpreter: the annotation [`names::PREPARED`] of its ReplicaSet.
pub fn packages(key: &PoolKey) -> Option<String> {
    let entry = key.prepared.as_ref()?;
    Some(format!("{};{}", entry.dependencies, entry.system_dependencies))
}

/// The name of a pool, of its ReplicaSet, and the value of the label [`names::STANDBY`] of its pods.
pub fn name(config: &KubeConfig, key: &PoolKey) -> String {
    // A pod's specification can be written as JSON, whatever it holds.
    let template = serde_json::to_vec(&template(config, key)).unwrap_or_default();
    let hash = blake3::hash(&template).to_hex();
    format!("standby-{}", &hash[..HASH_DIGITS])
}

/// The ReplicaSet of a pool.
pub fn replica_set(config: &KubeConfig, key: &PoolKey, name: &str, replicas: u32) -> ReplicaSet {
    let selected = BTreeMap::from([(names::STANDBY.to_owned(), name.to_owned())]);
    let mut labels = names::labels(Component::Standby, name);
    labels.remove(names::TASK);
    labels.extend(selected.clone());
    labels.extend(config.mark(key.set).map(|mark| (names::SET.to_owned(), mark)));
    let mut annotations = BTreeMap::from([(names::TENANT.to_owned(), key.tenant.to_string())]);
    annotations.extend(packages(key).map(|packages| (names::PREPARED.to_owned(), packages)));
    annotations.extend(
        key.epoch
            .name()
            .map(|epoch| (names::EPOCH.to_owned(), epoch.to_owned())),
    );
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.clone()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector {
                match_labels: Some(selected),
                match_expressions: None,
            },
            template: Some(PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(template(config, key)),
            }),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}

/// A pod like that of a cached task, with both caches. Its request comes over standard input instead of from a Secret.
fn template(config: &KubeConfig, key: &PoolKey) -> PodSpec {
    let set = config.set(key.set);
    let caches = CacheMounts {
        set: &set,
        needs: Needs::BOTH,
        policy: CachePolicy::Use,
        epoch: key.epoch.name(),
        tenant: &key.tenant,
    };
    let mut pod = PodParts::default();
    for part in volumes::caches(config, &caches, MountAccess::ReadOnly) {
        pod.add(part);
    }
    for part in volumes::own(&config.task_resources, TASK_CONTAINER) {
        pod.add(part);
    }
    pod.add(volumes::started(STANDBY_FOLDER));
    pod.add_optional(volumes::certificates(config));
    let resources = Resources {
        cpu_request: quantity::smaller(IDLE_CPU_REQUEST, &config.task_resources.cpu_limit).to_owned(),
        ..config.task_resources.clone()
    };
    let mut task = container(config, TASK_CONTAINER, "pod-standby", &resources, pod.take_mounts());
    task.stdin = Some(true);
    task.env = key
        .prepared
        .as_ref()
        .and_then(|prepared| setup(config, key.set, prepared));
    // The end of the first connection ends the input, so a second one cannot send another order.
    task.stdin_once = Some(true);
    PodSpec {
        // A ReplicaSet allows nothing else. The runner of a container that is started again takes no task.
        restart_policy: Some("Always".to_owned()),
        affinity: affinity::of_set(config, key.set),
        ..pod_spec(config, vec![task], pod.volumes)
    }
}

/// What tells the runner which interpreter to prepare. `None` if the packages are none, which opening the driver refuses.
fn setup(config: &KubeConfig, set: usize, prepared: &PreparedInterpreter) -> Option<Vec<EnvVar>> {
    let spec = prepared.task();
    let task = spec.check().ok()?;
    let (options, fresh) = (SubmitOptions::default(), Freshness::Required);
    let requests = request::for_task(config, set, &spec, &task, &options, PodVariant::Warm, fresh);
    let setup = PreparedSetup {
        request: requests.task,
        imports: prepared.imports.clone(),
    };
    Some(vec![EnvVar {
        name: PREPARED_VARIABLE.to_owned(),
        value: serde_json::to_string(&setup).ok(),
        value_from: None,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::tests::{config, placed, with_sets};

    #[test]
    fn another_image_tenant_epoch_or_limit_is_another_pool() {
        let base = name(&config(), &PoolKey::standing());
        let other_image = KubeConfig {
            image: "other".to_owned(),
            ..config()
        };
        let mut other_limit = config();
        other_limit.task_resources.memory_limit = "2Gi".to_owned();
        let tenant = PoolKey {
            tenant: "team".parse().unwrap(),
            ..PoolKey::standing()
        };
        let epoch = PoolKey {
            epoch: Epoch::Fresh("epoch-a".to_owned()),
            ..PoolKey::standing()
        };
        let sets = with_sets(config(), 2);
        let [first, second] = [0, 1].map(|set| PoolKey {
            set,
            ..PoolKey::standing()
        });
        assert_ne!(name(&sets, &first), name(&sets, &second));
        let made = replica_set(&sets, &second, "standby-a", 1);
        let pod = made.spec.unwrap().template.unwrap().metadata.unwrap();
        assert_eq!(
            (
                &pod.labels.unwrap()[names::SET],
                &made.metadata.labels.unwrap()[names::SET]
            ),
            (&"1".to_owned(), &"1".to_owned())
        );
        assert_eq!(base, name(&sets, &first), "labels are not part of a pod's template");
        let others = [
            name(&other_image, &PoolKey::standing()),
            name(&other_limit, &PoolKey::standing()),
            name(&config(), &tenant),
            name(&config(), &epoch),
        ];
        let all: std::collections::HashSet<&String> = others.iter().chain([&base]).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(base, name(&config(), &PoolKey::standing()));
    }

    #[test]
    fn a_prepared_interpreter_has_pools_of_its_own_and_is_told_no_secret_and_no_program() {
        let mut config = config();
        let entry = |imports: &str| PreparedInterpreter {
            dependencies: "numpy".to_owned(),
            system_dependencies: String::new(),
            imports: vec![imports.to_owned()],
            pods: 2,
        };
        config.prepared = vec![entry("numpy"), entry("numpy.linalg")];
        let pools: Vec<(PoolKey, StandbyRange)> = prepared_pools(&config).collect();
        assert_eq!(pools.iter().map(|(_, range)| range.min()).collect::<Vec<_>>(), [2, 2]);
        let names: std::collections::HashSet<String> = pools
            .iter()
            .map(|(key, _)| key)
            .chain([&PoolKey::standing()])
            .map(|key| name(&config, key))
            .collect();
        assert_eq!(names.len(), 3);
        let set = replica_set(&config, &pools[0].0, "standby-x", 2);
        assert_eq!(set.metadata.annotations.unwrap()[names::PREPARED], "numpy;");
        let pod = template(&config, &pools[0].0);
        let variable = &pod.containers[0].env.as_ref().unwrap()[0];
        let text = variable.value.as_ref().unwrap();
        let told: PreparedSetup = serde_json::from_str(text).unwrap();
        assert_eq!(
            (variable.name.as_str(), told.imports),
            (PREPARED_VARIABLE, vec!["numpy".to_owned()])
        );
        assert_eq!(
            (
                told.request.task.python_code.as_str(),
                told.request.task.dependencies.as_str()
            ),
            ("pass", "numpy")
        );
        assert!(!text.contains("secret of the index"), "{text}");
        assert!(template(&config, &PoolKey::standing()).containers[0].env.is_none());
    }

    #[test]
    fn a_standby_pod_goes_where_the_operator_wants_it_and_a_request_never_exceeds_its_limit() {
        let mut small = placed();
        small.task_resources.cpu_limit = "10m".to_owned();
        let pod = serde_json::to_value(template(&small, &PoolKey::standing())).unwrap();
        for (pointer, value) in [
            ("/nodeSelector/pool", "tasks"),
            ("/tolerations/0/key", "dedicated"),
            ("/runtimeClassName", "gvisor"),
            ("/imagePullSecrets/0/name", "registry"),
            ("/containers/0/resources/requests/cpu", "10m"),
        ] {
            let found = pod.pointer(pointer).and_then(serde_json::Value::as_str);
            assert_eq!(found, Some(value), "{pointer}");
        }
        let [plain, elsewhere] = [config(), placed()].map(|config| name(&config, &PoolKey::standing()));
        assert_ne!(plain, elsewhere);
    }

    #[test]
    fn a_standby_pod_is_as_restricted_as_a_task_and_mounts_no_request_and_no_token() {
        let key = PoolKey::standing();
        let set = replica_set(&config(), &key, &name(&config(), &key), 3);
        insta::assert_snapshot!(serde_yaml::to_string(&set).unwrap());
    }
}
