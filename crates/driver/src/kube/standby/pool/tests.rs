//! What the pools make of pods and arrivals.

use super::*;
use serde_json::{Value, json};

const NAME: &str = "standby-a";

fn pools(range: &str) -> (StandbyPools, PoolKey) {
    let (pools, key) = (StandbyPools::default(), PoolKey::standing());
    assert!(pools.ensure(&key, NAME, range.parse().unwrap(), true));
    (pools, key)
}

/// A pod as a watch shows it.
fn pod(name: &str, version: &str, metadata: Value, ready: bool, restarts: i32) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "resourceVersion": version, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "task", "ready": ready, "restartCount": restarts, "image": "", "imageID": "",
        }]},
    });
    for (field, value) in metadata.as_object().unwrap() {
        pod["metadata"][field] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn idle(name: &str, version: &str) -> Pod {
    pod(name, version, json!({"labels": {(names::STANDBY): NAME}}), true, 0)
}

fn claimed(name: &str, until_s: i64) -> Pod {
    let metadata = json!({"annotations": {(names::CLAIMED_UNTIL): until_s.to_string()}});
    pod(name, "9", metadata, true, 0)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_pod_is_taken_once_and_again_only_in_a_newer_version() {
    let (pools, key) = pools("1");
    assert_eq!(pools.take(&key), None);
    pools.see(&idle("one", "1"));
    let taken = pools.take(&key).unwrap();
    assert_eq!((taken.name.as_str(), taken.version.as_str()), ("one", "1"));
    assert_eq!(pools.take(&key), None);
    // A listing shows the same again.
    pools.see(&idle("one", "1"));
    assert_eq!(pools.take(&key), None);
    // The claim failed because the pod has changed.
    pools.see(&idle("one", "2"));
    assert_eq!(pools.take(&key).unwrap().version, "2");
}

#[test]
fn what_is_starting_dead_deleted_claimed_or_of_another_template_is_never_taken() {
    let (pools, key) = pools("1");
    let ours = json!({"labels": {(names::STANDBY): NAME}});
    pools.see(&pod("starting", "1", ours.clone(), false, 0));
    pools.see(&pod("restarted", "1", ours.clone(), true, 1));
    pools.see(&pod(
        "other",
        "1",
        json!({"labels": {(names::STANDBY): "standby-b"}}),
        true,
        0,
    ));
    let mut deleted = ours;
    deleted["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
    pools.see(&pod("deleted", "1", deleted, true, 0));
    pools.see(&claimed("claimed", 500));
    assert_eq!(pools.take(&key), None);
    let status = pools.status(time(1_767_225_600 + 60));
    assert_eq!(
        (status.ready, status.starting, status.claimed, status.foreign),
        (0, 2, 1, 1)
    );
    assert_eq!(status.oldest_s, None);
}

#[test]
fn dead_pods_and_claimed_ones_whose_time_is_over_are_deleted_and_no_others() {
    let (pools, _) = pools("2");
    pools.see(&idle("idle", "1"));
    pools.see(&pod(
        "restarted",
        "1",
        json!({"labels": {(names::STANDBY): NAME}}),
        true,
        1,
    ));
    pools.see(&claimed("early", 99));
    pools.see(&claimed("late", 100));
    let mut expired = pools.expired(time(100));
    expired.sort();
    assert_eq!(expired, ["early", "restarted"]);
    pools.keep_only(&HashSet::from(["idle".to_owned()]));
    assert!(pools.expired(time(1000)).is_empty());
}

#[test]
fn a_range_follows_arrivals_within_its_limits_and_shrinks_a_minute_after_them() {
    let (pools, key) = pools("1..4");
    let begun = Instant::now();
    let wanted = |now| pools.plan(now).0[0].replicas;
    assert_eq!(wanted(begun), 1);
    pools.take(&key);
    assert_eq!(wanted(Instant::now()), 2, "one came, so one more may");
    for _ in 0..9 {
        pools.take(&key);
    }
    assert_eq!(wanted(Instant::now()), 4, "the upper limit");
    assert_eq!(wanted(begun + ARRIVALS_PERIOD / 2), 4);
    let later = Instant::now() + ARRIVALS_PERIOD + Duration::from_secs(1);
    assert_eq!(wanted(later), 1);
    // Kubernetes chooses which pods it deletes, so none is claimed meanwhile.
    pools.see(&idle("one", "1"));
    assert!(pools.lock().pools[&key].paused_until.is_some_and(|until| until > later));
}

#[test]
fn a_tenants_pool_ends_when_nobody_has_asked_for_long_and_a_kept_one_stays() {
    let (pools, kept) = pools("1");
    let tenant = PoolKey {
        tenant: "team".parse().unwrap(),
        ..kept
    };
    pools.ensure(&tenant, "standby-t", "1".parse().unwrap(), false);
    let (wanted, over) = pools.plan(Instant::now() + UNUSED_PERIOD * 2);
    assert_eq!(over, ["standby-t"]);
    assert_eq!(wanted.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), [NAME]);
}

#[test]
fn there_is_a_bound_on_pools() {
    let (pools, key) = pools("1");
    let of = |number: usize| PoolKey {
        tenant: format!("team-{number}").parse().unwrap(),
        ..key.clone()
    };
    for number in 1..MAX_POOLS {
        assert!(pools.ensure(&of(number), "x", "1".parse().unwrap(), false));
    }
    assert!(!pools.ensure(&of(MAX_POOLS), "x", "1".parse().unwrap(), false));
    assert!(
        pools.ensure(&of(1), "x", "1".parse().unwrap(), false),
        "one that exists is found"
    );
}

#[test]
fn after_a_refusal_none_is_claimed_for_a_while_and_the_reason_is_shown() {
    let (pools, key) = pools("1");
    pools.see(&idle("one", "1"));
    pools.note_refused("no right".to_owned());
    assert_eq!(pools.take(&key), None);
    assert_eq!(pools.status(time(0)).trouble.as_deref(), Some("no right"));
    pools.note_used();
    assert_eq!(pools.status(time(0)).trouble, None);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_full_pool_ends_and_says_what_is_missing() {
    let (pools, key) = pools("2");
    pools.see(&idle("one", "1"));
    pools.set_trouble(Some("exceeded quota".to_owned()));
    let failure = pools.wait_until_full(&key, Duration::from_secs(5)).await.unwrap_err();
    let said = failure.to_string();
    assert!(
        said.contains("1 of 2 standby pods") && said.contains("exceeded quota"),
        "{said}"
    );
    let filling = async { pools.see(&idle("two", "1")) };
    let (full, ()) = tokio::join!(pools.wait_until_full(&key, Duration::from_secs(5)), filling);
    full.unwrap();
    assert_eq!(pools.status(time(0)).counts.refills, 1);
}
