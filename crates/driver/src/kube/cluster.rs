//! The thin layer that talks to the API server: bounded, repeated where that helps, and told in our own failures.

use std::collections::BTreeMap;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::Semaphore;

use super::names;
use super::retry::{PATIENCE, Refusal, persist};
use super::workflow::{self, Workflow};
use super::workload::{Kind, Workload, explain_absent};

/// Requests that write, at one time: hundreds of tasks submitted at once are no attack on the API server.
const WRITES: usize = 16;

/// How long it may take to say whether one may look at it at all: somebody is waiting.
const CHECK: Duration = Duration::from_secs(10);

/// One namespace of a cluster.
pub struct Cluster {
    /// For log streams and watches.
    pub client: kube::Client,
    /// Its name.
    pub namespace: String,
    jobs: Api<Job>,
    workflows: Option<Api<Workflow>>,
    pods: Api<Pod>,
    secrets: Api<Secret>,
    writes: Semaphore,
}

impl Cluster {
    /// The namespace as `client` reaches it; with its Workflows where tasks run as such.
    pub fn new(client: kube::Client, namespace: &str, with_workflows: bool) -> Cluster {
        let workflows = || Api::namespaced_with(client.clone(), namespace, &workflow::resource());
        Cluster {
            workflows: with_workflows.then(workflows),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            writes: Semaphore::new(WRITES),
            namespace: namespace.to_owned(),
            client,
        }
    }

    /// The Workflows, where tasks run as such.
    pub fn workflows(&self) -> Option<&Api<Workflow>> {
        self.workflows.as_ref()
    }

    /// Asks whether the cluster answers and lets us look at Jobs, and at Workflows where tasks run as such.
    ///
    /// # Errors
    /// It does not; after a few seconds, for somebody is waiting.
    pub async fn check(&self) -> Result<(), Failure> {
        let what = format!("look at the Jobs of namespace {}", self.namespace);
        let params = ListParams::default().limit(1);
        let listed = persist(&what, CHECK, || self.jobs.list_metadata(&params)).await;
        listed.map_err(|refusal| refusal.explain(&what))?;
        let Some(workflows) = &self.workflows else {
            return Ok(());
        };
        let what = format!("look at the Workflows of namespace {}", self.namespace);
        let listed = persist(&what, CHECK, || workflows.list_metadata(&params)).await;
        listed.map(|_| ()).map_err(|refusal| match refusal.is_absent() {
            true => explain_absent(refusal.explain(&what)),
            false => refusal.explain(&what),
        })
    }

    /// Creates a Secret and then the workload that mounts it. Both may be there already, from an earlier try.
    ///
    /// # Errors
    /// The cluster refuses one of them or does not answer, or an object of that name is somebody else's.
    pub async fn create(&self, secret: &Secret, workload: &Workload) -> Result<Workload, Failure> {
        let name = workload.name();
        let params = PostParams::default();
        self.create_secret(secret).await?;
        let what = format!(
            "create the {} {name} in namespace {}",
            workload.kind().name(),
            self.namespace
        );
        let made = match workload {
            Workload::Job(job) => self
                .write(&what, || self.jobs.create(&params, job))
                .await
                .map(Workload::from),
            Workload::Workflow(workflow) => {
                let workflows = self.known_workflows()?;
                let made = self.write(&what, || workflows.create(&params, workflow)).await;
                made.map(Workload::from)
            }
        };
        match made {
            Ok(made) => Ok(made),
            Err(refusal) if refusal.is_taken() => self.taken(workload).await,
            Err(refusal) => {
                // It is no use without its workload; the sweep takes it where this fails.
                let _ = self.secrets.delete(name, &DeleteParams::default()).await;
                Err(refusal.explain(&what))
            }
        }
    }

    fn known_workflows(&self) -> Result<&Api<Workflow>, Failure> {
        let missing = || Failure::new(FailureKind::Internal, "this driver was not told to use Workflows");
        self.workflows.as_ref().ok_or_else(missing)
    }

    /// Creates a Secret, which may be there already.
    ///
    /// # Errors
    /// The cluster refuses it or does not answer.
    pub async fn create_secret(&self, secret: &Secret) -> Result<(), Failure> {
        let what = format!(
            "create the Secret {} in namespace {}",
            secret.name_any(),
            self.namespace
        );
        let params = PostParams::default();
        match self.write(&what, || self.secrets.create(&params, secret)).await {
            Err(refusal) if !refusal.is_taken() => Err(refusal.explain(&what)),
            _ => Ok(()),
        }
    }

    /// The workload that has the name already: ours where it carries the same labels.
    async fn taken(&self, ours: &Workload) -> Result<Workload, Failure> {
        let (kind, name) = (ours.kind(), ours.name());
        let there = self.workload(kind, name).await?;
        let same = |there: &Workload| there.label(names::TASK) == ours.label(names::TASK);
        there.filter(same).ok_or_else(|| {
            let message = format!(
                "a {} {name} that this driver did not make is in namespace {}",
                kind.name(),
                self.namespace
            );
            Failure::new(FailureKind::Refused, message).hint("use another id")
        })
    }

    /// Makes a Secret go when its workload goes.
    ///
    /// # Errors
    /// The cluster does not let us; the sweep takes it then.
    pub async fn own(&self, workload: &Workload) -> Result<(), Failure> {
        let name = workload.name();
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [workload.as_owner()]}}));
        let what = format!("bind the Secret {name} to its {}", workload.kind().name());
        let params = PatchParams::default();
        let patched = self.write(&what, || self.secrets.patch_metadata(name, &params, &patch));
        absent(patched.await, &what).map(|_| ())
    }

    /// Deletes a workload; what belongs to it follows. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        let what = format!("delete the {} {name}", kind.name());
        let params = DeleteParams::background();
        let answer = match kind {
            Kind::Job => self.write(&what, || self.jobs.delete(name, &params)).await.map(|_| ()),
            Kind::Workflow => {
                let workflows = self.known_workflows()?;
                self.write(&what, || workflows.delete(name, &params)).await.map(|_| ())
            }
        };
        absent(answer, &what).map(|_| ())
    }

    /// Deletes a pod at once, with its grace, rather than when the garbage collector comes to it.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_pod(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the pod {name}");
        let params = DeleteParams::default();
        absent(self.write(&what, || self.pods.delete(name, &params)).await, &what).map(|_| ())
    }

    /// Deletes a Secret. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the Secret {name}");
        let params = DeleteParams::default();
        absent(self.write(&what, || self.secrets.delete(name, &params)).await, &what).map(|_| ())
    }

    /// A request that writes, few at a time. The place in the queue is given up between tries, so that those who are
    /// refused do not keep the others waiting.
    async fn write<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        let one = || async {
            // The semaphore is never closed, so this only waits.
            let _place = self.writes.acquire().await;
            ask().await
        };
        persist(what, PATIENCE, one).await
    }

    /// One workload, if it is there.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn workload(&self, kind: Kind, name: &str) -> Result<Option<Workload>, Failure> {
        let what = format!("look at the {} {name}", kind.name());
        let answer = match kind {
            Kind::Job => persist(&what, PATIENCE, || self.jobs.get(name))
                .await
                .map(Workload::from),
            Kind::Workflow => {
                let workflows = self.known_workflows()?;
                let answer = persist(&what, PATIENCE, || workflows.get(name)).await;
                answer.map(Workload::from)
            }
        };
        absent(answer, &what)
    }

    /// The kinds of workload that this driver makes: tasks may be either, questions about the volumes are Jobs.
    pub fn kinds(&self) -> &'static [Kind] {
        match self.workflows {
            Some(_) => &[Kind::Job, Kind::Workflow],
            None => &[Kind::Job],
        }
    }

    /// The workloads of one task, of whichever kind.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn workloads_of(&self, id: &str) -> Result<Vec<Workload>, Failure> {
        let what = format!("look for the Jobs of the task {id}");
        let params = ListParams::default().labels(&names::selector_of(id));
        let jobs = persist(&what, PATIENCE, || self.jobs.list(&params)).await;
        let jobs = jobs.map_err(|refusal| refusal.explain(&what))?;
        let mut found: Vec<_> = jobs.items.into_iter().map(Workload::from).collect();
        if let Some(workflows) = &self.workflows {
            let what = format!("look for the Workflows of the task {id}");
            let list = persist(&what, PATIENCE, || workflows.list(&params)).await;
            let list = list.map_err(|refusal| refusal.explain(&what))?;
            found.extend(list.items.into_iter().map(Workload::from));
        }
        Ok(found)
    }

    /// The data of a Secret; empty where there is none.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let what = format!("read the Secret {name}");
        let secret = absent(persist(&what, PATIENCE, || self.secrets.get(name)).await, &what)?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The pods of a workload.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn pods(&self, kind: Kind, name: &str) -> Result<Vec<Pod>, Failure> {
        let what = format!("look at the pods of the {} {name}", kind.name());
        let params = ListParams::default().labels(&format!("{}={name}", kind.pod_label()));
        let list = persist(&what, PATIENCE, || self.pods.list(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(&what))
    }

    /// All Secrets of this driver, without their data.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secrets(&self) -> Result<Vec<kube::core::PartialObjectMeta<Secret>>, Failure> {
        let what = "look at the Secrets of tasks";
        let params = ListParams::default().labels(&names::selector());
        let list = persist(what, PATIENCE, || self.secrets.list_metadata(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(what))
    }
}

fn absent<T>(answer: Result<T, Refusal>, what: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.is_absent() => Ok(None),
        Err(refusal) => Err(refusal.explain(what)),
    }
}
