//! Questions that only read: events, objects by label, what pods use, and what this account may do.

use hybrid_cache_tools::Result;
use serde_json::Value;

use super::{
    Api, ClusterApi, DynamicObject, Event, GetParams, ListParams, PostParams, Request, ResourceAttributes,
    SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, Timestamp, plain, resource,
};
use crate::request_error::{allowed, library_error};
use crate::resource_kinds::{ResourceKind, STORAGE_CLASS};
use crate::rights::Right;
use crate::volume_sets::StorageClassFacts;

impl ClusterApi {
    /// The latest event about an object, in the cluster's own words; `None` if there is none or the request fails.
    pub async fn last_event(&self, namespace: &str, kind: &str, name: &str) -> Option<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let about = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let params = ListParams::default().fields(&about);
        let list = self.ask("events", events.list(&params)).await.ok()?;
        let latest = list
            .items
            .into_iter()
            .max_by_key(|event| event.metadata.creation_timestamp.clone());
        latest?.message
    }

    /// The objects of a kind in our namespace that carry a label; `None` if this account may not list them.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn labelled(&self, kind: ResourceKind, label: &str) -> Result<Option<Vec<Value>>> {
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind));
        let params = ListParams::default().labels(label);
        let listed = allowed(self.ask(kind.plural, objects.list(&params)).await)?;
        Ok(listed.map(|list| list.items.iter().map(plain).collect()))
    }

    /// Every StorageClass; `None` if this account may not list them.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn storage_classes(&self) -> Result<Option<Vec<StorageClassFacts>>> {
        let classes = self.every(STORAGE_CLASS).await?;
        Ok(classes.map(|classes| classes.iter().map(StorageClassFacts::from_class).collect()))
    }

    /// What the pods of a node use, as its kubelet measures it; `None` if this account may not ask.
    ///
    /// # Errors
    /// The server or the node does not answer.
    pub async fn pod_use(&self, node: &str) -> Result<Option<Value>> {
        let path = format!("/api/v1/nodes/{node}/proxy/stats");
        let request = Request::new(path).get("summary", &GetParams::default());
        let request = request.map_err(library_error)?;
        allowed(
            self.ask("what its pods use", self.client.request::<Value>(request))
                .await,
        )
    }

    /// True if this account may do something in our namespace.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn may(&self, right: Right) -> Result<bool> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: some(&self.namespace),
                    verb: some(right.verb),
                    group: some(right.group),
                    resource: some(right.resource),
                    subresource: some(right.subresource),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = self
            .ask("this account's rights", reviews.create(&PostParams::default(), &review))
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// Seconds since an object was created, by this machine's clock; `None` if the object does not say when.
pub fn age_s(object: &Value) -> Option<u64> {
    let created: Timestamp = object.pointer("/metadata/creationTimestamp")?.as_str()?.parse().ok()?;
    let age_s = Timestamp::now().as_second().saturating_sub(created.as_second());
    Some(u64::try_from(age_s).unwrap_or(0))
}
