//! The workloads that a cluster has to admit: one snapshot of each variant.

use hybrid_cache_model::TaskResources;
use hybrid_cache_model::pod::RUNNER_FILE;
use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use super::*;
use crate::kube::config::tests::{argo, config, placed, with_sets};

fn yaml(job: &Job) -> String {
    serde_yaml::to_string(job).unwrap()
}

fn task_job(config: &KubeConfig, pod: &TaskPod) -> Job {
    match task(config, pod) {
        Workload::Job(job) => *job,
        other => panic!("{other:?}"),
    }
}

fn task_of(variant: PodVariant, python: bool, system: bool) -> TaskPod<'static> {
    TaskPod {
        id: "task-abcdefghij",
        name: "task-abcdefghij",
        variant,
        needs: Needs { python, system },
        cache: CachePolicy::Use,
        set: 0,
        epoch: None,
        tenant: Tenant::default(),
        time_ms: 600_000,
        prepare_ms: 900_000,
        token: Some("0123456789abcdef0123456789abcdef"),
    }
}

#[test]
fn a_warm_task_is_one_container_that_writes_no_cache() {
    insta::assert_snapshot!(yaml(&task_job(&config(), &task_of(PodVariant::Warm, true, true))));
}

#[test]
fn a_prepared_task_has_a_second_container_that_runs_no_user_code() {
    let config = KubeConfig {
        certificates: Some("certificates".to_owned()),
        ..config()
    };
    let job = TaskPod {
        name: "task-abcdefghij-p",
        epoch: Some("first-1"),
        ..task_of(PodVariant::Prepared, true, true)
    };
    insta::assert_snapshot!(yaml(&task_job(&config, &job)));
}

#[test]
fn a_task_without_the_cache_leaves_nothing_behind() {
    let job = TaskPod {
        cache: CachePolicy::Bypass,
        ..task_of(PodVariant::Prepared, true, false)
    };
    insta::assert_snapshot!(yaml(&task_job(&config(), &job)));
}

#[test]
fn a_building_task_has_a_third_container_that_writes_nothing_shared() {
    let pod = TaskPod {
        name: "task-abcdefghij-b",
        ..task_of(PodVariant::Building, true, true)
    };
    let job = task_job(&config(), &pod);
    insta::assert_snapshot!(yaml(&job));
    let spec = job.spec.unwrap().template.spec.unwrap();
    let mounts = |name: &str| -> Vec<VolumeMount> {
        let found = spec.containers.iter().find(|container| container.name == name).unwrap();
        found.volume_mounts.clone().unwrap()
    };
    let others = [mounts(TASK_CONTAINER), mounts(PREPARE_CONTAINER)].concat();
    for mount in mounts(BUILD_CONTAINER)
        .into_iter()
        .filter(|mount| mount.read_only.is_none())
    {
        assert!(others.iter().all(|other| other.name != mount.name), "{mount:?}");
    }
    assert!(
        mounts(BUILD_CONTAINER)
            .iter()
            .all(|mount| mount.name != "python" && mount.name != "handover")
    );
    assert!(mounts(TASK_CONTAINER).iter().all(|mount| mount.name != "builds"));
}

#[test]
fn a_pod_goes_where_the_operator_wants_it_with_what_the_task_asks_for() {
    let asked = TaskResources {
        cpu: Some("1".to_owned()),
        memory: Some("512Mi".to_owned()),
        disk: None,
    };
    let config = placed();
    let config = config.for_task(&asked);
    insta::assert_snapshot!(yaml(&task_job(&config, &task_of(PodVariant::Prepared, true, true))));
}

#[test]
fn every_pod_of_ours_goes_where_the_operator_wants_it() {
    let placement = |job: &Job| {
        let pod = job.spec.clone().unwrap().template.spec.unwrap();
        (
            pod.node_selector,
            pod.tolerations,
            pod.runtime_class_name,
            pod.image_pull_secrets,
        )
    };
    let placed = placed();
    let expected = placement(&task_job(&placed, &task_of(PodVariant::Warm, true, true)));
    assert!(expected.0.is_some() && expected.1.is_some() && expected.2.is_some() && expected.3.is_some());
    let others = [
        task_job(&placed, &task_of(PodVariant::Prepared, true, true)),
        task_job(&placed, &task_of(PodVariant::Building, true, true)),
        maintenance_job(&placed, 0, "maintain-abc", None, true, 60),
        maintenance_job(&placed, 0, "maintain-abc", Some("first-1"), false, 60),
    ];
    for job in &others {
        assert_eq!(placement(job), expected);
    }
    let nothing = placement(&task_job(&config(), &task_of(PodVariant::Building, true, true)));
    assert_eq!(nothing, (None, None, None, None));
}

#[test]
fn a_task_of_code_alone_mounts_no_volume() {
    let job = yaml(&task_job(&config(), &task_of(PodVariant::Warm, false, false)));
    assert!(!job.contains("persistentVolumeClaim"), "{job}");
}

#[test]
fn a_maintenance_command_for_epochs_mounts_whole_volumes() {
    insta::assert_snapshot!(yaml(&maintenance_job(&config(), 0, "maintain-abc", None, true, 60)));
}

#[test]
fn no_container_of_any_form_has_more_rights_than_pod_security_restricted_grants() {
    for variant in [PodVariant::Warm, PodVariant::Prepared, PodVariant::Building] {
        let spec = task_job(&config(), &task_of(variant, true, true))
            .spec
            .unwrap()
            .template
            .spec
            .unwrap();
        for container in &spec.containers {
            let security = container.security_context.clone().unwrap();
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
            assert!(security.privileged.is_none());
            let variables = container.env.iter().flatten().map(|variable| variable.name.as_str());
            let own: &[&str] = if container.name == TASK_CONTAINER {
                &[TRAILER_VARIABLE]
            } else {
                &[]
            };
            assert_eq!(
                variables.collect::<Vec<_>>(),
                own,
                "nothing of the request is in a variable"
            );
        }
        assert_eq!(spec.security_context.unwrap().run_as_non_root, Some(true));
        assert_eq!(spec.automount_service_account_token, Some(false));
        let task = &spec.containers[0];
        let writable = task
            .volume_mounts
            .iter()
            .flatten()
            .filter(|mount| mount.read_only.is_none());
        let writable: Vec<&str> = writable.map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(writable, ["/scratch", "/tmp"]);
    }
}

#[test]
fn a_secret_holds_the_request_and_cannot_change() {
    let data = BTreeMap::from([(TASK_KEY.to_owned(), ByteString(b"{}".to_vec()))]);
    let secret = secret(Component::Task, "task-a", "task-a-p", data);
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.metadata.labels.unwrap()[names::TASK], "task-a");
}

fn workflow(variant: PodVariant, epoch: Option<&'static str>) -> String {
    workflow_of(&argo(), variant, epoch)
}

fn workflow_of(config: &KubeConfig, variant: PodVariant, epoch: Option<&'static str>) -> String {
    let pod = TaskPod {
        epoch,
        token: None,
        ..task_of(variant, true, true)
    };
    serde_yaml::to_string(match &task(config, &pod) {
        Workload::Workflow(workflow) => workflow,
        other => panic!("{other:?}"),
    })
    .unwrap()
}

#[test]
fn a_warm_workflow_is_the_same_pod_and_what_argo_is_told_of_its_own() {
    insta::assert_snapshot!(workflow(PodVariant::Warm, None));
}

#[test]
fn a_prepared_workflow_has_its_preparing_container_in_the_set() {
    insta::assert_snapshot!(workflow(PodVariant::Prepared, Some("first-1")));
}

#[test]
fn a_workflow_goes_where_the_operator_wants_it() {
    let config = KubeConfig {
        placement: placed().placement,
        ..argo()
    };
    insta::assert_snapshot!(workflow_of(&config, PodVariant::Warm, None));
}

#[test]
fn a_workflow_differs_from_a_job_in_how_the_runner_is_started_alone() {
    for variant in [PodVariant::Warm, PodVariant::Prepared, PodVariant::Building] {
        let pod = TaskPod {
            token: None,
            ..task_of(variant, true, true)
        };
        let Workload::Workflow(workflow) = task(&argo(), &pod) else {
            panic!("it is a Job");
        };
        let of_job = task_job(&config(), &pod).spec.unwrap().template.spec.unwrap();
        let template = &workflow.spec["templates"][0];
        let containers: Vec<Container> =
            serde_json::from_value(template["containerSet"]["containers"].clone()).unwrap();
        let without_command = containers.into_iter().map(|container| {
            assert_eq!(container.command, Some(vec![RUNNER_FILE.to_owned()]));
            Container {
                command: None,
                ..container
            }
        });
        assert_eq!(without_command.collect::<Vec<_>>(), of_job.containers);
        let volumes: Vec<Volume> = serde_json::from_value(template["volumes"].clone()).unwrap();
        assert_eq!(Some(volumes), of_job.volumes);
        assert_eq!(workflow.spec["automountServiceAccountToken"], false);
    }
}

/// Two sets on block storage, with and without standby pods.
fn following(standby: Option<&str>) -> KubeConfig {
    let mut config = with_sets(config(), 2);
    config.volume_sets[1].follows_pods = true;
    config.standby = standby.map(|range| range.parse().unwrap());
    config
}

#[test]
fn a_task_of_a_set_mounts_its_claims_and_is_placed_by_them() {
    let pod = TaskPod {
        set: 1,
        ..task_of(PodVariant::Warm, true, true)
    };
    let job = task_job(&with_sets(config(), 2), &pod);
    let text = yaml(&job);
    assert!(text.contains("claimName: uv-cache-pvc-1") && text.contains("claimName: nix-store-pvc-1"));
    assert_eq!(text.matches("hybrid-cache.dev/set: \"1\"").count(), 3, "{text}");
    assert!(!text.contains("affinity"), "{text}");
}

#[test]
fn a_task_on_block_storage_goes_to_the_pods_of_its_set() {
    let pod = TaskPod {
        set: 1,
        ..task_of(PodVariant::Prepared, true, true)
    };
    insta::assert_snapshot!(yaml(&task_job(&following(Some("1")), &pod)));
    let preferred = yaml(&task_job(&following(None), &pod));
    assert!(preferred.contains("preferredDuringScheduling") && !preferred.contains("requiredDuringScheduling"));
    let maintenance = yaml(&maintenance_job(
        &following(Some("1")),
        1,
        "maintain-abc",
        None,
        true,
        60,
    ));
    assert!(maintenance.contains("requiredDuringScheduling") && maintenance.contains("uv-cache-pvc-1"));
    let other = TaskPod { set: 0, ..pod };
    assert!(!yaml(&task_job(&following(Some("1")), &other)).contains("affinity"));
}

#[test]
fn a_task_that_mounts_no_volume_belongs_to_no_node() {
    for (cache, python) in [(CachePolicy::Use, false), (CachePolicy::Bypass, true)] {
        let pod = TaskPod {
            set: 1,
            cache,
            ..task_of(PodVariant::Warm, python, false)
        };
        let job = task_job(&following(Some("1")), &pod);
        let text = yaml(&job);
        assert!(
            !text.contains("affinity") && !text.contains("persistentVolumeClaim"),
            "{text}"
        );
        // Its set is noted for who adopts it, but attracts no pod.
        assert_eq!(job.metadata.annotations.unwrap()[names::SET], "1");
        assert!(!job.metadata.labels.unwrap().contains_key(names::SET));
    }
}

#[test]
fn a_workflow_of_a_set_has_its_affinity() {
    let config = KubeConfig {
        argo: argo().argo,
        ..following(None)
    };
    let pod = TaskPod {
        set: 1,
        token: None,
        ..task_of(PodVariant::Warm, true, true)
    };
    let Workload::Workflow(workflow) = task(&config, &pod) else {
        panic!("it is a Job");
    };
    let terms = "/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution";
    assert!(workflow.spec.pointer(terms).is_some(), "{}", workflow.spec);
    assert_eq!(workflow.spec["podMetadata"]["labels"][names::SET], "1");
}
