//! Tests of every state that `up` can meet, and of what it decides.

use serde_json::json;

use super::*;
use crate::objects::FieldConflict;

fn container(state: &str, mounts_our_folder: Option<bool>, ready: Option<bool>) -> NodeContainer {
    NodeContainer {
        id: "new".into(),
        state: state.into(),
        image: "node:1".into(),
        workers: 0,
        mounts_our_folder,
        ready,
    }
}

fn record(stage: Stage) -> Record {
    Record {
        stage,
        volumes: "/v".into(),
        service: false,
        workers: 0,
        volume_sets: None,
    }
}

fn complete(node: &str) -> Record {
    record(Stage::Complete { node: node.into() })
}

fn asked(recreate: RecreatePolicy) -> ClusterRequest<'static> {
    ClusterRequest {
        name: "c",
        volumes: Path::new("/v"),
        workers: WorkerRequest::Kept,
        other_image: None,
        recreate,
    }
}

fn decide(container: Option<&NodeContainer>, record: Option<&Record>, recreate: RecreatePolicy) -> Decision {
    cluster(asked(recreate), container, record).decision
}

#[test]
fn a_cluster_is_deleted_only_when_half_made_or_when_asked_for() {
    let ready = container("running", Some(true), Some(true));
    let dead = container("exited", None, None);
    let records = [
        None,
        Some(record(Stage::Down)),
        Some(complete("new")),
        Some(complete("old")),
    ];
    for record in &records {
        for container in [&ready, &dead] {
            let decision = decide(Some(container), record.as_ref(), RecreatePolicy::Never);
            assert_ne!(decision, Decision::Replace, "{container:?} {record:?}");
        }
        let decision = decide(Some(&dead), record.as_ref(), RecreatePolicy::IfImmutable);
        assert_eq!(decision, Decision::Replace, "{record:?}");
        let decision = decide(Some(&ready), record.as_ref(), RecreatePolicy::IfImmutable);
        assert_eq!(decision, Decision::Nothing, "it is as asked for: {record:?}");
    }
    let half = record(Stage::Creating);
    assert_eq!(
        decide(Some(&ready), Some(&half), RecreatePolicy::Never),
        Decision::Replace
    );
}

#[test]
fn a_cluster_that_is_gone_is_made_again_whatever_is_remembered() {
    for record in [None, Some(complete("old")), Some(record(Stage::Creating))] {
        assert_eq!(decide(None, record.as_ref(), RecreatePolicy::Never), Decision::Create);
    }
}

#[test]
fn a_cluster_of_somebody_else_is_left_alone() {
    let foreign = container("running", Some(false), Some(true));
    for record in [
        None,
        Some(complete("old")),
        Some(record(Stage::Down)),
        Some(record(Stage::Creating)),
    ] {
        assert_eq!(
            decide(Some(&foreign), record.as_ref(), RecreatePolicy::Never),
            Decision::Conflict
        );
    }
    let stopped = container("exited", None, None);
    assert_eq!(decide(Some(&stopped), None, RecreatePolicy::Never), Decision::Conflict);
}

#[test]
fn a_lost_record_is_no_loss_while_the_node_mounts_our_folder() {
    let ours = container("running", Some(true), Some(true));
    assert_eq!(decide(Some(&ours), None, RecreatePolicy::Never), Decision::Nothing);
}

#[test]
fn the_tasks_of_a_service_go_only_when_asked_for() {
    assert_eq!(service_data("c", false, false), None);
    assert_eq!(service_data("c", true, true), None);
    let reported = service_data("c", true, false).unwrap();
    assert!(
        reported.contains("cluster c") && reported.contains("with `cargo xtask down --service-data`"),
        "{reported}"
    );
}

#[test]
fn a_stopped_node_is_started() {
    let stopped = container("exited", None, None);
    assert_eq!(
        decide(Some(&stopped), Some(&complete("new")), RecreatePolicy::Never),
        Decision::Change
    );
    let starting = container("running", Some(true), None);
    assert_eq!(
        decide(Some(&starting), Some(&complete("new")), RecreatePolicy::Never),
        Decision::Change
    );
}

#[test]
fn another_folder_or_node_image_is_no_silent_change() {
    let ready = container("running", Some(true), Some(true));
    let folder = |recreate| ClusterRequest {
        volumes: Path::new("/w"),
        ..asked(recreate)
    };
    let image = |recreate| ClusterRequest {
        other_image: Some("node:2"),
        ..asked(recreate)
    };
    for asked in [&folder as &dyn Fn(RecreatePolicy) -> ClusterRequest<'static>, &image] {
        let planned = cluster(asked(RecreatePolicy::Never), Some(&ready), Some(&complete("new")));
        assert_eq!(planned.decision, Decision::Conflict);
        assert!(planned.what.contains("--recreate"), "{}", planned.what);
        let planned = cluster(asked(RecreatePolicy::IfImmutable), Some(&ready), Some(&complete("new")));
        assert_eq!(planned.decision, Decision::Replace);
    }
}

#[test]
fn objects_say_what_changes_and_what_stands_in_the_way() {
    let object = |kind: &str| json!({"kind": kind, "metadata": {"name": "n"}});
    let conflict = Refusal::Conflict(vec![FieldConflict {
        manager: "me".into(),
        field: ".spec".into(),
    }]);
    let dry_runs = [
        (object("Namespace"), DryRun::Same),
        (object("Role"), DryRun::Absent),
        (object("PersistentVolumeClaim"), DryRun::Terminating),
        (object("ResourceQuota"), DryRun::Differs(vec![".spec.hard".into()])),
        (object("LimitRange"), DryRun::Refused(conflict)),
        (
            object("PersistentVolume"),
            DryRun::Refused(Refusal::Immutable("immutable".into())),
        ),
    ];
    let decisions = |recreate| -> Vec<_> { objects(&dry_runs, recreate).into_iter().map(|p| p.decision).collect() };
    use Decision::{Change, Conflict, Create, Nothing, Replace};
    assert_eq!(
        decisions(RecreatePolicy::Never),
        [Nothing, Create, Conflict, Change, Conflict, Conflict]
    );
    assert_eq!(
        decisions(RecreatePolicy::IfImmutable),
        [Nothing, Create, Conflict, Change, Change, Replace]
    );
}

fn folder(name: &str, owner: Option<u32>, entries: &[&str]) -> Folder {
    Folder {
        set: 0,
        name: name.into(),
        owner: owner.map(|owner| (owner, owner)),
        entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
        strange: Vec::new(),
        contents: match entries {
            [] => Contents::Nothing,
            ["photos"] => Contents::Other("photos".into()),
            _ => Contents::Cache,
        },
    }
}

#[test]
fn folders_of_root_change_hands_and_strange_ones_are_left_alone() {
    let ours = folder("python", Some(OWNER), &["FORMAT"]);
    let missing = folder("python", None, &[]);
    let of_root = folder("system", Some(0), &[".nix-portable"]);
    let strange = folder("system", Some(0), &["photos"]);
    let mut within = folder("system", Some(OWNER), &[".nix-portable"]);
    within.strange = vec![".nix-portable/nix".to_owned()];
    assert_eq!(folders(&[ours.clone(), within]).decision, Decision::Change);
    assert_eq!(folders(&[ours.clone(), ours.clone()]).decision, Decision::Nothing);
    assert_eq!(folders(&[missing.clone(), missing]).decision, Decision::Create);
    let planned = folders(&[ours.clone(), of_root]);
    assert_eq!(
        (planned.decision, planned.what.as_str()),
        (Decision::Change, "system for user 10001")
    );
    assert_eq!(folders(&[ours, strange]).decision, Decision::Conflict);
}

#[test]
fn ways_to_link_local_addresses_are_closed_where_there_are_some() {
    assert_eq!(routes(&[]).decision, Decision::Nothing);
    let node = |ranges: &[&str]| OpenRanges {
        container: "node".to_owned(),
        ranges: ranges.iter().map(|&range| range.to_owned()).collect(),
    };
    assert_eq!(routes(&[node(&[]), node(&[])]).decision, Decision::Nothing);
    let planned = routes(&[node(&[]), node(&["10.244.0.0/16"])]);
    assert_eq!(planned.decision, Decision::Create);
    assert!(planned.what.contains("10.244.0.0/16"), "{}", planned.what);
}

#[test]
fn what_was_done_once_is_not_done_again_until_it_is_lost() {
    let done = SetupRecord {
        volumes: Some("a b".into()),
        task_image: Some("i:1".into()),
        ..SetupRecord::default()
    };
    let full = [
        folder("python", Some(OWNER), &[]),
        folder("system", Some(OWNER), &[".nix-portable"]),
    ];
    let emptied = [full[0].clone(), folder("system", Some(OWNER), &[])];
    let decide = |claims, folders| volumes(&done, claims, folders).decision;
    assert_eq!(decide(Some("a b"), Some(&full[..])), Decision::Nothing);
    assert_eq!(decide(Some("a b"), None), Decision::Nothing);
    assert_eq!(decide(Some("a c"), None), Decision::Create);
    assert_eq!(decide(None, None), Decision::Create);
    assert_eq!(decide(Some("a b"), Some(&emptied[..])), Decision::Create);
    assert_eq!(task(&done, "i:1", false).decision, Decision::Nothing);
    assert_eq!(task(&done, "i:2", false).decision, Decision::Create);
    assert_eq!(task(&done, "i:1", true).decision, Decision::Create);
    assert_eq!(task(&SetupRecord::default(), "i:1", false).decision, Decision::Create);
}

#[test]
fn another_number_of_workers_needs_another_cluster() {
    let with = |workers: u32| NodeContainer {
        workers,
        ..container("running", Some(true), Some(true))
    };
    let made = |workers: u32| Record {
        workers,
        ..complete("new")
    };
    let planned = |workers, found: u32, recorded: u32| {
        let asked = ClusterRequest {
            workers,
            ..asked(RecreatePolicy::Never)
        };
        cluster(asked, Some(&with(found)), Some(&made(recorded)))
    };
    assert_eq!(planned(WorkerRequest::Kept, 2, 2).decision, Decision::Nothing);
    assert_eq!(planned(WorkerRequest::Wanted(2), 2, 2).decision, Decision::Nothing);
    let other = planned(WorkerRequest::Wanted(3), 2, 2);
    assert_eq!(other.decision, Decision::Conflict);
    for text in [
        "created with 2 worker nodes",
        "`cargo xtask down`, then `cargo xtask up --workers 3`",
    ] {
        assert!(other.what.contains(text), "{}", other.what);
    }
    let lost = planned(WorkerRequest::Kept, 1, 2);
    assert_eq!(lost.decision, Decision::Conflict);
    assert!(lost.what.contains("Docker has 1 of them"), "{}", lost.what);
    assert_eq!(planned(WorkerRequest::Any, 1, 2).decision, Decision::Nothing, "`down`");
}

#[test]
fn fewer_sets_leave_their_claims_and_say_how_to_delete_them() {
    assert_eq!(sets(1, 1, &[], "argo"), None);
    assert_eq!(sets(2, 2, &[], "argo").unwrap().decision, Decision::Nothing);
    let more = sets(1, 3, &[], "argo").unwrap();
    assert_eq!(
        (more.decision, more.what.as_str()),
        (Decision::Change, "3 volume sets instead of 1")
    );
    let left = ["uv-cache-pvc-1".to_owned(), "nix-store-pvc-1".to_owned()];
    let fewer = sets(2, 1, &left, "argo").unwrap();
    assert_eq!(fewer.decision, Decision::Change);
    for text in [
        "1 volume set instead of 2",
        "`cargo xtask up --volume-sets 2` uses them again",
        "`kubectl delete pvc --namespace argo uv-cache-pvc-1 nix-store-pvc-1` deletes them",
    ] {
        assert!(fewer.what.contains(text), "{}", fewer.what);
    }
    assert_eq!(sets(1, 1, &left, "argo").unwrap().decision, Decision::Nothing);
}

#[test]
fn the_folders_of_a_new_set_are_made_and_those_of_a_former_one_are_no_matter() {
    let done = |volumes: &str| SetupRecord {
        volumes: Some(volumes.into()),
        ..SetupRecord::default()
    };
    assert_eq!(volumes(&done("a b"), Some("a b c d"), None).decision, Decision::Create);
    let planned = volumes(&done("a b c d"), Some("a b c d"), None);
    assert_eq!(
        (planned.decision, planned.what.as_str()),
        (Decision::Nothing, "all 4 claims are Bound and have their folders")
    );
    assert_eq!(volumes(&done("a b c d"), Some("a b"), None).decision, Decision::Nothing);
    let mut lost = folder("system", Some(OWNER), &[]);
    lost.set = 1;
    assert_eq!(
        volumes(&done("a b"), Some("a b"), Some(&[lost])).decision,
        Decision::Create
    );
}
