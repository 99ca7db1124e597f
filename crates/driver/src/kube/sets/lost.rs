//! Notices that the volumes of a set cannot be used: their node is gone, does not answer or takes no pods, or a claim is unbound.

use std::time::Duration;

use tokio::sync::watch;

use crate::kube::observe::explain;
use crate::kube::observe::observed::ObservedWorkload;

/// How long the scheduler must say so. A kubelet that restarts makes its node unready for a moment.
const GRACE: Duration = Duration::from_secs(2);
/// What the scheduler says of a pod whose volumes have no node that takes pods.
const UNUSABLE: [&str; 7] = [
    "volume node affinity",
    "PersistentVolume's node affinity",
    "VolumeBinding",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/not-ready",
    "unbound immediate PersistentVolumeClaims",
    // Of volumes that follow their pods: the pods are on a node that takes no more.
    "pod affinity rules",
];
/// Reasons for which Kubernetes ends the pods of a node that is gone.
const NODE_LOST: [&str; 3] = ["NodeLost", "DeletionByTaintManager", "DeletionByPodGC"];

/// Why the pod has no node because of its volumes, in the scheduler's words. `None` if it has one, or if a node that has its
/// volumes only lacks room.
pub fn unusable(observed: &ObservedWorkload) -> Option<&str> {
    if observed.first_seen.scheduled.is_some() || explain::waits_for_room(observed).is_some() {
        return None;
    }
    let said = observed.pod.as_ref()?.unschedulable.as_deref()?;
    UNUSABLE.iter().any(|text| said.contains(text)).then_some(said)
}

/// True if the pod's node was lost under it.
pub fn lost_node(observed: &ObservedWorkload) -> bool {
    let Some(pod) = &observed.pod else { return false };
    let disrupted = pod.disrupted.iter().map(|(reason, _)| reason);
    disrupted
        .chain([&pod.reason])
        .any(|reason| NODE_LOST.contains(&reason.as_str()))
}

/// Waits until a pod's volumes cannot be used, and returns the scheduler's words. Begins to look after `pause`.
pub async fn wait(mut observed: watch::Receiver<ObservedWorkload>, pause: Duration) -> String {
    tokio::time::sleep(pause).await;
    loop {
        let found = observed.wait_for(|observed| unusable(observed).is_some()).await;
        let why = found.map(|observed| unusable(&observed).unwrap_or_default().to_owned());
        // Without a sender nobody follows the workload any longer.
        let Ok(why) = why else {
            return std::future::pending().await;
        };
        let usable = async {
            observed
                .wait_for(|observed| unusable(observed).is_none())
                .await
                .map(|_| ())
        };
        if tokio::time::timeout(GRACE, usable).await.is_err() {
            return why;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::observe::observed::ObservedPod;

    fn waiting(said: &str) -> ObservedWorkload {
        ObservedWorkload {
            pod: Some(ObservedPod {
                unschedulable: Some(said.to_owned()),
                ..ObservedPod::default()
            }),
            ..ObservedWorkload::default()
        }
    }

    #[test]
    fn a_node_that_is_gone_makes_volumes_unusable_and_one_without_room_does_not() {
        for said in [
            "0/2 nodes are available: 2 node(s) had volume node affinity conflict. preemption: 0/2 nodes are available: 2 \
             Preemption is not helpful for scheduling.",
            "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 2 node(s) didn't \
             match PersistentVolume's node affinity.",
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 1 node(s) didn't satisfy \
             plugin(s) [VolumeBinding].",
            "pod has unbound immediate PersistentVolumeClaims",
        ] {
            assert_eq!(unusable(&waiting(said)), Some(said));
        }
        for said in [
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had volume node affinity conflict.",
            "0/3 nodes are available: 1 Too many pods, 2 node(s) had volume node affinity conflict.",
            "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: others}.",
        ] {
            assert_eq!(unusable(&waiting(said)), None, "{said}");
        }
        assert_eq!(unusable(&ObservedWorkload::default()), None);
    }

    #[test]
    fn a_lost_node_is_told_from_a_pod_that_was_evicted() {
        let ended = |reason: &str| {
            let mut observed = waiting("");
            observed.pod.as_mut().unwrap().disrupted = Some((reason.to_owned(), String::new()));
            lost_node(&observed)
        };
        assert!(ended("DeletionByTaintManager") && !ended("PreemptionByScheduler") && !ended("EvictionByEvictionAPI"));
        assert!(!lost_node(&ObservedWorkload::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_without_a_node_is_waited_out() {
        let (sender, observed) = watch::channel(ObservedWorkload::default());
        let mut waits = tokio::spawn(wait(observed, Duration::ZERO));
        let gone = waiting("1 node(s) had volume node affinity conflict");
        for state in [gone.clone(), waiting("1 Insufficient cpu"), gone.clone()] {
            sender.send_replace(state);
            assert!(tokio::time::timeout(GRACE / 2, &mut waits).await.is_err());
        }
        let why = tokio::time::timeout(GRACE, waits).await.unwrap().unwrap();
        assert_eq!(Some(why.as_str()), unusable(&gone));
    }
}
