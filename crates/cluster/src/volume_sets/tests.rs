//! Tests of volume sets: what is rendered for them, which numbers are refused, and what is read back from a cluster.

use std::collections::BTreeMap;

use hybrid_cache_tools::ErrorClass;

use super::*;
use crate::facts::{ClaimFacts, NodeFacts, VolumeFacts};
use crate::manifests::{Sizes, VolumeSource, kind_config, objects, objects_of_sets};
use crate::objects::describe;
use crate::options::{ClusterChoice, UpOptions};

fn rendered(source: &VolumeSource, sizes: &Sizes, sets: u32) -> Vec<Value> {
    objects_of_sets(&crate::tests::checkout(), source, sizes, sets).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} is no text in {object}"))
}

#[test]
fn one_set_is_the_manifests_and_further_sets_leave_it_as_it_is() {
    let (checkout, source) = (crate::tests::checkout(), VolumeSource::NodeFolders);
    let one = objects(&checkout, &source, &Sizes::default()).unwrap();
    assert_eq!(rendered(&source, &Sizes::default(), 1), one);
    let three = rendered(&source, &Sizes::default(), 3);
    assert!(one.iter().all(|object| three.contains(object)));
    let added: Vec<String> = three
        .iter()
        .filter(|object| !one.contains(object))
        .map(describe)
        .collect();
    assert_eq!(
        added,
        [
            "PersistentVolume hybrid-cache-python-1",
            "PersistentVolume hybrid-cache-python-2",
            "PersistentVolume hybrid-cache-system-1",
            "PersistentVolume hybrid-cache-system-2",
            "PersistentVolumeClaim argo/uv-cache-pvc-1",
            "PersistentVolumeClaim argo/uv-cache-pvc-2",
            "PersistentVolumeClaim argo/nix-store-pvc-1",
            "PersistentVolumeClaim argo/nix-store-pvc-2",
        ]
    );
}

#[test]
fn each_volume_of_a_set_is_bound_to_its_claim_on_the_node_with_its_folders() {
    let objects = rendered(&VolumeSource::NodeFolders, &Sizes::default(), 3);
    let config = kind_config(&crate::tests::checkout(), "c", Path::new("/v"), 3).unwrap();
    let claims = of_kind(&objects, "PersistentVolumeClaim");
    for volume in of_kind(&objects, "PersistentVolume") {
        let name = text(volume, "/spec/claimRef/name");
        let claim = claims.iter().find(|claim| claim["metadata"]["name"] == name).unwrap();
        assert_eq!(
            text(volume, "/spec/capacity/storage"),
            text(claim, "/spec/resources/requests/storage")
        );
        let set = set_of_claim(name).unwrap();
        let labelled = (set > 0).then(|| json!(set.to_string()));
        for object in [volume, claim] {
            assert_eq!(object["metadata"]["labels"].get(SET_LABEL), labelled.as_ref());
        }
        let value = &volume.pointer(AFFINITY).unwrap()[0];
        let nodes = config["nodes"].as_array().unwrap();
        let fit: Vec<&Value> = nodes
            .iter()
            .filter(|node| node["labels"][NODE_LABEL] == *value)
            .collect();
        let [node] = fit.as_slice() else { panic!("{fit:?}") };
        let mounted = text(node, "/extraMounts/0/hostPath");
        assert_eq!(Path::new(mounted), folder(Path::new("/v"), set), "{name}");
    }
}

#[test]
fn workers_have_the_sets_and_the_control_plane_has_none() {
    let checkout = crate::tests::checkout();
    let config = kind_config(&checkout, "c", Path::new("/v"), 2).unwrap();
    let nodes = config["nodes"].as_array().unwrap();
    let roles: Vec<&str> = nodes.iter().map(|node| text(node, "/role")).collect();
    assert_eq!(roles, ["control-plane", "worker", "worker"]);
    assert_eq!(
        (&nodes[0]["labels"], &nodes[0]["extraMounts"]),
        (&json!({}), &json!([]))
    );
    let folders: Vec<&str> = nodes[1..]
        .iter()
        .map(|node| text(node, "/extraMounts/0/hostPath"))
        .collect();
    assert_eq!(folders, ["/v", "/v/set-1"]);
    let alone = kind_config(&checkout, "c", Path::new("/v"), 0).unwrap();
    assert_eq!(alone["nodes"].as_array().map(Vec::len), Some(1));
    assert_eq!(text(&alone, "/nodes/0/extraMounts/0/hostPath"), "/v");
}

#[test]
fn sizes_are_those_of_each_set_and_a_claim_keeps_its_own() {
    let sizes = Sizes {
        python: Some("33Gi".to_owned()),
        kept: BTreeMap::from([("nix-store-pvc-1".to_owned(), "44Gi".to_owned())]),
        ..Sizes::default()
    };
    let objects = rendered(&VolumeSource::StorageClass(Some("fast".to_owned())), &sizes, 2);
    let claims = of_kind(&objects, "PersistentVolumeClaim").into_iter();
    let sizes: Vec<(&str, &str)> = claims
        .map(|claim| {
            (
                text(claim, "/metadata/name"),
                text(claim, "/spec/resources/requests/storage"),
            )
        })
        .collect();
    assert_eq!(
        sizes,
        [
            ("uv-cache-pvc", "33Gi"),
            ("uv-cache-pvc-1", "33Gi"),
            ("nix-store-pvc", "20Gi"),
            ("nix-store-pvc-1", "44Gi")
        ]
    );
    assert!(of_kind(&objects, "PersistentVolume").is_empty());
}

#[test]
fn our_quota_has_room_for_the_claims_of_all_sets() {
    let objects = rendered(&VolumeSource::StorageClass(None), &Sizes::default(), MAX_SETS);
    let quota = of_kind(&objects, "ResourceQuota")[0];
    let allowed: usize = text(quota, "/spec/hard/persistentvolumeclaims").parse().unwrap();
    // One more is the service's.
    assert!(allowed > of_kind(&objects, "PersistentVolumeClaim").len());
}

#[test]
fn a_claim_is_of_the_set_that_its_name_says() {
    for set in [0, 1, 63] {
        assert!(claim_names(set).iter().all(|name| set_of_claim(name) == Some(set)));
    }
    for name in [
        "uv-cache-pvc-",
        "uv-cache-pvc-0",
        "uv-cache-pvc-01",
        "uv-cache-pvc-x",
        "uv-cache-pvcs",
        "hybrid-cache-service",
    ] {
        assert_eq!(set_of_claim(name), None, "{name}");
    }
}

#[test]
fn the_folders_of_an_earlier_and_larger_cluster_are_found() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(sets_on_disk(folder.path()), [0]);
    for name in ["python", "set-2", "set-10", "set-0", "set-02", "set-x", "photos"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    assert_eq!(sets_on_disk(folder.path()), [0, 2, 10]);
}

fn options(sets: Option<u32>, workers: Option<u32>) -> UpOptions {
    UpOptions {
        volume_sets: sets,
        workers,
        ..UpOptions::default()
    }
}

fn refused(options: &UpOptions, says: &[&str]) {
    let error = check(options).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Input);
    let message = error.to_string();
    assert_eq!(message.matches("hint: ").count(), says.len(), "{message}");
    for text in says {
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn numbers_that_cannot_work_are_refused_all_at_once() {
    for (sets, workers) in [
        (None, None),
        (Some(1), None),
        (Some(1), Some(0)),
        (Some(2), Some(2)),
        (Some(64), None),
    ] {
        check(&options(sets, workers)).unwrap();
    }
    refused(&options(Some(0), None), &["--volume-sets 0: there must be a set"]);
    refused(&options(Some(65), None), &["at most 64 sets"]);
    refused(&options(Some(65), Some(33)), &["at most 64 sets", "at most 32 nodes"]);
    refused(&options(Some(3), Some(2)), &["3 volume sets: there are 2 worker nodes"]);
    refused(&options(Some(2), Some(0)), &["the cluster has one node"]);
    let elsewhere = UpOptions {
        cluster: ClusterChoice {
            context: Some("theirs".to_owned()),
            ..ClusterChoice::default()
        },
        ..options(Some(0), Some(2))
    };
    refused(
        &elsewhere,
        &["there must be a set", "--context names a cluster that has nodes"],
    );
    let of_class = UpOptions {
        storage_class: Some("standard".to_owned()),
        ..options(Some(3), Some(2))
    };
    check(&of_class).unwrap();
    assert!(
        check_nodes(2, 1)
            .unwrap_err()
            .to_string()
            .contains("--workers 2 --volume-sets 2")
    );
    check_nodes(1, 0).unwrap();
}

#[test]
fn a_quota_without_room_for_the_claims_is_named_with_what_it_would_take() {
    let quota = |hard: &str, used: &str| json!({"metadata": {"name": "team"}, "status": {"hard": {"persistentvolumeclaims": hard}, "used": {"persistentvolumeclaims": used}}});
    let [fault] = quota_faults(&[quota("10", "3")], 8).try_into().unwrap();
    for text in ["ResourceQuota team allows 10", "3 are used, and 8 more", "to 11"] {
        assert!(fault.contains(text), "{fault}");
    }
    assert!(quota_faults(&[quota("11", "3"), json!({"metadata": {"name": "cpu"}})], 8).is_empty());
}

fn class(provisioner: &str, mode: &str) -> StorageClassFacts {
    StorageClassFacts::from_class(&json!({
        "metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": provisioner, "volumeBindingMode": mode,
    }))
}

#[test]
fn block_storage_follows_pods_and_local_or_shared_volumes_do_not() {
    const WAITS: &str = "WaitForFirstConsumer";
    for provisioner in [
        "ebs.csi.aws.com",
        "pd.csi.storage.gke.io",
        "disk.csi.azure.com",
        "rbd.csi.ceph.com",
    ] {
        assert!(class(provisioner, WAITS).follows_pods(), "{provisioner}");
        assert!(!class(provisioner, "Immediate").follows_pods(), "{provisioner}");
    }
    for provisioner in [
        "rancher.io/local-path",
        "kubernetes.io/no-provisioner",
        "openebs.io/local",
        "topolvm.io",
    ] {
        assert!(!class(provisioner, WAITS).follows_pods(), "{provisioner}");
    }
    for provisioner in [
        "efs.csi.aws.com",
        "nfs.csi.k8s.io",
        "file.csi.azure.com",
        "cephfs.csi.ceph.com",
    ] {
        let class = class(provisioner, WAITS);
        assert!(class.is_shared() && !class.follows_pods(), "{provisioner}");
    }
    let classes = [class("ebs.csi.aws.com", WAITS)];
    assert!(class_of(&classes, None).is_some() && class_of(&classes, Some("other")).is_none());
}

fn claim(name: &str, volume: Option<&str>) -> ClaimFacts {
    ClaimFacts::from_claim(&json!({
        "metadata": {"name": name, "uid": name}, "spec": {"volumeName": volume, "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "12Gi"}},
    }))
}

#[test]
fn the_driver_gets_every_set_that_has_its_claims() {
    let claims: Vec<ClaimFacts> = (0..2).flat_map(claim_names).map(|name| claim(&name, None)).collect();
    assert_eq!(driver_sets(&claims, 1, false), []);
    let sets = driver_sets(&claims, 3, true);
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["0", "1"], "set 2 has no claims");
    assert_eq!(
        (sets[1].python_claim.as_str(), sets[1].nix_claim.as_str()),
        ("uv-cache-pvc-1", "nix-store-pvc-1")
    );
    assert!(sets[1].follows_pods && sets[1].python_claim_bytes == 12 << 30);
    assert_eq!(driver_sets(&[], 3, false).len(), 3, "the claims cannot be read");
    assert_eq!(claims_beyond(&claims, 1), claim_names(1));
    assert!(pairs(&claims, 3)[2].is_none() && pairs(&claims, 3)[1].is_some());
}

#[test]
fn a_claim_is_on_the_nodes_that_its_volume_allows() {
    let node = |name: &str, value: &str| {
        NodeFacts::from_node(&json!({"metadata": {"name": name, "labels": {NODE_LABEL: value, "zone": "a"}}}))
    };
    let nodes = [node("one", "true"), node("two", "set-1")];
    let volume = |key: &str, values: &[&str]| {
        let expression = json!({"key": key, "operator": "In", "values": values});
        VolumeFacts::from_volume(&json!({
            "metadata": {"name": "v"},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}},
        }))
    };
    let found = |volume: VolumeFacts| {
        let found = nodes_of(&claim("c", Some("v")), &[volume], &nodes)?;
        Some(found.iter().map(|node| node.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(found(volume(NODE_LABEL, &["set-1"])).unwrap(), ["two"]);
    assert_eq!(found(volume("zone", &["a", "b"])).unwrap(), ["one", "two"]);
    assert_eq!(found(volume("zone", &["b"])).unwrap(), [""; 0]);
    let anywhere = VolumeFacts::from_volume(&json!({"metadata": {"name": "v"}}));
    assert_eq!(found(anywhere).unwrap().len(), 2);
    assert!(nodes_of(&claim("c", None), &[], &nodes).is_none());
}

#[test]
fn shared_volumes_and_more_sets_than_nodes_are_warned_of() {
    let shared = class("nfs.csi.k8s.io", "Immediate");
    let block = class("ebs.csi.aws.com", "WaitForFirstConsumer");
    assert_eq!(warning(1, 1, (Some(&shared), &[])), None);
    assert!(
        warning(2, 3, (Some(&shared), &[]))
            .unwrap()
            .contains("one volume set is enough")
    );
    assert_eq!(warning(2, 3, (Some(&block), &[])), None);
    assert!(warning(3, 2, (Some(&block), &[])).unwrap().contains("at most 2 sets"));
    let many = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteMany"]}});
    let many = ClaimFacts::from_claim(&many);
    assert!(warning(2, 3, (None, &[Some([many.clone(), many])])).is_some());
}
