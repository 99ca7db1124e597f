//! The optional parts that `up` can install, as `status` shows them: Argo Workflows and the task service.

use serde::Serialize;

use crate::rollout::Rollout;
use crate::service;

/// Argo Workflows.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgoStatus {
    /// `ready` or `notReady`; `elsewhere` if the cluster knows Workflows and their controller is in another namespace.
    pub state: &'static str,
    /// What the controller waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The controller's image, if the controller is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl ArgoStatus {
    /// Combines the controller in our namespace with whether the API server knows Workflows.
    pub fn from_rollout(controller: Rollout, knows_it: bool) -> Option<ArgoStatus> {
        let (state, reason, image) = match (controller, knows_it) {
            (Rollout::Absent, false) => return None,
            (Rollout::Absent, true) => ("elsewhere", None, None),
            (controller, _) => parts(controller),
        };
        Some(ArgoStatus { state, reason, image })
    }
}

/// The task service in the cluster.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `ready` or `notReady`.
    pub state: &'static str,
    /// What the service waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The service's image, if the service is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Address of the service within the cluster.
    pub address: String,
}

impl ServiceStatus {
    /// `None` if there is no service.
    pub fn from_rollout(rollout: Rollout, namespace: &str) -> Option<ServiceStatus> {
        if rollout == Rollout::Absent {
            return None;
        }
        let (state, reason, image) = parts(rollout);
        Some(ServiceStatus {
            state,
            reason,
            image,
            address: service::address(namespace),
        })
    }
}

fn parts(rollout: Rollout) -> (&'static str, Option<String>, Option<String>) {
    match rollout {
        Rollout::Absent => ("notReady", None, None),
        Rollout::Waiting(reason) => ("notReady", Some(reason), None),
        Rollout::Ready(image) => ("ready", None, Some(image)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argo_is_shown_where_the_cluster_has_its_kinds_or_its_controller() {
        let state =
            |controller: Rollout, knows_it| ArgoStatus::from_rollout(controller, knows_it).map(|argo| argo.state);
        assert_eq!(state(Rollout::Absent, false), None);
        assert_eq!(state(Rollout::Absent, true), Some("elsewhere"));
        assert_eq!(state(Rollout::Waiting("no room".into()), true), Some("notReady"));
        let ready = ArgoStatus::from_rollout(Rollout::Ready("controller:1".into()), true).unwrap();
        let json = serde_json::to_value(ready).unwrap();
        assert_eq!(json, serde_json::json!({"state": "ready", "image": "controller:1"}));
        assert_eq!(ServiceStatus::from_rollout(Rollout::Absent, "argo"), None);
    }
}
