//! Keeps the pods of a volume set on one node, if its volumes are attached to the node of their pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodAffinity, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::kube::config::KubeConfig;
use crate::kube::names;

/// Label of a node with its name.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The highest weight of a preference.
const WEIGHT: i32 = 100;

/// The affinity of a pod that mounts volumes of a set; `None` if the volumes place it themselves.
///
/// With standby pods it is required: they hold the volumes on their node, and a pod elsewhere could not attach them. The pod itself
/// has the label, so the first pod of a set gets a node. Without standby pods a set may have no pods for long, and the next one may
/// start anywhere.
pub fn of_set(config: &KubeConfig, set: usize) -> Option<Affinity> {
    if !config.set(set).follows_pods {
        return None;
    }
    let name = config.mark(set)?;
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(names::SET.to_owned(), name)])),
            match_expressions: None,
        }),
        topology_key: HOSTNAME.to_owned(),
        ..PodAffinityTerm::default()
    };
    let affinity = if config.standby.is_some() {
        PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAffinity::default()
        }
    } else {
        PodAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                pod_affinity_term: term,
                weight: WEIGHT,
            }]),
            ..PodAffinity::default()
        }
    };
    Some(Affinity {
        pod_affinity: Some(affinity),
        ..Affinity::default()
    })
}
