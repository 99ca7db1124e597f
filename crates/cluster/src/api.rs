//! Client of the Kubernetes API. Of these crates, only this file and its module name the client library; plain data goes in and comes
//! out.

mod questions;

use std::path::Path;
use std::time::Duration;

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_tools::{ErrorContext, Result, failed};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::facts::{ClaimFacts, NodeFacts, TaskPod, VolumeFacts};
use crate::objects::{DryRun, Refusal, changed_fields, conflict_of, describe};
use crate::ranges::AddressSources;
use crate::request_error::{RequestError, allowed, library_error, root_cause};
use crate::resource_kinds::{self, ResourceKind};
use crate::{manifests, names};

pub use questions::age_s;

/// Field manager that owns the fields of our objects.
pub const FIELD_MANAGER: &str = "hybrid-cache";
/// Longest time for one request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for connecting to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a server that does not answer yet gets the next request.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A cluster's API server.
#[derive(Clone)]
pub struct ClusterApi {
    client: Client,
    /// Address of the API server, for messages.
    pub address: String,
    /// The namespace of our objects.
    pub namespace: String,
}

impl ClusterApi {
    /// Connects with a kubeconfig of our own.
    ///
    /// # Errors
    /// The file is missing or is not a kubeconfig.
    pub async fn from_kubeconfig(file: &Path) -> Result<ClusterApi> {
        let read = Kubeconfig::read_from(file)
            .map_err(library_error)
            .with_context(|| format!("reading {}", file.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        ClusterApi::from_config(
            config
                .map_err(library_error)
                .with_context(|| format!("reading {}", file.display()))?,
        )
    }

    /// Connects with a context of the user's kubeconfig.
    ///
    /// # Errors
    /// There is no kubeconfig, or it has no such context.
    pub async fn from_context(context: &str) -> Result<ClusterApi> {
        let options = KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_kubeconfig(&options).await;
        ClusterApi::from_config(
            config
                .map_err(library_error)
                .with_context(|| format!("reading context {context:?} of the kubeconfig"))?,
        )
    }

    fn from_config(mut config: Config) -> Result<ClusterApi> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .map_err(library_error)
            .with_context(|| format!("preparing to talk to {address}"))?;
        let namespace = names::NAMESPACE.to_owned();
        Ok(ClusterApi {
            client,
            address,
            namespace,
        })
    }

    /// Returns the same cluster with another namespace for our objects.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> ClusterApi {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Returns an object of our manifests with this cluster's namespace.
    pub fn placed(&self, object: Value) -> Value {
        manifests::in_namespace(object, &self.namespace)
    }

    /// Opens the driver on this cluster.
    ///
    /// # Errors
    /// See [`KubeDriver::open`].
    pub async fn driver(&self, config: KubeConfig) -> Result<KubeDriver> {
        KubeDriver::open(self.client.clone(), config)
            .await
            .context("opening the kube driver")
    }

    /// The server's version, `v1.36.2`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn version(&self) -> Result<String> {
        let version = self.ask("its version", self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }

    /// Seconds by which the server's clock is ahead of ours, accurate to a second, from the time stamp in a dry run's answer.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn clock_ahead_s(&self, namespace: &str) -> Result<i64> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut stamped = ConfigMap::default();
        stamped.metadata.generate_name = Some("hybrid-cache-clock-".to_owned());
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let stamped = self.ask("the time", maps.create(&params, &stamped)).await?;
        let time = stamped
            .metadata
            .creation_timestamp
            .context("an object without a time")?;
        Ok(time.0.as_second() - k8s_openapi::jiff::Timestamp::now().as_second())
    }

    async fn ask<T>(
        &self,
        what: &str,
        question: impl Future<Output = kube::Result<T>>,
    ) -> std::result::Result<T, RequestError> {
        let address = &self.address;
        let error = match timeout(REQUEST_TIMEOUT, question).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error @ (kube::Error::Service(_) | kube::Error::HyperError(_)))) => {
                failed!("{address} does not answer: {}", root_cause(&error))
            }
            Ok(Err(error)) => {
                let status = match &error {
                    kube::Error::Api(status) => Some(status.code),
                    _ => None,
                };
                let error = library_error(error).during(format!("asking {address} for {what}"));
                return Err(RequestError { status, error });
            }
            Err(_) => failed!(
                "{address} did not answer within {} s: {what}",
                REQUEST_TIMEOUT.as_secs()
            ),
        };
        Err(error.into())
    }

    /// Every node.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn nodes(&self) -> Result<Vec<NodeFacts>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let list = self.ask("its nodes", nodes.list(&ListParams::default())).await?;
        Ok(facts(&list.items, NodeFacts::from_node))
    }

    /// Waits until a node is Ready. A server that does not answer yet gets the request again.
    ///
    /// # Errors
    /// The node is not Ready by the deadline; the message includes the condition that the node reports.
    pub async fn wait_node_ready(&self, name: &str, within: Duration) -> Result<NodeFacts> {
        let deadline = Instant::now() + within;
        let ready = |node: Option<&Node>| node.is_some_and(|node| NodeFacts::from_node(&plain(node)).ready);
        let mut last = format!("{} does not answer", self.address);
        while Instant::now() < deadline {
            let nodes: Api<Node> = Api::all(self.client.clone());
            match timeout_at(deadline, await_condition(nodes, name, ready)).await {
                Ok(Ok(Some(node))) => return Ok(NodeFacts::from_node(&plain(&node))),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => last = format!("{:#}", library_error(error)),
                Err(_) => break,
            }
            sleep(RETRY_PAUSE).await;
        }
        if let Ok(nodes) = self.nodes().await
            && let Some(node) = nodes.iter().find(|node| node.name == name)
        {
            last.clone_from(&node.condition);
        }
        Err(failed!(
            "node {name} was not Ready within {} s: {last}",
            within.as_secs()
        ))
    }

    /// The claims of a namespace.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn claims(&self, namespace: &str) -> Result<Vec<ClaimFacts>> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let list = self.ask("its claims", claims.list(&ListParams::default())).await?;
        Ok(facts(&list.items, ClaimFacts::from_claim))
    }

    /// Waits until a claim is Bound.
    ///
    /// # Errors
    /// The claim is not Bound by the deadline.
    pub async fn wait_bound(&self, namespace: &str, name: &str, within: Duration) -> Result<ClaimFacts> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.is_some_and(|claim| ClaimFacts::from_claim(&plain(claim)).bound())
        };
        match timeout(within, await_condition(claims.clone(), name, bound)).await {
            Ok(Ok(Some(claim))) => Ok(ClaimFacts::from_claim(&plain(&claim))),
            Ok(Ok(None)) => Err(failed!("claim {namespace}/{name} was deleted while it was waited for")),
            Ok(Err(error)) => Err(library_error(error)).with_context(|| format!("watching claim {namespace}/{name}")),
            Err(_) => {
                let phase = self.ask("the claim", claims.get_opt(name)).await?;
                let phase = phase.map_or("missing".to_owned(), |claim| {
                    ClaimFacts::from_claim(&plain(&claim)).phase
                });
                Err(failed!(
                    "claim {namespace}/{name} is {phase} after {} s\nhint: `kubectl describe pvc {name} -n {namespace}` \
                     says what it waits for; `cargo xtask doctor` knows the usual causes",
                    within.as_secs()
                ))
            }
        }
    }

    /// The cluster's PersistentVolumes.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn volumes(&self) -> Result<Vec<VolumeFacts>> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let list = self.ask("its volumes", volumes.list(&ListParams::default())).await?;
        Ok(facts(&list.items, VolumeFacts::from_volume))
    }

    /// Makes a volume whose claim was deleted available to a new claim; the data on the volume stays.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn release(&self, volume: &str) -> Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let patch = serde_json::json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = volumes.patch(volume, &params, &patch);
        self.ask(&format!("PersistentVolume {volume} to be claimed again"), patched)
            .await?;
        Ok(())
    }

    /// The pods that carry a label.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn pods(&self, namespace: &str, label: &str) -> Result<Vec<TaskPod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(label);
        let list = self.ask("its pods", pods.list(&params)).await?;
        Ok(facts(&list.items, TaskPod::from_pod))
    }

    /// One object as it is now.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn get(&self, object: &Value) -> Result<Option<Value>> {
        Ok(self.find(object).await?)
    }

    async fn find(&self, object: &Value) -> std::result::Result<Option<Value>, RequestError> {
        let object = &self.placed(object.clone());
        let (api, name) = self.resource_of(object)?;
        let found = self.ask(&describe(object), api.get_opt(&name)).await?;
        Ok(found.as_ref().map(plain))
    }

    /// Reads the objects that state the cluster's addresses, as far as this account may read them.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn address_sources(&self) -> Result<AddressSources> {
        let read = |kind: &str, namespace: &str, name: &str| {
            let object = serde_json::json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}});
            async move { allowed(self.find(&object).await) }
        };
        let (kubeadm, service_ranges, api_service, api_endpoints, nodes) = tokio::try_join!(
            read("ConfigMap", "kube-system", "kubeadm-config"),
            self.every(resource_kinds::SERVICE_RANGE),
            read("Service", "default", "kubernetes"),
            read("EndpointSlice", "default", "kubernetes"),
            self.nodes()
        )?;
        Ok(AddressSources {
            kubeadm: kubeadm.flatten(),
            service_ranges: service_ranges.unwrap_or_default(),
            api_service: api_service.flatten(),
            api_endpoints: api_endpoints.flatten(),
            nodes,
        })
    }

    /// Every object of a kind without namespaces; `None` if the server does not know the kind or this account may not list it.
    async fn every(&self, kind: ResourceKind) -> Result<Option<Vec<Value>>> {
        let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind));
        let listed = self.ask(kind.plural, objects.list(&ListParams::default())).await;
        let listed = allowed(listed)?;
        Ok(listed.map(|list| list.items.iter().map(plain).collect()))
    }

    /// What applying an object would do. Changes nothing.
    ///
    /// # Errors
    /// The server does not answer, or the object is not valid.
    pub async fn dry_run(&self, object: &Value) -> Result<DryRun> {
        let params = PatchParams::apply(FIELD_MANAGER).dry_run();
        // Send both requests at once. If there is no object yet, the result of the dry run is ignored.
        let (live, applied) = tokio::join!(self.get(object), self.patch(object, &params));
        let Some(live) = live? else {
            return Ok(DryRun::Absent);
        };
        if live
            .pointer("/metadata/deletionTimestamp")
            .is_some_and(Value::is_string)
        {
            return Ok(DryRun::Terminating);
        }
        Ok(match applied? {
            Ok(applied) => match changed_fields(&live, &applied) {
                fields if fields.is_empty() => DryRun::Same,
                fields => DryRun::Differs(fields),
            },
            Err(refusal) => DryRun::Refused(refusal),
        })
    }

    /// Creates an object or changes it to the requested state.
    ///
    /// # Errors
    /// The server does not answer. A refusal by the server is the inner error.
    pub async fn apply(&self, object: &Value) -> Result<Result<Value, Refusal>> {
        self.patch(object, &PatchParams::apply(FIELD_MANAGER)).await
    }

    /// Applies an object like [`ClusterApi::apply`], and takes over the fields that another manager owns.
    ///
    /// # Errors
    /// See [`ClusterApi::apply`].
    pub async fn take_over(&self, object: &Value) -> Result<Result<Value, Refusal>> {
        self.patch(object, &PatchParams::apply(FIELD_MANAGER).force()).await
    }

    async fn patch(&self, object: &Value, params: &PatchParams) -> Result<Result<Value, Refusal>> {
        let object = &self.placed(object.clone());
        let (api, name) = self.resource_of(object)?;
        let patch = Patch::Apply(object);
        let answer = timeout(REQUEST_TIMEOUT, api.patch(&name, params, &patch)).await;
        let Ok(answer) = answer else {
            return Err(failed!(
                "{} did not take {} within {} s",
                self.address,
                describe(object),
                REQUEST_TIMEOUT.as_secs()
            ));
        };
        match answer {
            Ok(applied) => Ok(Ok(serde_json::to_value(applied)?)),
            Err(kube::Error::Api(status)) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let conflicts: Vec<_> = causes
                    .filter(|cause| cause.reason == "FieldManagerConflict")
                    .map(|cause| conflict_of(&cause.field, &cause.message))
                    .collect();
                Ok(Err(match status.code {
                    409 if !conflicts.is_empty() => Refusal::Conflict(conflicts),
                    422 => Refusal::Immutable(status.message.clone()),
                    // Only volumes whose class allows expansion grow in place.
                    403 if object["kind"] == "PersistentVolumeClaim" && status.message.contains("resize") => {
                        Refusal::Immutable(status.message.clone())
                    }
                    _ => Refusal::Other(status.message.clone()),
                }))
            }
            Err(error) => Err(library_error(error)).with_context(|| format!("applying {}", describe(object))),
        }
    }

    /// Deletes an object and waits until it is gone. Returns false if there was no such object.
    ///
    /// # Errors
    /// The server refuses, or the object is not gone in time.
    pub async fn delete(&self, object: &Value, within: Duration) -> Result<bool> {
        let object = &self.placed(object.clone());
        let (api, name) = self.resource_of(object)?;
        let what = describe(object);
        if self.ask(&what, api.get_opt(&name)).await?.is_none() {
            return Ok(false);
        }
        let params = DeleteParams::background();
        let deleted = api.delete(&name, &params);
        self.ask(&format!("{what} to be deleted"), deleted).await?;
        let deadline = Instant::now() + within;
        while self.ask(&what, api.get_opt(&name)).await?.is_some() {
            let seconds = within.as_secs();
            if Instant::now() >= deadline {
                return Err(failed!("{what} still exists after {seconds} s"));
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(true)
    }

    /// Deletes every object of a kind with a label, and everything that these objects own. A kind that the server does not know
    /// has no objects.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn delete_labelled(&self, kind: ResourceKind, namespace: &str, label: &str) -> Result<()> {
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
        let (how, which) = (DeleteParams::background(), ListParams::default().labels(label));
        let deleted = objects.delete_collection(&how, &which);
        match self.ask(&format!("its {} to be deleted", kind.plural), deleted).await {
            Err(error) if error.is_unknown() => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    /// True if the server knows a kind.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn knows(&self, kind: ResourceKind) -> Result<bool> {
        let group = kind.api_version();
        match self.ask(&group, self.client.list_api_group_resources(&group)).await {
            Err(error) if error.is_unknown() => Ok(false),
            answer => Ok(answer?.resources.iter().any(|known| known.name == kind.plural)),
        }
    }

    fn resource_of(&self, object: &Value) -> Result<(Api<DynamicObject>, String)> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").context("an object without a kind")?;
        let name = text("/metadata/name").with_context(|| format!("{kind} without a name"))?;
        let known = resource_kinds::by_name(kind).with_context(|| format!("cannot apply an object of kind {kind}"))?;
        let (client, resource) = (self.client.clone(), resource(known));
        let api = match (known.namespaced, text("/metadata/namespace")) {
            (true, Some(namespace)) => Api::namespaced_with(client, namespace, &resource),
            (true, None) => return Err(failed!("{kind} {name} has no namespace")),
            (false, _) => Api::all_with(client, &resource),
        };
        Ok((api, name.to_owned()))
    }
}

fn resource(kind: ResourceKind) -> ApiResource {
    let named = GroupVersionKind::gvk(kind.group, kind.version, kind.name);
    ApiResource::from_gvk_with_plural(&named, kind.plural)
}

/// Reads the facts that we keep from each object of a list.
fn facts<T>(items: &[impl serde::Serialize], read: fn(&Value) -> T) -> Vec<T> {
    items.iter().map(|item| read(&plain(item))).collect()
}

fn plain(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
