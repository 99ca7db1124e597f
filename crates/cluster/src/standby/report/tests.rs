//! Tests with objects as an API server and a kubelet show them.

use serde_json::json;

use super::*;

fn waiting(name: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": {STANDBY_POOL: "standby-1"}, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"nodeName": "node-a"},
        "status": status,
    })
}

fn ready(name: &str) -> Value {
    let status = json!({"phase": "Running", "containerStatuses": [{"ready": true, "restartCount": 0}]});
    waiting(name, status)
}

fn set(replicas: u64) -> Value {
    json!({"metadata": {"name": "standby-1"}, "spec": {"replicas": replicas}, "status": {}})
}

#[test]
fn nothing_recorded_and_nothing_there_is_nothing_to_show() {
    let task = json!({"metadata": {"name": "task-1", "labels": {}}});
    assert_eq!(StandbyReport::new(None, Some(&[]), &[task]), None);
    let recorded = StandbyReport::new(Some("2..8".parse().unwrap()), Some(&[]), &[]).unwrap();
    assert_eq!(
        recorded.in_words(),
        "0 of 0 ready, 0 claimed, 0 starting, `up --standby 2..8`"
    );
}

#[test]
fn pods_are_counted_by_what_they_do_and_those_that_leave_are_not() {
    let mut claimed = ready("c");
    claimed["metadata"]["annotations"][CLAIMED_UNTIL] = json!("1700000000");
    claimed["metadata"]["labels"] = json!({});
    let mut leaving = ready("d");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut restarted = ready("e");
    restarted["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    let pods = [ready("a"), ready("b"), claimed, leaving, restarted];
    let report = StandbyReport::new(Some("3".parse().unwrap()), Some(&[set(3)]), &pods).unwrap();
    assert_eq!(
        (report.wanted, report.ready, report.claimed, report.starting),
        (Some(3), 2, 1, 1)
    );
    assert!(report.oldest_s.unwrap() > 86_400);
    let words = report.in_words();
    let begins = "2 of 3 ready, 1 claimed, 1 starting, the oldest waits since ";
    assert!(words.starts_with(begins), "{words}");
    assert!(
        words.ends_with("what they use is not known, `up --standby 3`"),
        "{words}"
    );
    let unlisted = StandbyReport::new(None, None, &[ready("a")]).unwrap();
    assert!(
        unlisted.in_words().starts_with("1 ready, 0 claimed"),
        "{}",
        unlisted.in_words()
    );
}

#[test]
fn what_pods_use_is_that_of_the_waiting_ones_of_this_namespace() {
    let pods = [ready("a"), ready("b")];
    let mut report = StandbyReport::new(None, Some(&[set(2)]), &pods).unwrap();
    let used = |namespace: &str, name: &str| {
        json!({
            "podRef": {"name": name, "namespace": namespace},
            "cpu": {"usageNanoCores": 500_000},
            "memory": {"workingSetBytes": 4 << 20},
        })
    };
    let summary = json!({"pods": [used("ours", "a"), used("ours", "b"), used("other", "a"), used("ours", "task-1")]});
    report.idle = report.used_in("ours", &[summary]);
    let idle = report.idle.unwrap();
    assert_eq!((idle.pods, idle.memory_bytes), (2, 8 << 20));
    assert!(
        report
            .in_words()
            .contains("each uses 4.00 MiB and 0.1 % of a processor"),
        "{}",
        report.in_words()
    );
    assert_eq!(report.used_in("ours", &[json!({"pods": []})]), None);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["ready"], &json["idle"]["pods"]), (&json!(2), &json!(2)));
    assert!(json.get("waiting").is_none());
}

#[test]
fn a_quota_an_old_image_and_a_full_node_are_said() {
    let quota =
        "pods \"standby-1-x\" is forbidden: exceeded quota: bounds, requested: pods=1, used: pods=9, limited: pods=9";
    let mut refused = set(4);
    refused["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": quota}]);
    let trouble_of = |sets: &[Value], pods: &[Value]| StandbyReport::new(None, Some(sets), pods).unwrap().trouble;
    let said = trouble_of(&[refused], &[]).unwrap();
    assert!(said.contains("used: pods=9, limited: pods=9"), "{said}");
    let crashed = waiting(
        "a",
        json!({"containerStatuses": [{
            "ready": false, "restartCount": 3, "image": "base:1",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 2}},
        }]}),
    );
    let said = trouble_of(&[set(1)], &[crashed]).unwrap();
    assert!(
        said.contains("ended with code 2") && said.contains("base:1, is older"),
        "{said}"
    );
    let unscheduled =
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient memory"}]});
    let said = trouble_of(&[set(1)], &[waiting("a", unscheduled)]).unwrap();
    assert_eq!(said, "pod a has no node: Insufficient memory");
    let unpulled = json!({"containerStatuses": [{"ready": false, "state": {"waiting": {
        "reason": "ImagePullBackOff", "message": "no such image"
    }}}]});
    let said = trouble_of(&[set(1)], &[waiting("a", unpulled)]).unwrap();
    assert_eq!(said, "the image of pod a is not available: no such image");
    let starting =
        json!({"containerStatuses": [{"ready": false, "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    assert_eq!(trouble_of(&[set(1)], &[waiting("a", starting)]), None);
}

#[test]
fn an_age_is_given_in_a_unit_that_suits_it() {
    let ages = [0, 119, 120, 7199, 7200, 172_800].map(age);
    assert_eq!(ages, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
}
