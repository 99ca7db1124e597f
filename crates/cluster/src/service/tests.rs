//! Tests of the plan for the service, and of its manifest in the checkout.

use std::collections::BTreeSet;

use hybrid_cache_model::pod::NetworkSettings;
use serde_json::json;

use super::*;
use crate::connection;

fn config() -> KubeConfig {
    connection::config_with("base:1".into(), NetworkSettings::default())
}

fn objects() -> Vec<Value> {
    let driver = driver_json(&config()).unwrap();
    manifests::service(
        &crate::tests::checkout(),
        &VolumeSource::NodeFolders,
        "service:1",
        &driver,
    )
    .unwrap()
}

fn of_kind(kind: &str) -> Value {
    let found = objects().into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn service(on_node: Option<bool>, has_token: bool, dry_runs: &DryRun, rollout: Rollout) -> Service {
    Service {
        image: "service:1".into(),
        on_node,
        has_token,
        objects: objects().into_iter().map(|object| (object, dry_runs.clone())).collect(),
        rollout,
    }
}

fn ready() -> Rollout {
    Rollout::Ready("service:1".into())
}

fn decisions(service: &Service) -> Vec<(Decision, String)> {
    let planned = service.plan(RecreatePolicy::Never);
    assert!(planned.iter().all(|planned| planned.step == "service"), "one step");
    planned
        .into_iter()
        .map(|planned| (planned.decision, planned.what))
        .collect()
}

#[test]
fn from_nothing_everything_is_made_and_a_second_time_nothing() {
    let fresh = decisions(&service(Some(false), false, &DryRun::Absent, Rollout::Absent));
    assert!(
        fresh.iter().all(|(decision, _)| *decision == Decision::Create),
        "{fresh:?}"
    );
    let what: Vec<_> = fresh.iter().map(|(_, what)| what.as_str()).collect();
    assert!(
        what[0].contains("not on the node") && what[1].contains(SERVICE_TOKEN),
        "{what:?}"
    );
    assert_eq!(what.len(), 2 + objects().len());
    for on_node in [Some(true), None] {
        let second = decisions(&service(on_node, true, &DryRun::Same, ready()));
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].0, Decision::Nothing);
    }
}

#[test]
fn a_token_that_was_deleted_is_made_again_and_a_pod_that_is_not_ready_is_waited_for() {
    let tokenless = decisions(&service(Some(true), false, &DryRun::Same, ready()));
    assert!(
        tokenless
            .iter()
            .any(|(decision, what)| *decision == Decision::Create && what.contains(SERVICE_TOKEN))
    );
    let waiting = Rollout::Waiting("no room".into());
    let waits = decisions(&service(Some(true), true, &DryRun::Same, waiting));
    assert!(
        waits
            .iter()
            .any(|(decision, what)| *decision == Decision::Change && what.contains("no room"))
    );
}

#[test]
fn tokens_are_long_and_never_twice_the_same() {
    let tokens: BTreeSet<_> = (0..8).map(|_| random_token().unwrap()).collect();
    assert_eq!(tokens.len(), 8);
    assert!(
        tokens
            .iter()
            .all(|token| hybrid_cache_service::http::Tokens::read(token).is_ok())
    );
}

#[test]
fn the_pod_asks_for_no_privilege_and_for_what_the_namespace_has() {
    let deployment = of_kind("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "service:1");
    let security = &container["securityContext"];
    assert_eq!(
        (
            &security["allowPrivilegeEscalation"],
            &security["readOnlyRootFilesystem"]
        ),
        (&json!(false), &json!(true))
    );
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    for bound in ["requests", "limits"] {
        assert!(
            container["resources"][bound]["memory"].is_string() && container["resources"][bound]["cpu"].is_string()
        );
    }
    // 5 s for requests, 30 s each for background work and for tasks.
    let grace = hybrid_cache_service::host::REQUESTS.as_secs() + 60;
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > grace);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "http");
    }
    assert_eq!(container["ports"][0], json!({"name": "http", "containerPort": 8000}));
    assert_eq!(of_kind("Service")["spec"]["ports"][0]["port"], 8000);
}

#[test]
fn what_tasks_and_the_sweep_of_the_driver_select_is_none_of_the_services() {
    let (key, _) = crate::names::DRIVER_LABEL.split_once('=').unwrap();
    let mut labels: Vec<Value> = objects()
        .iter()
        .map(|object| object["metadata"]["labels"].clone())
        .collect();
    labels.push(manifests::service_token("x")["metadata"]["labels"].clone());
    labels.push(of_kind("Deployment")["spec"]["template"]["metadata"]["labels"].clone());
    for labels in labels {
        assert!(
            labels.get(key).is_none(),
            "its network would be closed, or its Secret be swept away: {labels}"
        );
        assert_eq!(labels["app.kubernetes.io/part-of"], "hybrid-cache");
    }
    let pod = &of_kind("Deployment")["spec"]["template"]["metadata"]["labels"];
    for (kind, selector) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        let selects = of_kind(kind).pointer(selector).cloned().unwrap();
        assert_eq!(
            selects,
            json!({"app.kubernetes.io/name": pod["app.kubernetes.io/name"]}),
            "{kind}"
        );
    }
}

#[test]
fn the_account_is_the_one_with_the_rights_and_every_volume_is_there() {
    let deployment = of_kind("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let checkout = crate::tests::checkout();
    let others = manifests::objects(&checkout, &VolumeSource::NodeFolders, &Default::default()).unwrap();
    let binding = others.iter().find(|object| object["kind"] == "RoleBinding").unwrap();
    assert_eq!(binding["subjects"][0]["name"], pod["serviceAccountName"]);
    assert_eq!(pod["automountServiceAccountToken"], true);
    let sources: Vec<_> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| {
            volume
                .pointer("/secret/secretName")
                .or(volume.pointer("/persistentVolumeClaim/claimName"))?
                .as_str()
        })
        .collect();
    assert_eq!(sources, [SERVICE, SERVICE_TOKEN, "hybrid-cache-service-driver"]);
    assert_eq!(of_kind("PersistentVolumeClaim")["metadata"]["name"], SERVICE);
}

#[test]
fn what_the_file_tells_the_driver_is_what_up_tells_it() {
    let text = std::fs::read_to_string(crate::tests::checkout().path("manifests/service.yaml")).unwrap();
    let objects: Vec<Value> = serde_yaml::from_multiple(&text).unwrap();
    let json = objects[0]
        .pointer("/stringData/driver.json")
        .and_then(Value::as_str)
        .unwrap();
    let config: KubeConfig = serde_json::from_str(json).unwrap();
    let mut ours = connection::config_with("nix-portable-base:latest".into(), NetworkSettings::default());
    // `up` adds the certificates of this machine.
    ours.certificates = None;
    ours.network.index = "default".into();
    assert_eq!(config, ours);
}

#[test]
fn another_driver_configuration_starts_the_pod_anew_and_shows_nothing_of_itself() {
    let checkout = crate::tests::checkout();
    let template = |driver: &[u8]| {
        let objects = manifests::service(&checkout, &VolumeSource::NodeFolders, "service:1", driver).unwrap();
        assert!(
            objects.iter().all(|object| object.get("stringData").is_none()),
            "it would differ each time"
        );
        let deployment = objects
            .into_iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        deployment["spec"]["template"].clone()
    };
    assert_ne!(template(b"{\"secret\": 1}"), template(b"{\"secret\": 2}"));
    assert!(!template(b"{\"secret\": 1}").to_string().contains("c2VjcmV0"));
}
