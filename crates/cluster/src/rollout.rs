//! A Deployment of ours: reads its progress, and waits until it is Ready.

use std::time::Duration;

use hybrid_cache_tools::{Error, Result, failed};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::ClusterApi;
use crate::names::NAMESPACE;
use crate::plan::{Decision, Planned};

/// Pause between two reads of the Deployment.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A Deployment, named as in its manifest; its pods carry the name as `app.kubernetes.io/name`.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// Name of the Deployment.
    pub name: &'static str,
    /// The name in messages: `the service`.
    pub called: &'static str,
    /// Longest time until the Deployment is Ready.
    pub within: Duration,
    /// The next step if a node cannot pull the image.
    pub unpulled: &'static str,
}

/// Progress of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// There is no such Deployment.
    Absent,
    /// The pod does not exist, is not the requested one, or is not Ready; in the cluster's words.
    Waiting(String),
    /// The Deployment is Ready; its image.
    Ready(String),
}

impl Deployment {
    /// Reads the progress.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn rollout(&self, api: &ClusterApi) -> Result<Rollout> {
        let name = self.name;
        let deployment =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}});
        Ok(Rollout::from_deployment(api.get(&deployment).await?.as_ref()))
    }

    /// Waits until the Deployment is Ready.
    ///
    /// # Errors
    /// The Deployment is not Ready in time, its image cannot be pulled, or it was deleted; with the next step.
    pub async fn wait_ready(&self, api: &ClusterApi) -> Result<()> {
        let Deployment { name, called, .. } = self;
        let namespace = &api.namespace;
        let (deadline, label) = (Instant::now() + self.within, format!("app.kubernetes.io/name={name}"));
        loop {
            let why = match self.rollout(api).await? {
                Rollout::Ready(_) => return Ok(()),
                Rollout::Waiting(why) => why,
                Rollout::Absent => return Err(failed!("Deployment {namespace}/{name} was deleted meanwhile")),
            };
            let pods = api.pods(namespace, &label).await?;
            if let Some(said) = pods.iter().find_map(|pod| pod.unpulled.as_deref()) {
                return Err(Error::prerequisite(format!(
                    "the image of {called} is not on the node, and the node cannot pull it: {said}\nhint: {}",
                    self.unpulled
                )));
            }
            if Instant::now() >= deadline {
                return Err(failed!(
                    "{called} was not Ready within {} s: {why}\nhint: `kubectl -n {namespace} describe pods -l {label}` and \
                 `kubectl -n {namespace} logs deployment/{name}` say what it waits for",
                    self.within.as_secs()
                ));
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Rollout {
    fn from_deployment(deployment: Option<&Value>) -> Rollout {
        let Some(deployment) = deployment else {
            return Rollout::Absent;
        };
        let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let wanted = number("/spec/replicas");
        let is_seen = number("/status/observedGeneration") >= number("/metadata/generation");
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        let is_there = counts.iter().all(|count| number(&format!("/status/{count}")) == wanted);
        let image = deployment.pointer("/spec/template/spec/containers/0/image");
        if is_seen && is_there && wanted > 0 {
            return Rollout::Ready(image.and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        let conditions = deployment.pointer("/status/conditions").and_then(Value::as_array);
        let amiss = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["status"] == "False");
        let why = amiss.and_then(|condition| condition["message"].as_str());
        Rollout::Waiting(why.unwrap_or("its pod is about to be made").to_owned())
    }

    /// Returns the wait as a step of a plan, if the plan changes nothing else and the Deployment is not Ready.
    pub fn waited_for(&self, step: &'static str, todo: &[Planned]) -> Option<Planned> {
        let Rollout::Waiting(why) = self else { return None };
        let changes = todo.iter().any(Planned::acts);
        let what = format!("it is waited for until it is Ready: {why}");
        (!changes).then(|| Planned::new(step, Decision::Change, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::TaskPod;

    #[test]
    fn a_deployment_is_ready_when_its_one_pod_is_the_new_one() {
        let deployment = |generation: u64, updated: u64, available: u64| {
            json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": "service:1"}]}}},
                "status": {
                    "observedGeneration": 2, "replicas": 1, "updatedReplicas": updated, "availableReplicas": available,
                    "conditions": [{"status": "True", "message": "new"}, {"status": "False", "message": "too few"}],
                },
            })
        };
        let of = |generation, updated, available| {
            Rollout::from_deployment(Some(&deployment(generation, updated, available)))
        };
        assert_eq!(of(2, 1, 1), Rollout::Ready("service:1".into()));
        for (generation, updated, available) in [(3, 1, 1), (2, 0, 1), (2, 1, 0)] {
            assert_eq!(of(generation, updated, available), Rollout::Waiting("too few".into()));
        }
        assert_eq!(Rollout::from_deployment(None), Rollout::Absent);
    }

    #[test]
    fn an_image_counts_as_unpulled_once_the_kubelet_backs_off() {
        let pod = |reason: &str, message: Option<&str>| {
            let waiting = json!({"reason": reason, "message": message});
            TaskPod::from_pod(&json!({"status": {"containerStatuses": [{"state": {"waiting": waiting}}]}})).unpulled
        };
        assert_eq!(
            pod("ImagePullBackOff", Some("no such host")),
            Some("no such host".into())
        );
        assert_eq!(pod("InvalidImageName", None), Some("InvalidImageName".into()));
        // A registry that failed once may answer the next time.
        assert_eq!(pod("ErrImagePull", Some("timeout")), None);
        assert_eq!(pod("ContainerCreating", None), None);
    }
}
