//! Tests of the status that is read from the API server's answers.

use hybrid_cache_model::budget::FileSystemUsage;
use hybrid_cache_model::maintain::LayerUsage;
use hybrid_cache_model::{CacheReport, CacheStatus, End, Output, Resolved, Timeline};
use serde_json::{Value, json};

use super::*;
use crate::status::report::HitRate;

const BUILT: CacheStatus = CacheStatus::Built {
    downloaded_bytes: 1,
    reused_bytes: 2,
};

fn pod(phase: &str, messages: &[Value]) -> TaskPod {
    let statuses: Vec<_> = messages
        .iter()
        .map(|message| json!({"state": {"terminated": {"message": message.to_string()}}}))
        .collect();
    TaskPod::from_pod(&json!({
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "status": {"phase": phase, "containerStatuses": statuses},
    }))
}

fn finished(python: CacheStatus) -> Value {
    let report = RunReport::Finished {
        end: End::Exited { code: 0 },
        cache: CacheReport {
            python,
            system: CacheStatus::NotAsked,
        },
        timeline: Timeline::default(),
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: Vec::new(),
        keys: Default::default(),
    };
    serde_json::to_value(report).unwrap()
}

#[test]
fn only_tasks_that_asked_and_ended_count_for_the_hit_rate() {
    let pods = [
        pod("Succeeded", &[finished(CacheStatus::Hit)]),
        pod("Succeeded", &[finished(BUILT)]),
        pod(
            "Failed",
            &[
                json!({"report": "missed", "missed": {"python": true, "python_stale": false, "system": false}, "timeline": Timeline::default()}),
            ],
        ),
        pod("Running", &[]),
    ];
    assert_eq!(hits(&pods).python, HitRate { asked: 2, hit: 1 });
    assert_eq!(hits(&pods).system, HitRate::default());
    let expected = Tasks {
        queued: 0,
        running: 1,
        succeeded: 2,
        failed: 1,
    };
    assert_eq!(count(&pods), expected);
}

#[test]
fn a_volume_is_compared_with_its_claim() {
    let claim = ClaimFacts::from_claim(&json!({
        "metadata": {"name": PYTHON_CLAIM, "uid": "u"},
        "spec": {"resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    }));
    let usage = UsageReport {
        layers: vec![LayerUsage {
            layer: "python/envs".into(),
            bytes: 7,
            inodes: 3,
            entries: 4,
        }],
        file_systems: vec![FileSystemUsage {
            volume: "python".into(),
            free_bytes: 9,
            ..FileSystemUsage::default()
        }],
        ..UsageReport::default()
    };
    let volumes = volume_status(0, (&[claim], &[], &[]), Some(&usage));
    let [python, system] = volumes.as_slice() else {
        panic!("two volumes")
    };
    assert_eq!(python.capacity_bytes, Some(10 << 30));
    assert_eq!(
        (python.used_bytes, python.used_inodes, python.free_bytes),
        (Some(7), Some(3), Some(9))
    );
    assert_eq!(system.phase, "absent");
}
