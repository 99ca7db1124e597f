//! Requests to the API server about ReplicaSets and standby pods.

use std::time::Duration;

use hybrid_cache_model::Failure;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::kube::api::cluster::Cluster;
use crate::kube::api::retry::{OUTAGE_TIMEOUT, Refusal, persist};
use crate::kube::names::{self, Component};

/// How long a claim may take before the task runs as a Job instead.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);

/// A claim's answer.
pub enum ClaimAnswer {
    /// The pod is ours.
    Claimed(Box<Pod>),
    /// It is not: another driver was faster, or the pod has changed or gone.
    Conflict,
    /// The API server refuses claims, with its reason.
    Refused(String),
    /// It did not answer, so the pod may be ours.
    Unknown,
}

fn sets(cluster: &Cluster) -> Api<ReplicaSet> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

/// Creates a ReplicaSet, or gives the one that exists this number of pods. Either way it notes that the set is used.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn apply_set(cluster: &Cluster, mut set: ReplicaSet) -> Result<(), Failure> {
    let name = set.name_any();
    let used_at = Timestamp::now().as_second().to_string();
    set.annotations_mut().insert(names::USED_AT.to_owned(), used_at.clone());
    let what = format!("create the ReplicaSet {name} in namespace {}", cluster.namespace);
    let params = PostParams::default();
    let api = sets(cluster);
    let created = persist(&cluster.last_outage, None, &what, OUTAGE_TIMEOUT, || {
        api.create(&params, &set)
    })
    .await;
    match created {
        Ok(_) => return Ok(()),
        Err(refusal) if refusal.is_taken() => {}
        Err(refusal) => return Err(refusal.explain(&what)),
    }
    let what = format!("change the ReplicaSet {name}");
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    let patch = Patch::Merge(json!({
        "metadata": {"annotations": {(names::USED_AT): used_at}},
        "spec": {"replicas": replicas},
    }));
    let params = PatchParams::default();
    let patched = persist(&cluster.last_outage, None, &what, OUTAGE_TIMEOUT, || {
        api.patch(&name, &params, &patch)
    })
    .await;
    patched.map(|_| ()).map_err(|refusal| refusal.explain(&what))
}

/// Why a ReplicaSet cannot create pods, in its controller's words; `None` if it says nothing.
pub async fn set_failure(cluster: &Cluster, name: &str) -> Option<String> {
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let listed = tokio::time::timeout(CLAIM_TIMEOUT, sets(cluster).list(&params)).await;
    let set = listed.ok()?.ok()?.items.pop()?;
    let conditions = set.status?.conditions?;
    let failed = conditions
        .into_iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let said = failed.message.unwrap_or_default();
    Some(format!("the cluster refuses standby pods: {said}"))
}

/// Deletes a ReplicaSet with its pods. Succeeds if there is none.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn delete_set(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let what = format!("delete the ReplicaSet {name}");
    let params = DeleteParams::background();
    let api = sets(cluster);
    match persist(&cluster.last_outage, None, &what, OUTAGE_TIMEOUT, || {
        api.delete(name, &params)
    })
    .await
    {
        Ok(_) => Ok(()),
        Err(refusal) if refusal.is_absent() => Ok(()),
        Err(refusal) => Err(refusal.explain(&what)),
    }
}

/// All ReplicaSets of standby pods in the namespace, without their specification.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn list_sets(cluster: &Cluster) -> Result<Vec<kube::core::PartialObjectMeta<ReplicaSet>>, Failure> {
    let what = "look at the ReplicaSets of standby pods";
    let component = Component::Standby.value();
    let selector = format!("{},{}={component}", names::selector(), names::COMPONENT);
    let params = ListParams::default().labels(&selector);
    let api = sets(cluster);
    let list = persist(&cluster.last_outage, None, what, OUTAGE_TIMEOUT, || {
        api.list_metadata(&params)
    })
    .await;
    list.map(|list| list.items).map_err(|refusal| refusal.explain(what))
}

/// Changes a pod's labels and annotations if the pod is as it was seen. One try: whoever is too late takes another pod.
pub async fn claim(cluster: &Cluster, name: &str, metadata: &Value) -> ClaimAnswer {
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let params = PatchParams::default();
    let api = &cluster.pods;
    match tokio::time::timeout(CLAIM_TIMEOUT, api.patch(name, &params, &patch)).await {
        Ok(Ok(pod)) => ClaimAnswer::Claimed(Box::new(pod)),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => ClaimAnswer::Conflict,
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => ClaimAnswer::Refused(status.message.clone()),
        Ok(Err(_)) | Err(_) => ClaimAnswer::Unknown,
    }
}

/// The claimed pod of a task, if there is one.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn claimed_pod(cluster: &Cluster, id: &str) -> Result<Option<Pod>, Failure> {
    let what = format!("look for the standby pod of task {id}");
    let params = ListParams::default().labels(&format!("{}={id}", names::TASK));
    let api = &cluster.pods;
    let list = persist(&cluster.last_outage, None, &what, OUTAGE_TIMEOUT, || api.list(&params)).await;
    let list = list.map_err(|refusal: Refusal| refusal.explain(&what))?;
    Ok(list.items.into_iter().find(|pod| names::claimed_until(pod).is_some()))
}
