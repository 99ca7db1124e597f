//! Tests of the plan for Argo Workflows, and of its manifests in the checkout.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::names::{DRIVER_LABEL, NAMESPACE, TASK_ACCOUNT};
use crate::objects::describe;

fn checkout() -> Checkout {
    crate::tests::checkout()
}

fn objects() -> Vec<Value> {
    let mut objects = manifests::argo_controller(&checkout()).unwrap();
    objects.extend(manifests::argo(&checkout()).unwrap());
    objects
}

/// The object with this kind and name.
fn named(kind: &str, name: &str) -> Value {
    let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found = objects().into_iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn rights(role: &str) -> Vec<String> {
    let role = named("Role", role);
    let rules = role["rules"].as_array().unwrap().iter();
    rules
        .map(|rule| format!("{} {} {}", rule["apiGroups"], rule["resources"], rule["verbs"]))
        .collect()
}

fn ours(held: ImageLocation, dry_runs: &DryRun, rollout: Rollout) -> Argo {
    let images = manifests::argo_images(&objects());
    let images = images.into_iter().map(|image| (image, held)).collect();
    Argo {
        source: Source::Ours { images, rollout },
        objects: objects().into_iter().map(|object| (object, dry_runs.clone())).collect(),
    }
}

fn decisions(argo: &Argo) -> Vec<(Decision, String)> {
    let planned = argo.plan(RecreatePolicy::Never);
    assert!(planned.iter().all(|planned| planned.step == STEP), "one step");
    let decided = planned.into_iter().map(|planned| (planned.decision, planned.what));
    decided.collect()
}

#[test]
fn from_nothing_everything_is_made_and_a_second_time_nothing() {
    let fresh = decisions(&ours(ImageLocation::Engine, &DryRun::Absent, Rollout::Absent));
    assert!(
        fresh.iter().all(|(decision, _)| *decision == Decision::Create),
        "{fresh:?}"
    );
    assert_eq!(fresh.len(), 2 + objects().len());
    let second = decisions(&ours(ImageLocation::Node, &DryRun::Same, Rollout::Ready("x".into())));
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].0, Decision::Nothing);
}

#[test]
fn an_image_that_is_nowhere_is_said_and_a_controller_that_is_not_ready_is_waited_for() {
    let nowhere = decisions(&ours(
        ImageLocation::Nowhere,
        &DryRun::Same,
        Rollout::Waiting("no room".into()),
    ));
    for image in manifests::argo_images(&objects()) {
        let said = nowhere.iter().find(|(_, what)| what.contains(&image)).unwrap();
        assert_eq!(said.0, Decision::Nothing, "the node's to do: {said:?}");
        assert!(said.1.contains("the node has to pull it"), "{said:?}");
    }
    let waits = nowhere.last().unwrap();
    assert_eq!(waits.0, Decision::Change);
    assert!(waits.1.contains("no room"), "{waits:?}");
}

#[test]
fn a_cluster_of_somebody_elses_must_have_argo_and_gets_none() {
    let theirs = |is_there, dry_runs: DryRun| Argo {
        source: Source::Theirs { is_there },
        objects: vec![(named("Role", "hybrid-cache-executor"), dry_runs)],
    };
    let lacking = decisions(&theirs(false, DryRun::Absent));
    assert_eq!(lacking.len(), 1);
    assert_eq!(lacking[0].0, Decision::Conflict);
    assert!(
        lacking[0].1.contains("not installed") && lacking[0].1.contains("\nhint: "),
        "{lacking:?}"
    );
    let there = decisions(&theirs(true, DryRun::Absent));
    assert_eq!(
        there,
        [(Decision::Create, "Role argo/hybrid-cache-executor".to_owned())]
    );
    let controller = ["CustomResourceDefinition", "Deployment", "ConfigMap"];
    for object in manifests::argo(&checkout()).unwrap() {
        assert!(!controller.iter().any(|kind| object["kind"] == *kind), "{object}");
    }
}

#[test]
fn every_object_is_ours_by_its_label_and_in_our_namespace() {
    let objects = objects();
    let names: BTreeSet<_> = objects.iter().map(describe).collect();
    assert_eq!(names.len(), objects.len(), "two objects of one name");
    let (key, _) = DRIVER_LABEL.split_once('=').unwrap();
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/part-of"], "hybrid-cache", "{object}");
        assert!(labels.get(key).is_none(), "the driver would sweep it away: {object}");
        let cluster_wide = object["kind"] == "CustomResourceDefinition";
        let namespace = object.pointer("/metadata/namespace");
        assert_eq!(namespace, (!cluster_wide).then_some(&json!(NAMESPACE)), "{object}");
    }
}

#[test]
fn a_kind_is_named_after_its_group_and_takes_what_is_written() {
    let mut plurals = BTreeSet::new();
    for object in objects() {
        if object["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let (spec, name) = (&object["spec"], object["metadata"]["name"].as_str().unwrap());
        let plural = spec["names"]["plural"].as_str().unwrap();
        assert_eq!(name, format!("{plural}.{}", resource_kinds::WORKFLOW.group));
        let version = &spec["versions"][0];
        assert_eq!(version["name"], resource_kinds::WORKFLOW.version);
        let open = "/schema/openAPIV3Schema/x-kubernetes-preserve-unknown-fields";
        assert_eq!(version.pointer(open), Some(&json!(true)), "{name}");
        plurals.insert(plural.to_owned());
    }
    assert!(plurals.contains(resource_kinds::WORKFLOW.plural));
    // The controller fails at the start if a kind that it may list does not exist.
    for right in named("Role", "argo")["rules"].as_array().unwrap() {
        if right["apiGroups"][0] == resource_kinds::WORKFLOW.group {
            let named = right["resources"].as_array().unwrap().iter().filter_map(Value::as_str);
            let mut resources = named.map(|name| name.split('/').next().unwrap());
            assert!(resources.all(|name| plurals.contains(name)), "{right}");
        }
    }
}

#[test]
fn the_controller_asks_for_no_privilege_and_is_known_by_its_name() {
    let deployment = named("Deployment", CONTROLLER.name);
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let template = &deployment["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    let (key, _) = DRIVER_LABEL.split_once('=').unwrap();
    assert!(labels.get(key).is_none(), "its network would be closed");
    let selected = json!({"app.kubernetes.io/name": CONTROLLER.name});
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selected);
    assert_eq!(labels["app.kubernetes.io/name"], CONTROLLER.name);
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let security =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(container["securityContext"], security);
    for bound in ["requests", "limits"] {
        let resources = &container["resources"][bound];
        assert!(resources["memory"].is_string() && resources["cpu"].is_string());
    }
    let port = &container["ports"][0]["name"];
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], *port);
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], *port);
}

#[test]
fn nobody_gets_more_rights_than_a_workflow_needs() {
    let results = r#"["argoproj.io"] ["workflowtaskresults"] ["create","patch"]"#;
    assert_eq!(rights("hybrid-cache-executor"), [results]);
    let workflows = r#"["argoproj.io"] ["workflows"] ["create","get","list","watch","delete"]"#;
    assert_eq!(rights("hybrid-cache-driver-argo"), [workflows]);
    let controller = rights("argo").join("\n");
    for secret in ["secrets", "pods/exec", "leases", "*"] {
        assert!(!controller.contains(secret), "{secret}");
    }
    for object in objects() {
        match object["kind"].as_str() {
            Some("ServiceAccount") => assert_eq!(object["automountServiceAccountToken"], false, "{object}"),
            Some("RoleBinding") => {
                // A role, its binding and its account share one name; the driver's account is that of rbac.yaml.
                let (role, account) = (&object["roleRef"]["name"], &object["subjects"][0]["name"]);
                assert_eq!(object["metadata"]["name"], *role);
                assert!(role == account || *account == "hybrid-cache-driver", "{object}");
                assert_ne!(*account, TASK_ACCOUNT, "a task has no right");
            }
            _ => {}
        }
    }
}

#[test]
fn the_token_of_the_executor_is_where_argo_looks_for_it() {
    let account = named("ServiceAccount", "hybrid-cache-executor");
    let secret = account.pointer("/metadata/annotations/workflows.argoproj.io~1service-account-token.name");
    let secret = named("Secret", secret.and_then(Value::as_str).unwrap());
    assert_eq!(secret["type"], "kubernetes.io/service-account-token");
    let owner = secret.pointer("/metadata/annotations/kubernetes.io~1service-account.name");
    assert_eq!(owner, Some(&account["metadata"]["name"]));
    let place = |wanted: &Value| objects().iter().position(|object| object == wanted);
    assert!(place(&account) < place(&secret), "a token for nobody is deleted");
}

#[test]
fn only_pods_of_workflows_of_ours_reach_the_api_server() {
    let policy = named("NetworkPolicy", "hybrid-cache-allow-argo");
    let (key, value) = DRIVER_LABEL.split_once('=').unwrap();
    let selector = json!({
        "matchLabels": {(key): value},
        "matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}],
    });
    assert_eq!(policy["spec"]["podSelector"], selector);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Egress"]));
}
