//! Tests of the manifests in the checkout: each file parses, and the files fit each other.

use std::collections::BTreeSet;

use super::*;
use crate::resource_kinds;

fn all() -> Vec<Value> {
    objects(
        &crate::tests::checkout(),
        &VolumeSource::NodeFolders,
        &Default::default(),
    )
    .unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind}");
    found
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer} is no text in {object}"))
}

#[test]
fn every_object_can_be_applied_and_carries_our_label() {
    let objects = all();
    let names: BTreeSet<_> = objects.iter().map(crate::objects::describe).collect();
    assert_eq!(names.len(), objects.len(), "two objects of one name");
    for object in &objects {
        text(object, "/apiVersion");
        assert_eq!(
            object.pointer("/metadata/labels/app.kubernetes.io~1part-of"),
            Some(&json!("hybrid-cache")),
            "{object}"
        );
        let cluster_wide = ["Namespace", "PersistentVolume"].contains(&text(object, "/kind"));
        let namespace = object.pointer("/metadata/namespace");
        assert_eq!(namespace, (!cluster_wide).then_some(&json!(NAMESPACE)), "{object}");
    }
    assert_eq!(objects[0]["kind"], "Namespace", "the others are in it");
}

#[test]
fn every_object_is_of_a_kind_that_we_know_in_the_version_that_we_know() {
    let checkout = crate::tests::checkout();
    let mut objects = all();
    objects.extend(argo_controller(&checkout).unwrap());
    objects.extend(argo(&checkout).unwrap());
    objects.extend(service(&checkout, &VolumeSource::NodeFolders, "service:1", b"").unwrap());
    for object in objects {
        let known = resource_kinds::by_name(text(&object, "/kind")).unwrap_or_else(|| panic!("{object}"));
        assert_eq!(object["apiVersion"], known.api_version());
        assert_eq!(
            object.pointer("/metadata/namespace").is_some(),
            known.namespaced,
            "{object}"
        );
    }
}

#[test]
fn the_namespace_enforces_restricted_pods() {
    let objects = all();
    let labels = &of_kind(&objects, "Namespace")[0]["metadata"]["labels"];
    for mode in ["enforce", "audit", "warn"] {
        assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "restricted");
    }
}

#[test]
fn each_volume_is_claimed_by_a_claim_that_fits() {
    let objects = all();
    let claims = of_kind(&objects, "PersistentVolumeClaim");
    let names: Vec<_> = claims.iter().map(|claim| text(claim, "/metadata/name")).collect();
    assert_eq!(names, [crate::names::PYTHON_CLAIM, crate::names::NIX_CLAIM]);
    let volumes = of_kind(&objects, "PersistentVolume");
    assert_eq!(volumes.len(), claims.len());
    for (volume, folder) in volumes.iter().zip(FOLDERS) {
        let claim = claims
            .iter()
            .find(|claim| text(claim, "/metadata/name") == text(volume, "/spec/claimRef/name"))
            .unwrap();
        assert_eq!(text(volume, "/spec/claimRef/namespace"), NAMESPACE);
        for pointer in ["/spec/storageClassName", "/spec/accessModes"] {
            assert_eq!(volume.pointer(pointer), claim.pointer(pointer));
        }
        assert_eq!(text(volume, "/spec/storageClassName"), crate::names::LOCAL_CLASS);
        assert_eq!(
            text(volume, "/spec/capacity/storage"),
            text(claim, "/spec/resources/requests/storage")
        );
        assert_eq!(text(volume, "/spec/persistentVolumeReclaimPolicy"), "Retain");
        assert_eq!(text(volume, "/spec/local/path"), format!("{NODE_FOLDER}/{folder}"));
    }
}

#[test]
fn a_size_is_that_of_a_claim_and_of_its_volume_and_of_no_other() {
    let sizes = Sizes {
        python: Some("33Gi".to_owned()),
        ..Sizes::default()
    };
    let objects = objects(&crate::tests::checkout(), &VolumeSource::NodeFolders, &sizes).unwrap();
    let of = |kind: &str, pointer: &str| -> Vec<String> {
        let found = of_kind(&objects, kind);
        found.iter().map(|object| text(object, pointer).to_owned()).collect()
    };
    for sizes in [
        of("PersistentVolume", "/spec/capacity/storage"),
        of("PersistentVolumeClaim", "/spec/resources/requests/storage"),
    ] {
        assert_eq!(sizes[0], "33Gi");
        assert_ne!(sizes[1], "33Gi");
    }
}

#[test]
fn volumes_are_on_the_node_that_has_the_folder() {
    let objects = all();
    let config = kind_config(&crate::tests::checkout(), "x", Path::new("/v"), 0).unwrap();
    let labels = config["nodes"][0]["labels"].as_object().unwrap();
    for volume in of_kind(&objects, "PersistentVolume") {
        let term = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0";
        let wanted = volume.pointer(term).unwrap();
        assert_eq!(labels[text(wanted, "/key")], wanted["values"][0]);
    }
}

#[test]
fn nobody_gets_more_rights_than_a_driver_needs() {
    let objects = all();
    let rights: Vec<String> = of_kind(&objects, "Role")[0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| format!("{} {} {}", rule["apiGroups"], rule["resources"], rule["verbs"]))
        .collect();
    assert_eq!(
        rights,
        [
            r#"["batch"] ["jobs"] ["create","get","list","watch","delete"]"#,
            r#"[""] ["secrets"] ["create","get","patch","list","delete"]"#,
            r#"[""] ["pods"] ["list","watch","delete","patch"]"#,
            r#"["apps"] ["replicasets"] ["create","list","patch","delete"]"#,
            r#"[""] ["pods/attach"] ["create","get"]"#,
            r#"[""] ["pods/log"] ["get"]"#,
            r#"[""] ["events"] ["list","watch"]"#,
        ]
    );
    for account in of_kind(&objects, "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false);
    }
    let bindings = of_kind(&objects, "RoleBinding");
    let subjects: Vec<_> = bindings
        .iter()
        .flat_map(|binding| binding["subjects"].as_array().unwrap())
        .map(|subject| text(subject, "/name"))
        .collect();
    assert!(!subjects.contains(&crate::names::TASK_ACCOUNT), "a task has no right");
}

#[test]
fn policies_select_the_pods_of_the_driver() {
    let (key, value) = crate::names::DRIVER_LABEL
        .split(',')
        .next()
        .unwrap()
        .split_once('=')
        .unwrap();
    let objects = all();
    for policy in of_kind(&objects, "NetworkPolicy") {
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], json!({ (key): value }));
    }
}

#[test]
fn a_class_takes_the_place_of_the_folders() {
    let checkout = crate::tests::checkout();
    for (class, expected) in [(Some("fast".to_owned()), Some(json!("fast"))), (None, None)] {
        let objects = objects(&checkout, &VolumeSource::StorageClass(class), &Default::default()).unwrap();
        assert!(objects.iter().all(|object| object["kind"] != "PersistentVolume"));
        for claim in of_kind(&objects, "PersistentVolumeClaim") {
            assert_eq!(claim.pointer("/spec/storageClassName"), expected.as_ref());
        }
    }
}

#[test]
fn kind_is_told_the_name_and_the_folder_and_nothing_else_changes() {
    let checkout = crate::tests::checkout();
    let committed = read(&checkout.path("manifests/kind-cluster.yaml")).unwrap().remove(0);
    let mut config = kind_config(&checkout, "mine", Path::new("/my/volumes"), 0).unwrap();
    assert_eq!(config["name"], "mine");
    assert_eq!(config["nodes"][0]["extraMounts"][0]["hostPath"], "/my/volumes");
    config["name"] = committed["name"].clone();
    config["nodes"][0]["extraMounts"] = committed["nodes"][0]["extraMounts"].clone();
    assert_eq!(config, committed);
    let patch: Value = serde_yaml::from_str(text(&config, "/kubeadmConfigPatches/0")).unwrap();
    assert_eq!(
        (&patch["kind"], &patch["failCgroupV1"]),
        (&json!("KubeletConfiguration"), &json!(false))
    );
    for patch in config["containerdConfigPatches"].as_array().unwrap() {
        let patch: toml::Table = patch.as_str().unwrap().parse().unwrap();
        assert!(patch.contains_key("version") && patch.contains_key("plugins"));
    }
}

#[test]
fn another_namespace_is_named_wherever_ours_is() {
    let checkout = crate::tests::checkout();
    let mut all = objects(&checkout, &VolumeSource::NodeFolders, &Default::default()).unwrap();
    all.extend(argo(&checkout).unwrap());
    all.extend(service(&checkout, &VolumeSource::NodeFolders, "i", b"{}").unwrap());
    for object in all {
        let same = in_namespace(object.clone(), NAMESPACE);
        assert_eq!(same, object);
        let text = in_namespace(object, "theirs").to_string();
        assert!(!text.contains("\"argo\""), "{text}");
    }
}

#[test]
fn metadata_addresses_are_closed_and_a_dns_cache_on_the_node_is_open_for_names_alone() {
    let objects = all();
    let policy = |name: &str| {
        let policies = of_kind(&objects, "NetworkPolicy");
        let found = policies.iter().find(|policy| text(policy, "/metadata/name") == name);
        (**found.unwrap()).clone()
    };
    let outside = policy("hybrid-cache-allow-outside")["spec"]["egress"][0]["to"].clone();
    let closed: Vec<&str> = outside
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|to| to["ipBlock"]["except"].as_array().unwrap())
        .filter_map(|range| range.as_str())
        .collect();
    for range in [
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
    ] {
        assert!(closed.contains(&range), "{range} is not in {closed:?}");
    }
    for rule in policy("hybrid-cache-allow-names")["spec"]["egress"].as_array().unwrap() {
        let ports: Vec<_> = rule["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["port"].clone())
            .collect();
        assert_eq!(ports, [json!(53), json!(53)]);
    }
    let names = policy("hybrid-cache-allow-names").to_string();
    assert!(
        names.contains("169.254.20.10/32") && names.contains("169.254.25.10/32"),
        "{names}"
    );
}
